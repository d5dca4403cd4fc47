"""A person's session: episodes started, judged, dropped and done again; on a robot that only counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robo_reward.cli import main
from robo_reward.hardware.robot import RobotFault
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.teleop import Reading, Teleop, load_teleop
from robo_reward.runtime.teleoperate import Collector, heed
from robo_reward.types import UNKNOWN_STAGE

CONFIG, LIMITS = load_robot("sim_arm")


class World:
    """Robot, environment, clock and hand in one: a period passes with every step and every wait."""

    metadata = {"render_fps": 20}
    config, limits = CONFIG, LIMITS

    def __init__(self, script: dict[float, tuple], seconds: float = 30.0, success_at: int = 10**6) -> None:
        self.now, self.orders, self.seeds, self.kept = 0.0, [], [], []
        self.script, self.seconds, self.success_at, self.faults_at = script, seconds, success_at, -1
        self.reading: Reading | None = None

    # the clock and the hand
    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert self.now < self.seconds, "the session does not come to an end"
        self.now = round(self.now + seconds, 3)

    def read(self) -> Reading | None:
        """A line of the script is said once; then its axes and buttons go on being said, but `gone` ends that."""
        due = [at for at in self.script if at <= self.now]
        if due and (what := self.script.pop(due[0])):
            if what[0] == "gone":
                self.reading = None
                return None
            x, button, keys = what
            self.reading = Reading(np.array([0, x, 0, 0, 0, 0]), frozenset(button), self.now, False, keys)
            return self.reading
        if self.reading is not None:
            self.reading = replace(self.reading, time_s=self.now, keys="")
        return self.reading

    # the robot
    def clear(self) -> None:
        self.orders.append("clear")

    def arm(self, unguarded: bool = False) -> None: ...

    def hold(self, reason: str) -> None:
        self.orders.append("hold")

    def stop(self, reason: str) -> None:
        self.orders.append("stop")

    def close(self) -> None: ...

    # the environment
    def reset(self, *, seed: int):
        self.steps, self.x = 0, 0.0
        self.seeds.append(seed)
        return self._observation(), self._info()

    def step(self, action: np.ndarray):
        self.wait(0.05)
        self.steps += 1
        self.x += float(action[0])
        info = self._info() | {"executed_action": action.astype(np.float32)}
        if self.steps == self.faults_at:
            self.faults_at = -1
            return self._observation(), 0.0, False, True, info | {"fault": "camera front: black"}
        return self._observation(), 0.0, info["is_success"], self.steps >= 20, info

    def _observation(self):
        frame = np.full((8, 8, 3), self.steps, np.uint8)
        agent_pos = np.array([self.x] * 30, np.float32)
        return {"agent_pos": agent_pos, "estimate": np.zeros(0, np.float32), "pixels": {"front": frame}}

    def _info(self):
        success = self.steps >= self.success_at
        return {"stage": UNKNOWN_STAGE, "progress_oracle": None, "is_success": success, "instruction": "push"}


def session(world: World, wanted: int = 3) -> Collector:
    teleop = Teleop(load_teleop("joy"), world, world.config, LIMITS, world.clock)
    collector = Collector(world, world, teleop, world.kept.append, first_seed=40, wait=world.wait, clock=world.clock)
    collector.run(wanted)
    return collector


REST, PUSH = (0.0, ()), (1.0, (5,))
START = (*REST, "\n")


def test_success_failure_discard_and_once_more():
    world = World({
        0.0: START, 0.1: (*PUSH, ""), 0.4: (*REST, "y"),
        1.0: START, 1.1: (*PUSH, ""), 1.4: (*REST, "c"),
        2.0: START, 2.1: (*PUSH, ""), 2.4: (*REST, "b"),
        3.0: START, 3.1: (*PUSH, ""), 3.5: (*REST, "n"),
        4.0: (*REST, "x"),
    })  # fmt: skip
    collector = session(world)
    assert dict(collector.labels) == {"success": 1, "discard": 1, "re_record": 1, "failure": 1}
    assert world.seeds == [40, 41, 42, 42], "b brings the same scene again"
    won, lost = world.kept
    assert [won.episode_id, lost.episode_id] == ["human-00000", "human-00001"] and won.source == "human"
    assert (won.success, won.terminated, won.truncated) == (True, True, False)
    assert (lost.success, lost.terminated, lost.truncated) == (False, False, True)
    assert won.reward.sum() == won.reward[-1] == 1 and not lost.reward.any()
    assert won.intervention.sum() >= 5 and won.action[:, 0].max() == 1.0 and not won.action[0].any()
    assert len(won.frames["front"]) == len(won) + 1 and won.frames["front"][:, 0, 0, 0].tolist() == list(
        range(len(won) + 1)
    )
    assert won.oracle is None and set(won.stage) == {UNKNOWN_STAGE}, "nobody told"
    assert won.instruction == "push"


def test_an_episode_that_is_over_waits_for_its_label_and_holds():
    world = World({0.0: START, 3.0: (*REST, "y"), 4.0: START, 4.1: (*PUSH, ""), 5.5: (*REST, "n")})
    collector = session(world, wanted=2)
    assert [len(episode) for episode in world.kept] == [20, 20] and world.orders.count("hold") == 2
    assert collector.kept == 2
    assert world.kept[0].success and not world.kept[0].truncated, "the person's word counts, not the time that is up"


def test_the_task_may_see_the_success_first(capsys):
    world = World({0.0: START, 3.0: (*REST, "y")}, success_at=4)
    session(world, wanted=1)
    assert len(world.kept[0]) == 4 and "the task says success" in capsys.readouterr().out


def test_a_stop_stops_and_the_next_start_ends_it():
    world = World({0.0: START, 0.1: (*PUSH, ""), 0.4: (*PUSH, "y "), 1.0: START, 1.5: (*REST, "y")})
    collector = session(world, wanted=1)
    assert world.orders == ["clear", "stop", "clear", "hold"] and collector.labels["stop"] == 1
    assert len(world.kept) == 1 and world.seeds == [40, 40]


def test_a_robot_that_is_led_home_can_be_stopped_on_its_way():
    world = World({0.0: REST + ("",), 0.2: (*REST, " ")})
    teleop = Teleop(load_teleop("joy"), world, CONFIG, LIMITS, world.clock)
    heed(world, teleop)
    world.now = 0.3
    with pytest.raises(RobotFault, match="stopped on its way"):
        heed(world, teleop)
    assert world.orders == ["stop"]


def test_the_gripper_stays_as_it_was_asked_for_when_the_arm_is_let_go_of():
    world = World({0.0: START, 0.1: (*PUSH, "p"), 0.3: (*REST, ""), 0.6: (*PUSH, "o"), 0.9: (*REST, "y")})
    world.config = replace(CONFIG, gripper="gripper")
    session(world, wanted=1)
    grip = world.kept[0].action[:, 4]
    assert grip[0] == -1 and grip[5:11].tolist() == [1.0] * 6 and grip[-1] == -1


def test_a_fault_drops_the_episode_and_says_so(capsys):
    world = World({0.0: START, 1.0: START, 1.5: (*REST, "y")})
    world.faults_at = 5
    collector = session(world, wanted=1)
    assert collector.labels == {"fault": 1, "success": 1} and len(world.kept) == 1
    assert "not recorded: camera front: black" in capsys.readouterr().out


def test_an_arm_that_does_not_get_ready_ends_nothing(capsys):
    world = World({0.0: START, 1.0: START, 1.5: (*REST, "y")})
    original, problems = world.reset, [RobotFault("no state"), ValueError("not armed")]

    def reset(*, seed: int):
        if problems:
            raise problems.pop()
        return original(seed=seed)

    world.reset = reset  # type: ignore[method-assign]
    world.script[0.5] = START
    session(world, wanted=1)
    assert "not recorded: not armed" in capsys.readouterr().out and len(world.kept) == 1


def test_leaving_keeps_nothing_of_the_episode_under_way():
    world = World({0.0: START, 0.2: (*PUSH, ""), 0.5: (*REST, "x")})
    assert session(world).labels == {"leave": 1} and not world.kept


def test_a_lost_device_leaves_the_arm_standing_until_it_is_back_and_was_let_go():
    world = World({
        0.0: START, 0.1: (*PUSH, "p"), 0.3: ("gone",), 0.5: (*PUSH, ""), 0.6: (*REST, ""), 0.7: (*PUSH, ""),
        0.9: (*REST, "y"),
    })  # fmt: skip
    world.config = replace(CONFIG, gripper="gripper")
    session(world, wanted=1)
    assert world.kept[0].action[5:, 4].tolist() == [1.0] * (len(world.kept[0]) - 5), "what it holds it goes on holding"
    moves = np.flatnonzero(world.kept[0].action[:, 0] > 0) * 0.05
    gone = [at for at in moves if 0.3 < at < 0.65]
    assert not gone and any(at <= 0.3 for at in moves) and any(at >= 0.65 for at in moves)


@pytest.mark.parametrize(
    "words,line",
    [
        (["teleop=joy"], "teleop= needs robot="),
        (["teleop=joy", "robot=sim_arm"], "teleop= needs to="),
        (["teleop=joy", "robot=sim_arm", "to=x", "epsodes=2"], "unknown setting 'epsodes': did you mean 'episodes'?"),
        (["teleop=joy", "robot=sim_arm", "to=x", "episodes=0"], "episodes=0: must be >= 1"),
        (["teleop=joy", "robot=sim_arm", "to=x", "seconds=fast"], "seconds='fast': expected a number"),
        (["teleop=joy", "robot=sim_arm", "to=x", "quick"], "quick: settings are written name=value"),
        (["teleop=jy", "robot=sim_arm", "to=x"], "unknown teleop 'jy': did you mean 'joy'?"),
        (["teleop=keyboard", "robot=sim_arm", "to=x"], "run this command in a terminal"),
        (["teleop=joy", "robot=franka", "to=x"], "say what the robot is to do"),
        (["teleop=leader", "robot=sim_arm", "to=x"], "a leader arm drives joints"),
    ],
)
def test_a_mistake_ends_in_one_line_before_anything_opens(words, line, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))
    with pytest.raises(SystemExit) as end:
        main(["collect", *words])
    error = capsys.readouterr().err
    assert end.value.code == 2 and line in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
