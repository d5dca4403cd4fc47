"""Row S6: a training run that is killed again and again ends bit for bit as one that was left alone."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from robo_reward.data.store import TransitionStore, verify
from robo_reward.learning.weights import digest_of, load_weights
from robo_reward.testing.faults import fault_count, record_fault

pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytestmark = pytest.mark.fault

SETTINGS = [
    "experiment=smoke", "reward=oracle", "quiet=true", "train.rollouts=10", "train.warmup_rollouts=2",
    "train.warmup_updates=50", "evaluate.videos=0",
]  # fmt: skip
FORGETFUL = """
import numpy as np
from robo_reward.runtime.checkpoint import Checkpoint
def load(self):
    found = original(self)
    self.rng.bit_generator.state = np.random.default_rng(0).bit_generator.state
    return found
original, Checkpoint.load = Checkpoint.load, load
"""
"""The control: everything is restored but the random state."""
SAME = ("base_success", "final_success", "env_steps", "rollouts", "updates")


def start(root, *settings, before=""):
    program = before + "from robo_reward.cli import main; main()"
    command = [sys.executable, "-c", program, "train", *SETTINGS, *settings, f"run.root={root}"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "MUJOCO_GL": "egl"})


def outcome(root):
    """What a finished run says and weighs."""
    [summary] = root.glob("train-*/summary.json")
    [stage] = [path for path in root.glob("stages/train-*") if (path / "agent.safetensors").exists()]
    told = json.loads(summary.read_text())
    episodes = sorted(entry.episode_id for entry in TransitionStore(stage / "store").episodes())
    weights = digest_of(load_weights(stage / "agent")[0])  # the file itself may name its two entries in either order
    return {**{key: told[key] for key in SAME}, "episodes": episodes, "weights": weights}, stage


def run_with_kills(root, kills, seed, before=""):
    """Kill the run at random moments after it has begun to learn, then let it finish."""
    rng = random.Random(seed)
    for _ in range(kills):
        process = start(root, before=before)
        wanted = stored(root) + rng.randint(1, 2)
        while process.poll() is None and stored(root) < wanted:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.15)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process = start(root, before=before)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    return outcome(root)


def keep_data(whole, root):
    """Demonstrations and base of the uninterrupted run: only the training is to be killed."""
    for stage in ("collect", "train-base"):
        for folder in whole.glob(f"stages/{stage}-*[0-9a-f]"):
            shutil.copytree(folder, root / "stages" / folder.name)


def stored(root):
    """Online episodes that the run has stored so far."""
    for folder in root.glob("stages/train-*.partial/store"):
        try:
            return sum(entry.actor == "online" for entry in TransitionStore(folder).episodes())
        except FileNotFoundError:
            pass
    return 0


def test_a_killed_run_ends_bit_for_bit_as_one_left_alone(tmp_path):
    process = start(tmp_path / "whole")
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    whole, _ = outcome(tmp_path / "whole")
    broken, kills = [], 0
    for number in range(fault_count(1, 7)):
        root = tmp_path / f"killed{number}"
        keep_data(tmp_path / "whole", root)
        killed, stage = run_with_kills(root, 3, number)
        kills += 3
        for key, value in whole.items():
            if killed[key] != value:
                broken.append(f"run {number}: {key} is {killed[key]}, uninterrupted {value}")
        if verify(stage / "store").broken:
            broken.append(f"run {number}: an episode lost a record")
    keep_data(tmp_path / "whole", tmp_path / "control")
    control, _ = run_with_kills(tmp_path / "control", 3, 0, before=FORGETFUL)
    differs = control["weights"] != whole["weights"]
    record_fault("S6", "training killed three times against left alone", injected=kills, broken=broken,
                 control_failed=int(differs))  # fmt: skip
