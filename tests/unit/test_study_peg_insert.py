"""The study's controls: what "cloning all data" may clone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.data.split import store_recorder
from robo_reward.data.store import TransitionStore
from robo_reward.runtime.experience import DEMONSTRATIONS, ONLINE
from robo_reward.types import Episode


def rollout(name: str, success: bool) -> Episode:
    return Episode(
        name, "lift the cube", "expert", 0, np.zeros((3, 2), "f"), np.zeros((3, 2), "f"), np.zeros((2, 2), "f"),
        np.zeros(2, "f"), np.zeros(3, np.int64), None, success, not success, success, np.zeros(0, np.int64), {},
    )  # fmt: skip


def test_cloning_all_data_takes_what_trained_the_run_and_no_validation(script, tmp_path):
    study = script("study_peg_insert")
    for split in ("demos", "weak", "validation", "test"):
        with store_recorder(tmp_path / "collect" / split) as (_, append):
            for success in (True, False)[: 1 if split == "demos" else 2]:
                append(rollout(f"{split}-{success}", success))
    with TransitionStore(tmp_path / "train" / "store", writable=True) as store:
        store.append_episode(DEMONSTRATIONS, 0, rollout("a copy of a demonstration", True))
        following = store.append_episode(ONLINE, 0, rollout("online-True", True))
        store.append_episode(ONLINE, following, rollout("online-False", False))
    found = study.successes_used(tmp_path / "collect", tmp_path / "train")
    assert [episode.episode_id for episode in found] == ["demos-True", "weak-True", "online-True"]
