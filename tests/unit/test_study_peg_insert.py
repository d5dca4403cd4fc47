"""The study's controls: what "cloning all data" may clone."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from robo_reward.data.split import store_recorder
from robo_reward.data.store import TransitionStore
from robo_reward.runtime.experience import DEMONSTRATIONS, ONLINE
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode


def rollout(name: str, success: bool) -> Episode:
    return make_episode(2, name, success=success, instruction="lift the cube", source="expert")


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
