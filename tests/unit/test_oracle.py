"""Episodes that no simulator recorded have no oracle progress, and whoever needs it says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robo_reward.config import load_config
from robo_reward.data.store import TransitionStore
from robo_reward.progress.bench.method import Method
from robo_reward.progress.bench.row import BenchSettings
from robo_reward.progress.bench.suite import bench
from robo_reward.progress.models.oracle import oracle_track
from robo_reward.runtime.labelling import label_key
from robo_reward.testing.episodes import make_episode
from robo_reward.types import UNKNOWN_STAGE, Episode


def episode(success: bool = True) -> Episode:
    return make_episode(
        3, f"real-{success}", success=success, instruction="close the drawer", source="human",
        agent_pos=np.zeros((4, 2), np.float32), estimate=np.zeros((4, 0), np.float32), stage=np.full(4, UNKNOWN_STAGE),
    )  # fmt: skip


def test_it_is_optional_and_checked_where_it_is_there():
    assert episode().validate().oracle is None
    with pytest.raises(ValueError, match="oracle has 3 rows, expected 4"):
        replace(episode(), oracle=np.zeros(3, np.float32)).validate()


def test_the_store_keeps_its_absence(tmp_path):
    with TransitionStore(tmp_path, writable=True) as store:
        store.append_episode("arm", 0, episode())
        read = store.read("real-True")
    assert read.oracle is None and read.stage.tolist() == [UNKNOWN_STAGE] * 4


def test_shaping_by_it_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"episode real-True has no oracle progress.*use reward=compact"):
        oracle_track(episode())
    track = oracle_track(replace(episode(), oracle=np.float32([0, 0.5, 1, 1.2])))
    assert track.phi.tolist() == [0, 0.5, 1, 1] and track.model_id == "oracle"


def test_the_benchmark_needs_it():
    method = Method("any", lambda episodes: [np.zeros(0) for _ in episodes])
    with pytest.raises(ValueError, match="has no oracle progress"):
        bench([method], [episode(True), episode(False)], BenchSettings())


def test_a_keyframe_file_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "keyframes.json"
    path.write_text('{"a": [0, 1')
    with pytest.raises(ValueError, match=r"keyframes\.json is no JSON"):
        label_key(load_config([f"keyframes={path}"]))
    with pytest.raises(FileNotFoundError, match="check the path"):
        label_key(load_config([f"keyframes={tmp_path / 'nowhere.json'}"]))
