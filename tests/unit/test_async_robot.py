"""A robot under runtime=async: its actor alone owns it, and plays on with its last policy when the learner is gone."""

import json
import os
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("grpc")

from robo_reward.config import Config, load_config
from robo_reward.data.store import TransitionStore
from robo_reward.hardware.arm_state import ArmState
from robo_reward.hardware.bridge import SLOTS, Bridge
from robo_reward.hardware.memory_transport import MemoryNetwork, MemoryTransport
from robo_reward.hardware.robot import BridgeStatus, RobotObservation
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.robot_env import RobotEnv
from robo_reward.hardware.sim_arm import SimArm
from robo_reward.hardware.slots import share
from robo_reward.runtime import actor
from robo_reward.runtime.intake import Intake
from robo_reward.runtime.link import Server
from robo_reward.runtime.local import open_learner
from robo_reward.runtime.messages import Records, Welcome
from robo_reward.runtime.role_log import RoleLog
from robo_reward.safety.arm_gate import Mode
from robo_reward.testing.small_run import learning, small_config, small_school

CONFIG, LIMITS = load_robot("sim_arm")


class MemoryArm:
    """A robot in this process: simulated arm, bridge and topics under a clock that moves with what is asked for."""

    config, limits = replace(CONFIG, cameras={}), replace(LIMITS, state_timeout_s=0.01)

    def __init__(self):
        self.now, network = 10.0, MemoryNetwork()
        nodes = [MemoryTransport(network, lambda: self.now) for _ in range(3)]
        descriptor = os.memfd_create("test")
        slots = share(descriptor, SLOTS)
        self.policy, _, self.console, self.bridge_says = share(descriptor, SLOTS)
        os.close(descriptor)
        self.arm_, self.state = SimArm(self.config, nodes[0]), ArmState(self.config, nodes[1])
        self.bridge = Bridge(self.config, LIMITS, nodes[2], slots, lambda: self.now)
        self.orders, self.closed = [], False
        self.pass_time(0.1)

    def pass_time(self, seconds):
        for step in range(round(seconds * 500)):
            self.now += 0.002
            if step % 5 == 0:
                self.bridge.step()
            self.arm_.step(self.now)

    def order(self, name, reason=""):
        self.orders.append(name)
        self.console.write(order=f"{name} {reason}".encode())
        self.pass_time(0.02)

    def arm(self, unguarded=False):
        self.order("arm")
        assert self.status().mode is Mode.ARMED, self.status().reason

    def disarm(self, reason):
        self.order("disarm", reason)

    def hold(self, reason):
        self.order("hold", reason)

    def send(self, action):
        self.policy.write(time_s=self.now, size=4, action=np.pad(action, (0, 12)))
        self.pass_time(0.05)
        return self.status().executed

    def observe(self):
        return RobotObservation(self.state.read(), self.status().setpoint, {}, 0.0)

    def status(self):
        record = self.bridge_says.read()[1]
        return BridgeStatus(Mode(int(record["mode"])), bytes(record["reason"]).decode(), 0, 0, False,
                            record["executed"][:4].copy(), record["setpoint"][:6].copy(), 0.0, 0.0, 0.0)  # fmt: skip

    def close(self):
        self.order("hold", "closed")
        self.arm_.close()
        self.closed = True


class Scene:
    """The arm stays where it is; nothing is ever done."""

    def reset(self, seed, options):
        return "insert"

    def estimate(self):
        return np.zeros(16, np.float32)

    def judge(self):
        return 1, 0.25, False

    def close(self): ...


@pytest.fixture
def robot(monkeypatch):
    """What the actor opens in place of a simulated world."""
    made = MemoryArm()

    def open_robot(config, folder, wrap):
        env = RobotEnv(made, Scene(), horizon=config.env.horizon, log=folder / "robot.jsonl")
        env._period = 0.0
        return env

    monkeypatch.setattr(actor, "open_world", open_robot)
    return made


def test_a_robots_rollouts_are_learned_from_and_nothing_is_evaluated_beside_them(robot, tmp_path):
    config = small_config(tmp_path, rollouts=3, horizon=5)
    school = replace(small_school(config, tmp_path), env=None)
    with learning(config, school, tmp_path / "run") as learner:
        assert actor.run_actor(config, learner.address, 0, "") >= 3
        summary = learner.wait()
    assert summary["rollouts"] == 3 and summary["curve"] == []
    assert robot.closed and robot.status().mode is Mode.HELD
    online = [entry for entry in TransitionStore(tmp_path / "run" / "store").episodes() if entry.actor == "online-0"]
    log = [json.loads(line) for line in (Path(config.run.dir) / "logs" / "robot.jsonl").read_text().splitlines()]
    assert [entry.header.seed for entry in online][:3] == [line["seed"] for line in log][:3]
    assert all(line["steps"] == 5 and not line["fault"] for line in log)


def test_without_its_learner_the_robot_plays_on_as_far_as_it_may_and_then_rests(robot, tmp_path, monkeypatch):
    monkeypatch.setattr("robo_reward.runtime.uplink.CALL_S", 0.5)
    config = small_config(tmp_path, patience_s=2.0, ahead=3, horizon=5)
    s = small_school(config, tmp_path)
    opened = open_learner(config, s.base, s.demonstrations, s.annotate, s.load_annotate, tmp_path / "run", print)
    with opened as learner, closing(RoleLog(tmp_path, "learner", "r")) as log:
        desk, said = Intake(config, learner, tmp_path / "run", s.files, log), []

        def once(records):
            if records.kinds:  # gone for good, with the first rollout under way
                server.close()
            return desk.send(records)

        server = Server("127.0.0.1:0", {**desk.methods, "Send": (Records, once)}, "", lambda words: None)
        wait_turn = actor.Uplink.wait_turn

        def waited(self, say):
            said.append(robot.status().mode)
            return wait_turn(self, say)

        monkeypatch.setattr(actor.Uplink, "wait_turn", waited)
        with pytest.raises(ValueError, match="has not answered for 2 s.*records wait in the spool"):
            actor.run_actor(config, server.address, 0, "")
    played = [line for line in (Path(config.run.dir) / "logs" / "robot.jsonl").read_text().splitlines()]
    assert len(played) == config.runtime.ahead and all(json.loads(line)["steps"] == 5 for line in played)
    assert said[1:] == [Mode.HELD] * config.runtime.ahead, "between two rollouts the arm rests"
    assert robot.closed and robot.status().mode is Mode.HELD


def welcome_of(config):
    return Welcome("ab", json.dumps(asdict(config)), "{}", 0, 0)


def test_a_robots_own_settings_win_and_need_a_learner_that_knows_of_robots(tmp_path):
    words = ["experiment=sim_arm", "runtime=async"]
    own = replace(Config(), robot={**load_config(words).robot, "domain": 7})
    assert actor._settings(own, welcome_of(load_config(words))).robot["domain"] == 7
    assert actor._settings(Config(), welcome_of(load_config(words))).robot == load_config(words).robot
    with pytest.raises(ValueError, match="give the learner the same robot="):
        actor._settings(own, welcome_of(load_config(["runtime=async"])))


@pytest.mark.parametrize(
    "settings, words",
    [
        (["runtime=ray", "experiment=sim_arm"], "robot= with runtime=ray: Ray would start an actor where no robot is"),
        (["runtime=async", "runtime.actors=2", "experiment=sim_arm"], "runtime.actors=2 with robot=: there is one arm"),
    ],
)
def test_what_no_robot_can_do_is_refused_before_anything_runs(settings, words):
    with pytest.raises(ValueError, match=words):
        load_config(settings)
    assert load_config(["runtime.actors=2", "experiment=sim_arm"], "learner").runtime.actors == 2
