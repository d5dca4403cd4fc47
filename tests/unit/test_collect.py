"""Which rollouts a split takes: every third a success of the expert, the others failures of the weak policy."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.config import load_config
from robo_reward.runtime import collecting
from robo_reward.runtime.tasks import SEED_SPAN, SPLITS, first_seed


def rollouts(monkeypatch, split, numbers, succeeds):
    """(who acted, success, attempts) of each, for a world in which `succeeds(who, attempt)` decides."""

    def run(env, jobs, query_every, again):
        for job in jobs:
            retry = job
            while retry is not None:
                attempt = (retry.seed - job.seed) + 1
                episode = SimpleNamespace(seed=retry.seed, source=retry.source, success=succeeds(retry.source, attempt))
                retry = again(episode)
            yield episode.source, episode.success, attempt

    monkeypatch.setattr(collecting, "run_jobs", run)
    return list(collecting._split_episodes(load_config(), None, split, numbers))


def test_an_outcome_that_does_not_fit_is_drawn_anew(monkeypatch):
    def third_time(kind, attempt):
        return (kind == "expert") == (attempt == 3)

    wanted = [("expert", True, 3), ("weak", False, 3), ("weak", False, 3), ("expert", True, 3)]
    for split in ("validation", "test"):
        assert rollouts(monkeypatch, split, range(4), third_time) == wanted
    assert rollouts(monkeypatch, "demos", range(2), third_time) == [("expert", True, 3)] * 2
    assert rollouts(monkeypatch, "weak", range(2), lambda *_: True) == [("weak", True, 1)] * 2, "it keeps what happens"


def test_an_outcome_that_never_comes_is_told_in_one_line(monkeypatch):
    line = r"collect\.validation: the scripted weak policy of .* gave no failure in 100 rollouts from seed 1200100"
    with pytest.raises(ValueError, match=line):
        rollouts(monkeypatch, "validation", range(3), lambda *_: True)
    with pytest.raises(ValueError, match=r"collect\.test: the scripted expert of .* gave no success in 100 rollouts"):
        rollouts(monkeypatch, "test", range(3), lambda *_: False)


def test_every_kind_of_rollout_has_seeds_of_its_own():
    firsts = [first_seed(0, kind) for kind in (*SPLITS, "online", "session")]
    assert np.diff(firsts).min() >= 100_000
    assert max(firsts) < first_seed(1, "demos") == 2 * SEED_SPAN


def test_a_dataset_is_known_by_what_it_holds_and_not_by_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setattr(collecting, "read_split", lambda *_, **__: [SimpleNamespace(success=True)])
    own = tmp_path / "own"
    info = {"codebase_version": "v3.0", "total_episodes": 1, "total_frames": 2, "fps": 20, "robot_type": "x"}
    files = {
        "meta/info.json": json.dumps({**info, "features": {}}),
        "data/chunk-000/file-000.parquet": "done",
        "videos/front/file-000.mp4": "seen",
    }
    for name, text in files.items():
        (own / name).parent.mkdir(parents=True)
        (own / name).write_text(text)

    def stage(root):
        return collecting.dataset_stage(load_config([f"dataset={root}", f"run.root={tmp_path / 'runs'}", "quiet=true"]))

    first = stage(own)
    moved = own.rename(tmp_path / "moved")
    again = stage(moved)
    assert again.reused and again.path == first.path
    assert (again.path / "demos/data/chunk-000/file-000.parquet").read_text() == "done", "it reads where they are now"
    paths = {first.path}
    for name in files:
        (moved / name).write_text(files[name] + " ")
        paths.add(stage(moved).path)
    (moved / "data/chunk-000/file-000.parquet").write_text("fail ")  # as long as before: an outcome was corrected
    assert len({*paths, stage(moved).path}) == 5
