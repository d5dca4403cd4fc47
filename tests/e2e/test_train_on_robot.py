"""`robo-reward train robot=sim_arm` over the real wire, in its smallest size."""

from __future__ import annotations

import json
import os

import pytest

for package in ("torch", "mujoco", "cyclonedds", "matplotlib"):
    pytest.importorskip(package)

from robo_reward.config import load_config  # noqa: E402
from robo_reward.runtime.pipeline import train  # noqa: E402
from robo_reward.runtime.worlds import ROBOT_LOG  # noqa: E402

pytestmark = pytest.mark.slow
TINY = [
    "experiment=smoke", "robot=sim_arm", f"robot.domain={1 + os.getpid() % 100}", "quiet=true", "env.horizon=150",
    "robot.camera_hz=3", "collect.demos=1", "collect.weak=2", "collect.validation=0", "collect.test=0", "base.demos=1",
    "train.rollouts=2", "train.evaluate_every=2", "train.evaluate_episodes=1", "train.warmup_updates=5",
    "evaluate.episodes=1", "evaluate.videos=0",
]  # fmt: skip


def test_the_whole_line_runs_over_the_wire_and_shows_what_the_gate_did(tmp_path):
    summary = train(load_config([*TINY, f"run.root={tmp_path}"]))
    assert summary["rollouts"] == 2 and summary["robot_episodes"] >= 2 + 1 + 2 + 1 + 2
    assert summary["robot_age_ms_p50"] > 0
    report = next(tmp_path.glob("train-*/report.html")).read_text()
    assert "Actions, requested and executed" in report and "steps cut by the gate" in report
    for stage in ("collect", "train", "evaluate"):
        lines = next(tmp_path.glob(f"stages/{stage}-*/{ROBOT_LOG}")).read_text().splitlines()
        assert all(len(json.loads(line)["executed"]) == json.loads(line)["steps"] for line in lines)
