"""Episodes in Rerun's own format, read back by Rerun."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robo_reward.data.rerun_file import write_rerun
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

STEPS = 6


def episode(name: str) -> Episode:
    rows = STEPS + 1
    rng = np.random.default_rng(0)
    return make_episode(
        STEPS, name, instruction="close the drawer", source="human", agent_pos=np.zeros((rows, 3), np.float32),
        estimate=np.zeros((rows, 0), np.float32), action=rng.uniform(-1, 1, (STEPS, 2)).astype(np.float32),
        reward=np.eye(STEPS, dtype=np.float32)[-1], oracle=np.linspace(0, 1, rows).astype(np.float32),
        frame_steps=np.array([0, 4, STEPS]), frames={"top": rng.integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)},
    )  # fmt: skip


def test_what_rerun_reads_is_what_was_recorded(tmp_path: Path):
    pytest.importorskip("rerun")
    from rerun import dataframe

    assert write_rerun([episode("one"), episode("two")], tmp_path / "clip.rrd", fps=20) == 2
    recording = dataframe.load_recording(tmp_path / "clip.rrd")
    table = recording.view(index="step", contents="/one/**").select().read_all().to_pandas()
    assert sorted(table["step"].tolist()) == list(range(STEPS + 1))
    actions = [row for row in table["/one/action:Scalars:scalars"] if row is not None]
    np.testing.assert_allclose(np.stack(actions), episode("one").action, atol=1e-6)
    pictures = [row for row in table["/one/cameras/top:EncodedImage:blob"] if row is not None]
    assert len(pictures) == 3
    names = {column.entity_path for column in recording.schema().component_columns()}
    assert {"/two/progress_oracle", "/two/reward", "/one/agent_pos"} <= names and "/one/estimate" not in names


def test_nothing_to_write_is_said_in_one_line(tmp_path: Path):
    pytest.importorskip("rerun")
    with pytest.raises(ValueError, match="no episodes to write"):
        write_rerun([], tmp_path / "clip.rrd", fps=20)


def test_without_rerun_the_line_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    with pytest.raises(ValueError, match=r"robo_reward\[rerun\]"):
        write_rerun([episode("one")], tmp_path / "clip.rrd", fps=20)
