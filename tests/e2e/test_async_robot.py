"""The simulated arm at an actor: it keeps its rate whatever its learner does, and one elsewhere never touches it."""

import json
import os
import signal
import socket
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
    "experiment=smoke", "robot=sim_arm", "env.horizon=150", "robot.camera_hz=3", "reward=oracle", "collect.demos=2",
    "collect.weak=0", "collect.validation=0", "collect.test=0", "collect.all_frames=false", "base.demos=1",
    "train.warmup_updates=20", "evaluate.episodes=1", "evaluate.videos=0", "quiet=true",
]  # fmt: skip
PERIOD_MS = 50.0


def start(number, tmp_path, command, *words):
    program = [sys.executable, "-c", "from robo_reward.cli import main; main()", command, *words]
    domain = f"robot.domain={1 + (os.getpid() + number) % 100}"
    return subprocess.Popen([*program, f"run.root={tmp_path}", domain], stderr=subprocess.PIPE, text=True)


def events(folder, role):
    found = folder.glob(f"train-*/logs/{role}.jsonl")
    return [json.loads(line) for path in found for line in path.read_text().splitlines()]


def rollouts(folder):
    return [line for line in events(folder, "actor-0") if line["event"] == "played"]


def test_the_arm_keeps_its_rate_whatever_becomes_of_the_learner(tmp_path):
    run = start(31, tmp_path, "train", *SETTINGS, "runtime=async", "train.rollouts=6", "runtime.ahead=4")

    def until(reached):
        while not reached():
            assert run.poll() is None, "the run has ended"
            time.sleep(0.05)

    try:
        until(lambda: [line for line in events(tmp_path, "learner") if line["event"] == "learned"])
        pids = {line["name"]: line["pid"] for line in events(tmp_path, "supervisor") if line["event"] == "started"}
        played = len(rollouts(tmp_path))
        os.kill(pids["learner"], signal.SIGSTOP)  # as good as dead, for as long as the robot needs for two rollouts
        until(lambda: len(rollouts(tmp_path)) > played + 1)
        os.kill(pids["learner"], signal.SIGKILL)
        os.kill(pids["actor-0"], signal.SIGKILL)  # the next one finds arm and bridge gone, and starts its own
        assert run.wait(1200) == 0
    finally:
        run.kill()
    [summary] = (json.loads(path.read_text()) for path in tmp_path.glob("train-*/summary.json"))
    assert summary["rollouts"] == 6 and "final_success" in summary and summary["last_three_evaluations_low"] is None
    assert len([line for line in events(tmp_path, "actor-0") if line["event"] == "lost"]) >= 1
    assert sum(line["event"] == "joined" for line in events(tmp_path, "actor-0")) == 2
    medians = [line["step_p50_ms"] for line in rollouts(tmp_path) if line["steps"] > 1]
    assert len(medians) >= 5 and all(0.9 * PERIOD_MS < median < 1.2 * PERIOD_MS for median in medians), medians
    [stage] = tmp_path.glob("stages/train-*/store")
    with TransitionStore(stage) as store:
        online = [entry for entry in store.episodes() if entry.actor == "online-0"]
        assert len(online) >= 6 and not store.index.broken and not store.index.abandoned
    log = (stage.parent / ROBOT_LOG).read_text().splitlines()
    assert len(log) >= 6 and summary["robot_episodes"] >= len(log)


def test_a_learner_elsewhere_leaves_robot_and_evaluation_to_the_other_side(tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    learner = start(41, tmp_path, "learner", *SETTINGS, "train.rollouts=2", f"runtime.listen={address}")
    arm = ["robot=sim_arm", "robot.camera_hz=3"]  # as its own computer has it
    actor = start(43, tmp_path, "actor", *arm, f"runtime.connect={address}", "quiet=true")
    try:
        said, told = learner.communicate()[1], actor.communicate()[1]
    finally:
        learner.kill()
        actor.kill()
    assert learner.returncode == 0, said
    assert actor.returncode == 0, told
    [folder] = (path.parent for path in tmp_path.glob("learner-*/summary.json"))
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rollouts"] == 2 and "final_success" not in summary
    assert len((tmp_path / "actors" / "logs" / ROBOT_LOG).read_text().splitlines()) >= 2
    words = ["experiment=smoke", *arm, "env.horizon=150", "evaluate.episodes=1", "evaluate.videos=0", "quiet=true"]
    judging = start(47, tmp_path, "evaluate", *words, f"policies={folder}")
    said = judging.communicate()[1]
    assert judging.returncode == 0, said
    [summary] = (json.loads(path.read_text()) for path in tmp_path.glob("evaluate-*/summary.json"))
    assert "final_success" in summary and summary["robot_episodes"] >= 2
