"""A collection that is killed or interrupted can be resumed, and LeRobot's reader opens the result."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot")

from robo_reward.data.lerobot import DatasetWriter, read_dataset
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

pytestmark = pytest.mark.fault
SETTINGS = {"fps": 20, "robot_type": "panda", "close_every": 2}

PROGRAM = """
    import importlib.util, os, signal, sys
    spec = importlib.util.spec_from_file_location("episodes", {file!r})
    episodes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(episodes)
    import robo_reward.data.lerobot_video as lerobot_video
    encode, videos = lerobot_video.encode, []

    def encode_and_stop(*arguments, **options):
        videos.append(arguments)
        if len(videos) == {video}:
            os.kill(os.getpid(), signal.{signal})
        encode(*arguments, **options)

    lerobot_video.encode = encode_and_stop
    with episodes.DatasetWriter({root!r}, **episodes.SETTINGS, resume=True) as writer:
        for number in range(len(writer.episode_ids), 6):
            writer.append(episodes.episode(number))
"""


def episode(number: int, steps: int = 5) -> Episode:
    frames = np.full((steps + 1, 32, 32, 3), 20 * number, np.uint8)
    zeros = np.zeros((steps + 1, 2), np.float32)
    return make_episode(
        steps, f"episode-{number}", success=False, instruction="move", source="expert", seed=number,
        agent_pos=zeros + number, estimate=zeros, action=zeros[1:], oracle=np.zeros(steps + 1, np.float32),
        frames={"front": frames},
    )  # fmt: skip


def stopped(root: Path, video: int, with_signal: str) -> subprocess.CompletedProcess[str]:
    program = textwrap.dedent(PROGRAM).format(file=__file__, root=str(root), video=video, signal=with_signal)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


def assert_complete(root: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    read = read_dataset(root)
    assert [e.episode_id for e in read] == [f"episode-{i}" for i in range(6)]
    for number, one in enumerate(read):
        assert one.seed == number and np.abs(one.frames["front"].astype(int) - 20 * number).max() <= 2
    theirs = LeRobotDataset("any/name", root=root)
    assert len(theirs) == 36 and theirs.meta.total_episodes == 6
    for row in range(36):
        item = theirs[row]
        assert int(item["index"]) == row and int(item["episode_seed"]) == row // 6
        assert abs(float(item["observation.images.front"].mean()) * 255 - 20 * (row // 6)) <= 2
    assert theirs.meta.stats["observation.state"]["mean"][0] == pytest.approx(2.5)  # of the kept episodes only


@pytest.mark.parametrize("video", [1, 3, 4])
def test_a_killed_collection_is_resumed(tmp_path, video):
    root = tmp_path / "d"
    assert stopped(root, video, "SIGKILL").returncode == -signal.SIGKILL
    with pytest.raises(ValueError, match="half-written"):
        read_dataset(root)
    with DatasetWriter(root, **SETTINGS, resume=True) as writer:
        kept = len(writer.episode_ids)
        assert kept == (video - 1) // 2 * 2  # all but the part it was in
        for number in range(kept, 6):
            writer.append(episode(number))
    assert_complete(root)


def test_ctrl_c_loses_nothing(tmp_path):
    root = tmp_path / "d"
    answer = stopped(root, 4, "SIGINT")
    assert "KeyboardInterrupt" in answer.stderr
    assert len(read_dataset(root)) == 4  # the episode being written included
    with DatasetWriter(root, **SETTINGS, resume=True) as writer:
        for number in range(len(writer.episode_ids), 6):
            writer.append(episode(number))
    assert_complete(root)
