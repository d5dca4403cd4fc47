"""A split of rollouts reads alike from a LeRobotDataset and from a transition store, as far as both hold it."""

import numpy as np
import pytest

from robo_reward.data.split import iterate_split, store_recorder
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode


def episode(number: int, steps: int = 6) -> Episode:
    rng = np.random.default_rng(number)
    at = np.array([0, 4, steps])
    return make_episode(
        steps, f"expert-{number}", instruction="lift the cube", source="expert", seed=number,
        agent_pos=rng.normal(size=(steps + 1, 3)).astype("f"), estimate=rng.normal(size=(steps + 1, 2)).astype("f"),
        action=rng.uniform(-1, 1, (steps, 2)).astype("f"), stage=np.arange(steps + 1) // 2,
        oracle=np.linspace(0, 1, steps + 1, dtype="f"), frame_steps=at,
        frames={v: rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8) for v in ("front", "wrist")},
    )  # fmt: skip


@pytest.fixture
def split(tmp_path):
    with store_recorder(tmp_path / "test") as (recorded, append):
        assert recorded == 0
        append(episode(0))
    with store_recorder(tmp_path / "test") as (recorded, append):  # gone on with
        assert recorded == 1
        append(episode(1))
    return tmp_path / "test"


def test_episodes_come_back_in_order_with_their_frames(split):
    found = list(iterate_split(split))
    assert [e.episode_id for e in found] == ["expert-0", "expert-1"]
    for mine, theirs in zip(found, (episode(0), episode(1)), strict=True):
        np.testing.assert_array_equal(mine.frame_steps, theirs.frame_steps)
        np.testing.assert_array_equal(mine.frames["wrist"], theirs.frames["wrist"])
        np.testing.assert_array_equal(mine.oracle, theirs.oracle)
        assert (mine.instruction, mine.success) == (theirs.instruction, theirs.success)


def test_views_are_chosen_and_unknown_ones_refused(split):
    assert [set(e.frames) for e in iterate_split(split, views=("wrist",))] == [{"wrist"}] * 2
    assert [e.frames for e in iterate_split(split, views=())] == [{}] * 2
    with pytest.raises(ValueError, match="has no view 'side'; it has front, wrist"):
        list(iterate_split(split, views=("side",)))


def test_a_split_that_nobody_recorded_is_empty(tmp_path):
    assert list(iterate_split(tmp_path / "weak")) == []


def test_an_error_in_a_users_dataset_names_that_and_no_stage(tmp_path):
    (tmp_path / "drawer" / "meta").mkdir(parents=True)
    (tmp_path / "drawer" / "meta" / "info.json").write_text("{")
    (tmp_path / "stage.partial").mkdir()
    (tmp_path / "stage.partial" / "demos").symlink_to(tmp_path / "drawer")
    with pytest.raises(ValueError, match=f"dataset {tmp_path / 'drawer'}: meta/info.json is damaged"):
        list(iterate_split(tmp_path / "stage.partial" / "demos"))


def test_an_interrupted_recording_keeps_what_was_whole(split):
    with store_recorder(split) as (_, append):
        append(episode(2))
    log = sorted(split.glob("*.log"))[-1]
    log.write_bytes(log.read_bytes()[:-5])
    with store_recorder(split) as (recorded, append):
        assert recorded == 2
        append(episode(2))
    assert [e.episode_id for e in iterate_split(split)] == ["expert-0", "expert-1", "expert-2"]
