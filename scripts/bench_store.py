"""Cost of the transition store and the replay: append with sync, sampling, rebuild, bytes, re-annotation.

    python scripts/bench_store.py [--quick]

Writes docs/results/store.json. Baselines run in the same process, in turn with ours: SQLite with one row per record and
a full sync for appending; stable-baselines3's and torchrl's replay buffers for sampling, where they are installed
(`pip install stable-baselines3 torchrl`). Sizes are those of the default experiment.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robo_reward.config import AgentConfig
from robo_reward.data.episode_records import encode_episode
from robo_reward.data.store import TransitionStore
from robo_reward.learning.replay import EpisodeReplay
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.runtime.run_folder import made_on
from robo_reward.shaping import SCHEMES
from robo_reward.types import Episode, PhiTrack

RESULT = Path(__file__).parents[1] / "docs" / "results" / "store.json"
STATE, ACTION, PHASE, BATCH, STEPS = 30, 4, 8, 256, 100
SIZES = (10_000, 100_000, 1_000_000)


def make_episode(number: int, frames: int = 0) -> Episode:
    """An episode of the default experiment's sizes; `frames` queried observations with three 84 px views each."""
    rng = np.random.default_rng(number)
    at = np.linspace(0, STEPS, frames).astype(np.int64) if frames else np.zeros(0, np.int64)
    gradient = np.add.outer(np.arange(84), np.arange(84))[..., None] + np.array([0, 40, 80])
    views = {v: np.stack([np.clip(gradient + rng.normal(0, 2, (84, 84, 3)), 0, 255).astype(np.uint8) for _ in at])
             for v in ("front", "side", "wrist")} if frames else {}  # fmt: skip
    normal = rng.normal(size=(STEPS + 1, STATE + 16)).astype(np.float32)
    return Episode(
        episode_id=f"policy-{number}", instruction="insert the peg into the red socket", source="policy", seed=number,
        agent_pos=normal[:, :STATE], estimate=normal[:, STATE:], action=np.tanh(normal[:-1, :ACTION]),
        reward=np.zeros(STEPS, np.float32), stage=np.zeros(STEPS + 1, np.int64),
        oracle=np.zeros(STEPS + 1, np.float32), terminated=True, truncated=False, success=True, frame_steps=at,
        frames=views, base_action=np.tanh(normal[:, :ACTION]),
        base_phase=np.eye(PHASE, dtype=np.float32)[np.arange(STEPS + 1) % PHASE], gated=np.zeros(STEPS, bool),
    )  # fmt: skip


def percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    return {f"{name}_p50_ms": float(np.percentile(seconds, 50) * 1e3),
            f"{name}_p99_ms": float(np.percentile(seconds, 99) * 1e3)}  # fmt: skip


def bench_append(folder: Path, appends: int) -> dict[str, float]:
    """Every record on its own, synced before the next: what an actor waits for."""
    records = [record for i in range(3) for record in encode_episode(make_episode(i, frames=26))]
    base = sqlite3.connect(folder / "baseline.db", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute(
        "CREATE TABLE r (actor TEXT, sequence INTEGER, kind INTEGER, payload BLOB, PRIMARY KEY (actor, sequence))"
    )
    ours, theirs = [], []
    with TransitionStore(folder / "store", writable=True) as store:
        for number in range(min(appends, len(records))):
            kind, payload = records[number]
            started = time.perf_counter()
            store.append("arm", [(number, kind, payload)])
            middle = time.perf_counter()
            base.execute("INSERT INTO r VALUES (?, ?, ?, ?)", ("arm", number, kind, payload))
            theirs.append(time.perf_counter() - middle)
            ours.append(middle - started)
    base.close()
    found = percentiles("append", ours) | percentiles("append_sqlite", theirs)
    return found | {"append_ratio_to_sqlite": found["append_p50_ms"] / found["append_sqlite_p50_ms"]}


def bench_rebuild(folder: Path, episodes: int) -> dict[str, float]:
    """Whole episodes in; then the index and the ring built from the folder, as after a restart."""
    with TransitionStore(folder / "many", writable=True) as store:
        number, started = 0, time.perf_counter()
        for index in range(episodes):
            number = store.append_episode("arm", number, make_episode(index))
        appended = time.perf_counter() - started
    size = sum(path.stat().st_size for path in (folder / "many").glob("*.log"))
    started = time.perf_counter()
    replay = EpisodeReplay(episodes * (STEPS + 1), STATE + 16, ACTION, 3, 0.99, phase_size=PHASE)
    for episode in TransitionStore(folder / "many").read_all(frames=False):
        fill(replay, episode)
    rebuilt, transitions = time.perf_counter() - started, episodes * STEPS
    with TransitionStore(folder / "seen", writable=True) as store:
        store.append_episode("arm", 0, make_episode(0, frames=26))
    seen = sum(path.stat().st_size for path in (folder / "seen").glob("*.log"))
    return {
        "append_whole_episodes_transitions_per_s": transitions / appended,
        "rebuild_transitions_per_s": transitions / rebuilt,
        "rebuild_100k_transitions_s": rebuilt / transitions * 1e5,
        "bytes_per_transition_without_frames": size / transitions,
        "bytes_per_transition_with_noisy_frames": seen / STEPS,
    }


def fill(replay: EpisodeReplay, episode: Episode) -> None:
    inputs = np.concatenate([episode.agent_pos, episode.estimate], axis=1)
    zeros = np.zeros(len(episode) + 1, np.float32)
    replay.append(episode, inputs, PhiTrack("none", zeros, zeros), demonstration=False)


def samplers(size: int) -> dict[str, Callable[[], Any]]:
    """Filled replays of this size: name -> draws one batch of 256."""
    rng = np.random.default_rng(0)
    episodes = [make_episode(i) for i in range(20)]
    made: dict[str, Callable[[], Any]] = {}
    for name, priority in (("uniform", 0.0), ("prioritised", 0.6)):
        replay = EpisodeReplay(size + size // STEPS, STATE + 16, ACTION, 3, 0.99, phase_size=PHASE, priority=priority)
        for index in range(size // STEPS):
            fill(replay, episodes[index % 20])
        made[name] = lambda replay=replay: replay.sample(BATCH, rng)
    try:
        import gymnasium
        from stable_baselines3.common.buffers import ReplayBuffer

        box, act = gymnasium.spaces.Box(-1, 1, (STATE + 16 + ACTION + PHASE,)), gymnasium.spaces.Box(-1, 1, (ACTION,))
        buffer = ReplayBuffer(size, box, act, device="cpu", n_envs=1)
        buffer.full = True  # sampling does not depend on the values
        made["stable_baselines3"] = lambda: buffer.sample(BATCH)
    except ImportError:
        pass
    try:
        from tensordict import TensorDict
        from torchrl.data import LazyTensorStorage
        from torchrl.data import ReplayBuffer as TorchRL

        width = STATE + 16 + ACTION + PHASE
        ring = TorchRL(storage=LazyTensorStorage(size), batch_size=BATCH)
        for _ in range(size // 10_000):
            rows = {"observation": torch.zeros(10_000, width), "action": torch.zeros(10_000, ACTION),
                    "reward": torch.zeros(10_000, 1), "done": torch.zeros(10_000, 1, dtype=torch.bool),
                    "next_observation": torch.zeros(10_000, width)}  # fmt: skip
            ring.extend(TensorDict(rows, batch_size=[10_000]))
        made["torchrl"] = lambda: ring.sample()
    except ImportError:
        pass
    return made


def bench_sampling(repeats: int) -> dict[str, float]:
    """Microseconds for 256 windows, and the share of an update that this is."""
    made = {(name, size): draw for size in SIZES for name, draw in samplers(size).items()}
    times: dict[tuple[str, int], list[float]] = {key: [] for key in made}
    for _ in range(repeats):  # all in turn, so that none finds its memory in the cache, as none does between updates
        for key, draw in made.items():
            started = time.perf_counter()
            draw()
            times[key].append(time.perf_counter() - started)
    found = {f"sample_{name}_{size}_us": float(np.median(t) * 1e6) for (name, size), t in times.items()}
    zeros, batch = np.zeros(STATE + 16, np.float32), made["uniform", SIZES[0]]()
    settings = AgentConfig(batch=BATCH)
    agent = ResidualTD3(zeros, zeros + 1, ACTION, settings, SCHEMES["potential"], 1.0, 0, phase_size=PHASE)
    updates = []
    for _ in range(max(repeats // 10, 10)):
        started = time.perf_counter()
        windows = agent.windows(batch)
        agent.update_critics(windows)
        agent.update_actor(windows)
        updates.append(time.perf_counter() - started)
    found["update_us"] = float(np.median(updates) * 1e6)
    uniform = [found[f"sample_uniform_{size}_us"] for size in SIZES]
    return found | {
        "sample_1m_to_10k_ratio": uniform[-1] / uniform[0],
        "sample_share_of_update_1m": uniform[-1] / found["update_us"],
    }


def bench_annotation(folder: Path, episodes: int) -> dict[str, float]:
    """Re-annotation as `robo-reward annotate store=` does it: read with frames, ask the model in batches, write."""
    from robo_reward.data.tracks import TrackStore
    from robo_reward.progress.annotate import annotate_many
    from robo_reward.progress.models.compact import CompactModel
    from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
    from robo_reward.progress.references import References
    from robo_reward.progress.tracker import TrackerSettings

    torch.manual_seed(0)
    names = [f"policy-{i}" for i in range(episodes)]
    seen = [make_episode(i, frames=26) for i in range(episodes)]
    with TransitionStore(folder / "annotated", writable=True) as store:
        number = 0
        for episode in seen:
            number = store.append_episode("arm", number, episode)
        model = CompactModel(CompactNet(CompactSettings(views=("front", "side", "wrist"))))
        references = References.from_demonstrations(seen[:4])
        settings, tracks = TrackerSettings(every=4), TrackStore(folder / "tracks")
        started = time.perf_counter()
        for first in range(0, episodes, 16):
            batch = [store.read(name) for name in names[first : first + 16]]
            found = annotate_many(batch, model, settings, references)
            tracks.write(found[0].model_id, dict(zip([e.episode_id for e in batch], found, strict=True)))
        seconds = time.perf_counter() - started
        tracks.close()
    return {"reannotation_transitions_per_s": episodes * STEPS / seconds,
            "reannotation_episodes_per_s": episodes / seconds}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = bench_append(folder, 30 if quick else 380)
        result |= bench_rebuild(folder, 10 if quick else 1000)
        result |= bench_annotation(folder, 2 if quick else 48)
        result |= bench_sampling(20 if quick else 1000)
    result = {key: round(value, 4) for key, value in result.items()}
    about: dict[str, Any] = {"command": "python scripts/bench_store.py", **made_on()}
    text = json.dumps({**result, **about}, indent=1)
    print(text)
    if not quick:
        RESULT.write_text(text + "\n")


if __name__ == "__main__":
    main()
