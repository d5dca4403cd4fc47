"""Environments in processes: one is killed, their owner is interrupted or killed. Nothing hangs, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.fault

PROGRAM = """
import numpy as np
import gymnasium
from robo_reward.evaluation.vector import make_vector, run_episodes

def make():
    class Endless(gymnasium.Env):
        action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        observation_space = gymnasium.spaces.Dict(
            {name: gymnasium.spaces.Box(-1, 1, (1,), np.float32) for name in ("agent_pos", "estimate")}
        )
        info = {"stage": 0, "progress_oracle": 0.0, "is_success": False, "instruction": ""}

        def reset(self, *, seed=None, options=None):
            return self.observation_space.sample(), self.info

        def step(self, action):
            return self.observation_space.sample(), 0.0, False, False, self.info | {"executed_action": action}

    return Endless()

def act(agent_pos, estimate):
    return np.zeros(1, np.float32), None

env = make_vector(make, 2)
print(*(process.pid for process in env.processes), flush=True)
try:
    list(run_episodes(env, lambda seed: act, [0, 1], source="test"))
finally:
    env.close()
"""


def gone(pid: int) -> bool:
    """Whether there is no such process, or only its remains, within half a minute."""
    for _ in range(3000):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def start() -> tuple[subprocess.Popen[str], list[int]]:
    """A program that steps two endless environments, and their process ids; amid its steps."""
    owner = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    children = [int(word) for word in owner.stdout.readline().split()]
    assert len(children) == 2
    time.sleep(0.5)
    return owner, children


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["ctrl-c", "kill -9"])
def test_nothing_is_left_when_the_owner_ends(how):
    owner, children = start()
    if how == "ctrl-c":
        os.killpg(owner.pid, signal.SIGINT)  # a terminal sends it to every process of the group
    else:
        owner.kill()
    assert all(gone(pid) for pid in children), "an environment outlived its owner"
    said = owner.communicate(timeout=60)[1]
    if how == "ctrl-c":
        assert said.count("Traceback") == 1 and said.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_environment_is_reported_and_the_others_end():
    owner, children = start()
    os.kill(children[1], signal.SIGKILL)
    said = owner.communicate(timeout=60)[1]
    assert owner.returncode == 1
    assert said.rstrip().endswith("lower env.count, or set env.count=1 to see why")
    assert gone(children[0])
