"""An annotated copy is whole or not there, wherever the process is killed, and a repetition makes it."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot")

from robo_reward.data.lerobot import read_dataset, write_dataset
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

pytestmark = pytest.mark.fault

PROGRAM = """
    import os, signal, sys
    import numpy as np
    from robo_reward.data import lerobot_columns
    from robo_reward.data.disk import Disk

    where, source, target = sys.argv[1:]
    def die(*arguments, **options):
        os.kill(os.getpid(), signal.SIGKILL)
    if where == "rename":
        Disk.rename = die
    elif where != "nowhere":
        setattr(lerobot_columns, where, die)
    columns = [{"progress": np.linspace(0, 1, 4, dtype=np.float32)} for _ in range(3)]
    lerobot_columns.copy_with_columns(source, target, columns, {"by": "a test"})
"""


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def episode(number: int) -> Episode:
    return make_episode(
        3, f"policy-{number}", success=False, instruction="move", seed=number,
        agent_pos=np.full((4, 2), number, np.float32), estimate=np.zeros((4, 0), np.float32),
        action=np.zeros((3, 2), np.float32), frames={"front": np.full((4, 32, 32, 3), number, np.uint8)},
    )  # fmt: skip


def test_a_killed_copy_is_not_there_and_a_repetition_makes_it(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    write_dataset(source, [episode(n) for n in range(3)], fps=20, robot_type="panda")
    before = digests(source)
    for where in ("_take", "_add_to_rows", "_add_to_statistics", "rename", "nowhere"):
        words = [sys.executable, "-c", textwrap.dedent(PROGRAM), where, str(source), str(target)]
        answer = subprocess.run(words, capture_output=True, text=True)
        assert answer.returncode == (0 if where == "nowhere" else -signal.SIGKILL), answer.stderr
        assert target.exists() == (where == "nowhere"), where
        assert (tmp_path / "target.partial").exists() == (where != "nowhere"), where
        assert digests(source) == before, where
    assert [e.seed for e in read_dataset(target)] == [0, 1, 2]
