"""What we write, LeRobot reads: episodes exported one by one, with videos where every frame is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot")

from robo_reward.config import load_config
from robo_reward.data.disk import Disk
from robo_reward.data.export import export_episodes
from robo_reward.data.lerobot import read_dataset
from robo_reward.data.sparse import to_training_episode
from robo_reward.data.store import TransitionStore
from robo_reward.data.torchvision_cure import cure
from robo_reward.runtime.exporting import export
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

cure()  # these tests import LeRobot themselves

SETTINGS = {"fps": 20, "robot_type": "panda"}


def episode(number: int, steps: int = 6) -> Episode:
    rng = np.random.default_rng(number)
    rows = steps + 1
    return make_episode(
        steps, f"policy-{number}", instruction="insert the peg", seed=number,
        agent_pos=rng.normal(size=(rows, 5)).astype(np.float32),
        estimate=rng.normal(size=(rows, 2)).astype(np.float32),
        action=rng.uniform(-1, 1, (steps, 3)).astype(np.float32), reward=np.eye(steps, dtype=np.float32)[-1],
        stage=np.arange(rows) // 3, oracle=np.linspace(0, 1, rows, dtype=np.float32), frame_steps=np.arange(rows),
        frames={"front": np.tile(np.arange(rows, dtype=np.uint8)[:, None, None, None] * 20, (1, 32, 32, 3))},
    )  # fmt: skip


def test_lerobots_reader_gets_every_step_with_its_picture(tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    episodes = [episode(0), episode(1, 9)]
    assert export_episodes(episodes, tmp_path / "d", **SETTINGS) == 2
    theirs = LeRobotDataset("any/name", root=tmp_path / "d")
    assert theirs.meta.total_episodes == 2 and len(theirs) == 17 and theirs.meta.fps == 20
    item = theirs[7 + 4]
    assert int(item["episode_index"]) == 1 and np.array_equal(item["action"].numpy(), episodes[1].action[4])
    assert np.array_equal(item["observation.state"].numpy(), episodes[1].agent_pos[4])
    assert abs(float(item["observation.images.front"].mean()) * 255 - 80) <= 2


def test_episodes_with_query_frames_only_keep_every_action_and_lose_the_pictures(tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    episodes = [to_training_episode(episode(n), 4) for n in range(2)]
    export_episodes(episodes, tmp_path / "d", **SETTINGS)
    theirs = LeRobotDataset("any/name", root=tmp_path / "d")
    assert len(theirs) == 14 and not theirs.meta.video_keys and theirs.meta.fps == 20
    actions = np.stack([theirs[row]["action"].numpy() for row in range(6)])
    assert np.array_equal(actions, episodes[0].action)  # at the control rate, none summed or left out
    assert len(read_dataset(tmp_path / "d")) == 2
    with pytest.raises(ValueError, match="holds frames of 3 of its 7 observations.*videos=False"):
        export_episodes(episodes, tmp_path / "asked", **SETTINGS, videos=True)


def test_videos_can_be_left_out_and_must_be_there_for_all(tmp_path):
    export_episodes([episode(0)], tmp_path / "d", **SETTINGS, videos=False)
    assert not (tmp_path / "d" / "videos").exists() and not read_dataset(tmp_path / "d")[0].frames
    with pytest.raises(ValueError, match="videos=False"):
        export_episodes([episode(0), to_training_episode(episode(1), 4)], tmp_path / "mixed", **SETTINGS)
    assert [e.episode_id for e in read_dataset(tmp_path / "mixed")] == ["policy-0"]


def test_each_episode_is_closed_and_synced_before_the_next_one_is_asked_for(tmp_path):
    synced: list[Path] = []

    class Watched(Disk):
        def sync_folder(self, folder: Path) -> None:
            synced.append(folder)
            super().sync_folder(folder)

    def two() -> Iterator[Episode]:
        for number in range(2):
            yield episode(number)
            assert [e.episode_id for e in read_dataset(tmp_path / "d")] == [f"policy-{n}" for n in range(number + 1)]
            missing = {path for path in (tmp_path / "d").rglob("*.*") if path.is_file()} - set(synced)
            assert not missing and tmp_path / "d" in synced and tmp_path in synced

    assert export_episodes(two(), tmp_path / "d", **SETTINGS, disk=Watched()) == 2
    assert {path.suffix for path in synced} >= {".parquet", ".mp4", ".json"}


def test_an_export_goes_on_where_it_stopped(tmp_path):
    def broken() -> Iterator[Episode]:
        yield episode(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_episodes(broken(), tmp_path / "d", **SETTINGS)
    with pytest.raises(ValueError, match="exists already"):
        export_episodes([episode(1)], tmp_path / "d", **SETTINGS)
    assert export_episodes([episode(0), episode(1)], tmp_path / "d", **SETTINGS, resume=True) == 2
    assert [e.seed for e in read_dataset(tmp_path / "d")] == [0, 1]


def test_a_dataset_of_another_run_is_neither_kept_nor_added_to(tmp_path):
    def stored(name: str, *episodes: Episode) -> str:
        with TransitionStore(tmp_path / name, writable=True) as store:
            first = 0
            for one in episodes:
                first = store.append_episode("arm", first, one)
        return str(tmp_path / name)

    def exported(store: str) -> int:
        settings = [f"store={store}", f"to={tmp_path / 'd'}", f"run.root={tmp_path / 'runs'}", "quiet=true"]
        return export(load_config(settings, command="export"))["exported_episodes"]

    other = replace(episode(1), episode_id="policy-0")  # the same id: ids follow the seed
    first = stored("a", episode(0))
    assert exported(first) == exported(first) == 1
    with pytest.raises(ValueError, match="holds episode policy-0 of another run.*to="):
        exported(stored("b", other, episode(2)))
    with pytest.raises(ValueError, match="holds episode policy-0 of another run"):
        exported(stored("c", episode(2)))
    assert [e.seed for e in read_dataset(tmp_path / "d")] == [0]
    assert exported(stored("longer", episode(0), episode(1))) == 2


def test_wrong_episodes_are_told(tmp_path):
    with pytest.raises(ValueError, match="no episodes to export"):
        export_episodes([], tmp_path / "d", **SETTINGS)
    with pytest.raises(ValueError, match="in dataset .* already"):
        export_episodes([episode(0), replace(episode(1), episode_id="policy-0")], tmp_path / "d", **SETTINGS)
