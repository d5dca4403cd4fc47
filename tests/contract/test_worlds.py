"""Every world of the project passes the conformance kit, and the kit notices a world that breaks its promises."""

from __future__ import annotations

import functools

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the environments
from robo_reward.testing.environment import CHECKS, check_bad_actions, check_determinism, check_ownership, check_world

WORLDS = {
    "robo_reward/PegInsert-v0": "mujoco",
    "robo_reward/PegInsertLong-v0": "mujoco",
    "robo_reward/Lift-v0": "robosuite",
    "robo_reward/NutAssemblySquare-v0": "robosuite",
    "robo_reward/PickPlaceCan-v0": "robosuite",
    "robo_reward/Stack-v0": "robosuite",
    "robo_reward/Door-v0": "robosuite",
}


def make(world, **arguments):
    return gymnasium.make(world, **arguments).unwrapped


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("world", WORLDS)
def test_world(world, check):
    pytest.importorskip(WORLDS[world])
    check(functools.partial(make, world))


class Broken(gymnasium.Wrapper):
    """PegInsert with one promise broken."""

    def __init__(self, fault):
        super().__init__(make("robo_reward/PegInsert-v0"))
        self.fault, self.kept = fault, None

    @property
    def unwrapped(self):
        return self.env

    def reset(self, **arguments):
        self.kept, info = self.env.reset(**arguments)
        if self.fault == "unseeded":
            self.kept["estimate"] += np.random.default_rng().normal(size=len(self.kept["estimate"])).astype(np.float32)
        return self.kept, info

    def step(self, action):
        if self.fault == "clips":
            action = np.clip(np.nan_to_num(np.resize(action, 4)), -1, 1)
        observation, *rest = self.env.step(action)
        if self.fault == "aliased":
            for name, value in observation.items():
                self.kept[name][:] = value
            observation = self.kept
        return observation, *rest


@pytest.mark.parametrize(
    "fault,check,message",
    [
        ("unseeded", check_determinism, "used in between gave something else"),
        ("clips", check_bad_actions, "was accepted"),
        ("aliased", check_ownership, "an observation after the next step"),
    ],
)
def test_a_broken_promise_is_noticed(fault, check, message):
    pytest.importorskip("mujoco")
    with pytest.raises(AssertionError, match=message):
        check(lambda: Broken(fault))


def test_check_world_runs_every_check():
    with pytest.raises(RuntimeError, match="made"):
        check_world(lambda **_: (_ for _ in ()).throw(RuntimeError("made")))
