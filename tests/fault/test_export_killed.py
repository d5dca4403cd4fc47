"""A killed export has every episode that was written before, and goes on from there."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("lerobot")

from robo_reward.data.lerobot import DatasetWriter, read_dataset

pytestmark = pytest.mark.fault

PROGRAM = """
    import os, signal
    import numpy as np
    from robo_reward.data.export import export_episodes
    from robo_reward.types import Episode

    def episodes():
        for number in range(5):
            if number == {killed_at}:
                os.kill(os.getpid(), signal.SIGKILL)
            yield Episode(
                episode_id=f"policy-{{number}}", instruction="move", source="policy", seed=number,
                agent_pos=np.full((4, 2), number, np.float32), estimate=np.zeros((4, 0), np.float32),
                action=np.zeros((3, 2), np.float32), reward=np.zeros(3, np.float32), stage=np.zeros(4, np.int64),
                oracle=None,
                terminated=False, truncated=True, success=False, frame_steps=np.arange(4),
                frames={{"front": np.full((4, 32, 32, 3), number, np.uint8)}},
            )

    export_episodes(episodes(), {root!r}, fps=20, robot_type="panda", resume=True)
"""


def test_a_killed_export_goes_on(tmp_path):
    root = tmp_path / "d"
    for killed_at in (3, 99):
        program = textwrap.dedent(PROGRAM).format(killed_at=killed_at, root=str(root))
        answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert answer.returncode == (-signal.SIGKILL if killed_at == 3 else 0), answer.stderr
        assert [e.seed for e in read_dataset(root)] == list(range(min(killed_at, 5)))
    with DatasetWriter(root, fps=20, robot_type="panda", resume=True) as writer:
        assert writer.episode_ids == [f"policy-{n}" for n in range(5)]
