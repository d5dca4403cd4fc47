"""`train runtime=async robot=sim_arm`: the arm keeps its rate while its learner learns, saves and is dead."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

for package in ("torch", "mujoco", "cyclonedds", "matplotlib", "grpc"):
    pytest.importorskip(package)

from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.runtime.worlds import ROBOT_LOG  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(1500)]
SETTINGS = [
    "experiment=smoke", "robot=sim_arm", "env.horizon=60", "robot.camera_hz=3", "reward=oracle", "collect.demos=2",
    "collect.weak=0", "collect.validation=0", "collect.test=0", "collect.all_frames=false", "base.demos=1",
    "train.rollouts=6", "train.warmup_updates=20", "evaluate.episodes=1", "evaluate.videos=0", "runtime=async",
    "runtime.ahead=4",
]  # fmt: skip
PERIOD_MS = 50.0


def events(folder, role):
    found = folder.glob(f"train-*/logs/{role}.jsonl")
    return [json.loads(line) for path in found for line in path.read_text().splitlines()]


def test_the_arm_keeps_its_rate_whatever_becomes_of_the_learner(tmp_path):
    program = [sys.executable, "-c", "from robo_reward.cli import main; main()", "train", *SETTINGS, "quiet=true"]
    run = subprocess.Popen([*program, f"run.root={tmp_path}", f"robot.domain={1 + (os.getpid() + 31) % 100}"])

    def until(reached):
        while not reached():
            assert run.poll() is None, "the run has ended"
            time.sleep(0.05)

    try:
        until(lambda: [line for line in events(tmp_path, "learner") if line["event"] == "learned"])
        learner = [line["pid"] for line in events(tmp_path, "supervisor") if line.get("name") == "learner"][-1]
        played = len([line for line in events(tmp_path, "actor-0") if line["event"] == "played"])
        os.kill(learner, signal.SIGSTOP)  # as good as dead, for as long as the robot needs for another rollout
        until(lambda: len([line for line in events(tmp_path, "actor-0") if line["event"] == "played"]) > played + 1)
        os.kill(learner, signal.SIGKILL)
        assert run.wait(1200) == 0
    finally:
        run.kill()
    [summary] = (json.loads(path.read_text()) for path in tmp_path.glob("train-*/summary.json"))
    assert summary["rollouts"] == 6 and "final_success" in summary and summary["last_three_evaluations_low"] is None
    rollouts = [line for line in events(tmp_path, "actor-0") if line["event"] == "played"]
    assert len([line for line in events(tmp_path, "actor-0") if line["event"] == "lost"]) >= 1
    medians = [line["step_p50_ms"] for line in rollouts if line["steps"] > 1]
    assert len(medians) >= 6 and all(0.9 * PERIOD_MS < median < 1.2 * PERIOD_MS for median in medians), medians
    [stage] = tmp_path.glob("stages/train-*/store")
    with TransitionStore(stage) as store:
        online = [entry for entry in store.episodes() if entry.actor == "online-0"]
        assert len(online) >= 6 and not store.index.broken and not store.index.abandoned
    log = (stage.parent / ROBOT_LOG).read_text().splitlines()
    assert len(log) >= 6 and summary["robot_episodes"] >= len(log)
