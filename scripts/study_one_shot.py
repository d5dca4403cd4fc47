"""What one demonstration teaches: the study behind docs/results/one_shot.json and one_shot_simulated.json.

    python scripts/study_one_shot.py --real EPISODE_FOLDER --simulated COLLECTED_FOLDER [--steps 300] [--seeds 3]

Real: a model trained from scratch on every other chunk of one recorded episode scores the chunks between, in order,
reversed, shuffled and through one camera at a time. Chunks of 1.5 s leave a training frame at most 0.75 s away, so this
is interpolation within one run; the longer chunks make it harder. Beside it stand a counter, which knows how long the
clip is, and the label of the nearest training frame by pixels.

Simulated: a model trained on one instruction of PegInsert only is adapted to the other from one demonstration, and
compared, on the test split of both, with the same weights unadapted, with an adaptation that replays references only,
and with a model trained from scratch on that demonstration.

Every finished row is kept in --out, so an interrupted study goes on. Adaptation has the default settings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from robo_reward.config import AdaptConfig
from robo_reward.data.demonstration import read_demonstration
from robo_reward.progress.adaptation import adapt_reward
from robo_reward.progress.annotate import track_many
from robo_reward.progress.bench.metrics import progress_error, rank_correlation, value_order_correlation
from robo_reward.progress.labels import PotentialLabels, label_episode
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel, load_reward
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.progress.training import TrainSettings, fit
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.run_folder import made_on, write_atomic
from robo_reward.types import Episode

RESULTS = Path(__file__).parents[1] / "docs" / "results"
FPS, EVERY, SIZE = 30, 4, 84
OLD, NEW = "insert the peg into the orange socket", "insert the peg into the blue socket"

Row = dict[str, float]
Table = dict[str, dict[str, list[float | None]]]


def taught(episodes: Sequence[Episode], labels: Sequence[PotentialLabels], settings: TrainSettings) -> RewardModel:
    net, _ = fit(episodes, labels, settings)
    return RewardModel(CompactModel(net), References.from_demonstrations(episodes), settings.tracker)


def part(episode: Episode, chosen: np.ndarray) -> Episode:
    """The episode with these of its stored frames only."""
    frames = {v: f[chosen] for v, f in episode.frames.items()}
    return replace(episode, frame_steps=episode.frame_steps[chosen], frames=frames)


def clip(episode: Episode, order: np.ndarray, views: Sequence[str]) -> Episode:
    """These of the episode's stored frames as a clip of their own, a frame a step."""
    n, frames = len(order), {v: episode.frames[v][order] for v in views}
    nothing = np.zeros((n, 0), np.float32)
    return replace(
        episode, agent_pos=nothing, estimate=nothing, action=nothing[1:], reward=np.zeros(n - 1, np.float32),
        stage=np.full(n, -1), frame_steps=np.arange(n), frames=frames,
    )  # fmt: skip


def judged(values: np.ndarray, truth: np.ndarray) -> Row:
    """Mean distance from the labels, rank correlation with them, share of neighbours in the labels' order."""
    same = np.sign(np.diff(values)) == np.sign(np.diff(truth))
    return {
        "error": float(np.abs(values - truth).mean()),
        "order": rank_correlation(values, truth),
        "neighbours": float(same[np.diff(truth) != 0].mean()),
    }


def real(folder: Path, chunk_s: float, seed: int, steps: int) -> dict[str, Row]:
    """Rows of one seed: the model in each condition, the controls in order, reversed and shuffled."""
    episode, keys = read_demonstration(str(folder), SIZE, "clean the table", every=EVERY)
    stages = len(keys or ()) - 1
    label = label_episode(episode, stages, keys)
    held = (episode.frame_steps // round(chunk_s * FPS)) % 2 == 1
    held[[0, -1]] = False  # the references
    views = tuple(sorted(episode.frames))
    settings = TrainSettings(
        seed=seed, steps=steps, model=CompactSettings(views, SIZE, stages), tracker=TrackerSettings(every=1)
    )
    model = taught([part(episode, np.flatnonzero(~held))], [label], settings)
    at = np.flatnonzero(held)
    shuffled = np.random.default_rng(seed).permutation(at)
    rows = {}

    def score(name: str, order: np.ndarray, seen: Sequence[str] = views) -> None:
        (track,) = track_many([clip(episode, order, seen)], model.model, model.tracker, model.references)
        rows[name] = judged(track.phi, label.phi[episode.frame_steps[order]])

    orders = {"in order": at, "reversed": at[::-1], "shuffled": shuffled}
    for name, order in orders.items():
        score(name, order)
    for view in views:
        score(f"{view} alone", at, (view,))
    flat = np.concatenate([f.reshape(len(f), -1) for f in episode.frames.values()], axis=1).astype(np.float32)
    known = np.flatnonzero(~held)
    nearest = {int(i): known[np.square(flat[known] - flat[i]).sum(1).argmin()] for i in at}
    for name, order in orders.items():
        truth = label.phi[episode.frame_steps[order]]
        rows[f"counter, {name}"] = judged(np.linspace(0, 1, len(order)), truth)
        found = label.phi[episode.frame_steps[[nearest[int(i)] for i in order]]]
        rows[f"nearest frame, {name}"] = judged(found, truth)
    return rows


def simulated(data: Path, seed: int, steps: int) -> dict[str, Row]:
    """Rows of one seed: error on successes and failures and VOC, of the new task's test episodes and of the old's."""
    train = [e for split in ("demos", "weak") for e in read_split(data, split, EVERY)]
    old = [e for e in train if e.instruction == OLD]
    demos = [e for e in train if e.instruction == NEW and e.success and e.source == "expert"]
    demo, stages = demos[seed % len(demos)], 4
    test = read_split(data, "test", EVERY)
    settings = TrainSettings(
        seed=seed, steps=steps, model=CompactSettings(tuple(sorted(demo.frames)), SIZE, stages),
        tracker=TrackerSettings(every=EVERY),
    )  # fmt: skip
    labels = [label_episode(e, stages) for e in old]
    base = taught(old, labels, settings)
    adapting = replace(settings, steps=AdaptConfig.steps, learning_rate=AdaptConfig.learning_rate)
    first, weak = ([i for i, e in enumerate(old) if e.success == done] for done in (True, False))
    half = AdaptConfig.replay // 2
    replay = [(old[i], labels[i]) for i in [*first[:half], *weak[:half]]]

    def adapted(kept: Sequence[tuple[Episode, PotentialLabels]]) -> RewardModel:
        with tempfile.TemporaryDirectory() as folder:
            adapt_reward(base, demo, adapting, Path(folder), replay=kept)
            return load_reward(Path(folder))

    shown = References({**base.references, **References.from_demonstrations([demo])})
    started = time.process_time()
    with_replay = adapted(replay)
    seconds = time.process_time() - started
    models = {
        "not adapted": RewardModel(base.model, shown, base.tracker),
        "adapted": with_replay,
        "adapted, references replayed": adapted(()),
        "from scratch": taught([demo], [label_episode(demo, stages)], settings),
    }
    rows = {}
    for name, reward in models.items():
        rows[name] = tested(lambda e, r=reward: [t.phi for t in track_many(e, r.model, r.tracker, r.references)],
                            test, old=name != "from scratch")  # fmt: skip
    rows["counter"] = tested(lambda e: [x.frame_steps / 120 for x in e], test, old=True)
    rows["adapted"]["adaptation_cpu_s"] = seconds
    return rows


def tested(score: Callable[[list[Episode]], list[np.ndarray]], test: Sequence[Episode], old: bool) -> Row:
    found: Row = {}
    for task, name in ((NEW, "new"), (OLD, "old")) if old else ((NEW, "new"),):
        for outcome in (True, False):
            episodes = [e for e in test if e.instruction == task and e.success == outcome]
            values, truth = score(episodes), [e.oracle[e.frame_steps] for e in episodes if e.oracle is not None]
            found[f"{name}_error_{'success' if outcome else 'failure'}"] = float(progress_error(values, truth).mean())
            if outcome:
                voc = value_order_correlation(values, [e.frame_steps for e in episodes])
                found[f"{name}_voc"] = float(np.nanmean(voc))
    return found


def kept(path: Path, make: Callable[[], dict[str, Row]]) -> dict[str, Row]:
    """The rows in the file, made if it is not there."""
    if not path.is_file():
        started = time.perf_counter(), time.process_time()
        rows = make()
        spent = {"wall_s": time.perf_counter() - started[0], "cpu_s": time.process_time() - started[1]}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"rows": rows, **spent}, indent=1))
    return json.loads(path.read_text())["rows"]


def over_seeds(found: Sequence[dict[str, Row]], prefix: str = "") -> Table:
    """Row by row, of each measure: its mean, its lowest and its highest seed."""
    table: Table = {}
    for name in found[0]:
        values = {key: [rows[name][key] for rows in found] for key in found[0][name]}
        table[prefix + name] = {
            key: [round(float(x), 4) if np.isfinite(x) else None for x in (np.mean(v), min(v), max(v))]
            for key, v in values.items()
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--real", type=Path, required=True, help="folder with videos and annotated_keyframes.json")
    parser.add_argument("--simulated", type=Path, required=True, help="collected PegInsert data, as collect leaves it")
    parser.add_argument("--steps", type=int, default=300, help="training steps from scratch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/one_shot"), help="where finished rows are kept")
    a = parser.parse_args()
    torch.set_num_threads(1)

    def seeded(name: str, rows: Callable[[int], dict[str, Row]]) -> list[dict[str, Row]]:
        files = {seed: a.out / f"{name}-{seed}-{a.steps}.json" for seed in range(a.seeds)}
        return [kept(path, lambda seed=seed: rows(seed)) for seed, path in files.items()]

    def publish(path: Path, names: str, table: Table) -> None:
        spent = [json.loads(file.read_text()) for file in a.out.glob(f"{names}-*-{a.steps}.json")]
        about = {
            "wall_s": round(sum(each["wall_s"] for each in spent)),
            "cpu_s": round(sum(each["cpu_s"] for each in spent)),
            "command": f"python scripts/study_one_shot.py --real EPISODE --simulated COLLECTED --steps {a.steps}",
            "seeds": a.seeds, **made_on(),
        }  # fmt: skip
        write_atomic(path, json.dumps({"table": table, **about}, indent=1) + "\n")

    near = over_seeds(seeded("real-1.5", lambda seed: real(a.real, 1.5, seed, a.steps)))
    rows = seeded("simulated", lambda seed: simulated(a.simulated, seed, a.steps))
    publish(RESULTS / "one_shot_simulated.json", "simulated", over_seeds(rows))
    far = over_seeds(seeded("real-5", lambda seed: real(a.real, 5.0, seed, a.steps)), "5 s chunks: ")
    publish(RESULTS / "one_shot.json", "real-*", near | far)


if __name__ == "__main__":
    main()
