"""`train reward.teacher=`: a slow teacher on a server, its student takes over the run."""

import threading
import time

import numpy as np
import pytest

for package in ("torch", "mujoco", "lerobot", "av", "aiohttp"):
    pytest.importorskip(package)

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.data.tracks import TrackStore  # noqa: E402
from robo_reward.runtime.distil import STUDENTS  # noqa: E402
from robo_reward.runtime.pipeline import annotate, train, train_reward  # noqa: E402
from robo_reward.runtime.run_folder import RunFolder  # noqa: E402
from robo_reward.testing.reward_server import BadServer, about  # noqa: E402
from robo_reward.types import HopEstimate  # noqa: E402

pytestmark = pytest.mark.slow
SMALL = [
    "experiment=smoke", "quiet=true", "env.horizon=40", "env.image_size=48", "collect.demos=2", "collect.weak=0",
    "collect.validation=0", "collect.test=0", "base.demos=1", "train.rollouts=6", "train.warmup_updates=4",
    "agent.updates_per_step=1", "train.evaluate_every=6", "evaluate.episodes=2", "evaluate.videos=0",
]  # fmt: skip


def slow_pixels(query):
    """A teacher that takes its time: a hop is how much brighter a picture is."""
    threading.Event().wait(0.2)
    light = query.frames["front"].mean((1, 2, 3))
    hop = np.clip((light[query.after_B] - light[query.before_B]) / 20, -1, 1).astype(np.float32)
    return HopEstimate(hop, np.full(len(hop), 0.8, np.float32), np.ones(len(hop), bool))


def test_a_slow_teacher_s_student_takes_over_the_run(tmp_path, monkeypatch):
    rows, log = [], RunFolder.log

    def watched(self, *arguments, **numbers):
        log(self, *arguments, **numbers)
        rows.append(numbers["rollout"])
        [store] = (tmp_path / "stages").glob("train-*/store")
        while numbers["rollout"] == 4 and TrackStore(store.parent / "tracks").proposal is None:
            time.sleep(0.2)

    monkeypatch.setattr(RunFolder, "log", watched)
    with BadServer(slow_pixels, about("pixels", 48)) as server:
        remote = ["reward=remote", f"reward.url={server.url}"]
        teacher = train_reward(load_config([*SMALL, f"run.root={tmp_path}", *remote], "train-reward"))["reward_model"]
        taught = [f"reward.teacher={teacher}", "reward.teacher_every=4", f"run.root={tmp_path}"]
        summary = train(load_config([*SMALL, *taught]))
        [store] = (tmp_path / "stages").glob("train-*/store")
        scored = annotate(load_config([*SMALL, f"run.root={tmp_path}", *remote], "annotate"))
        words = ["quiet=true", f"run.root={tmp_path}", f"store={store}", f"reward_model={teacher}"]
        again = annotate(load_config(words, "annotate"))
    assert summary["rollouts"] == 6 and rows == [1, 2, 3, 4, 5, 6]
    assert scored["annotated_episodes"] == 2, "the demonstrations, by the server"
    tracks, folder = TrackStore(store.parent / "tracks"), store.parent
    assert tracks.in_force.model_id.startswith("compact-") and f"/{STUDENTS}/" in tracks.in_force.source
    stored = [entry.episode_id for entry in TransitionStore(store).episodes()]
    assert set(tracks.read(tracks.in_force.model_id)) == set(stored), "every episode is of the student's"
    [asked] = [path.name for path in (folder / "tracks").iterdir() if path.name.startswith("pixels")]
    assert again["reward_model_id"] == asked and again["newly_annotated_episodes"] <= 4, "the teacher knew most"
    assert set(tracks.read(asked)) == set(stored)
    assert all((folder / STUDENTS / path.name / "compact.safetensors").is_file() for path in
               (folder / STUDENTS).iterdir() if path.name.isdigit())  # fmt: skip
