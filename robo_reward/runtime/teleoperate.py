"""Episodes that a person drives on a robot: started, judged, thrown away or done again by keys and buttons."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robo_reward.evaluation.rollout import EpisodeRecorder
from robo_reward.hardware.robot import RobotFault, Ros2Robot
from robo_reward.hardware.robot_env import RobotEnv
from robo_reward.hardware.teleop import Teleop
from robo_reward.hil.arbitration import Arbiter
from robo_reward.hil.corrected import CorrectedActor
from robo_reward.terminal import say
from robo_reward.types import Episode

JUDGED = ("success", "failure", "discard", "re_record")
ASKED = "y success, n failure, c discard, b once more"


class StandStill:
    """The policy of a robot that only its person drives."""

    base_id = "none"

    def __init__(self, teleop: Teleop) -> None:
        self._teleop = teleop

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, None]:
        return self._teleop.rest, None

    def watch(self, info: Mapping[str, Any]) -> None:
        """It looks at nothing."""

    def flush(self) -> None:
        """It plans nothing."""


def heed(robot: Ros2Robot, teleop: Teleop) -> None:
    """To be called while a program leads the robot, such as home: its person's stop ends that, as RobotFault."""
    if "stop" in teleop.events():
        robot.stop("the person")
        raise RobotFault("stopped on its way")


@dataclass(frozen=True)
class Driven:
    """How an episode came to its end."""

    episode: Episode | None
    """None where there is nothing to keep."""
    event: str
    """One of `JUDGED`; or leave, stop or fault, with which there is no episode."""


class Collector:
    """A person's session at a robot.

    Arguments:
        env: over a connected robot.
        robot: the one in `env`.
        teleop: the person's device.
        keep: takes an episode that was judged a success or a failure; on return it is safe.
        first_seed: of the first scene; the next has the next one.
        kept: episodes that are there already.
        wait: sleeps so many seconds.
        clock: monotonic seconds, the device's.
    """

    def __init__(
        self,
        env: RobotEnv,
        robot: Ros2Robot,
        teleop: Teleop,
        keep: Callable[[Episode], None],
        *,
        first_seed: int,
        kept: int = 0,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._env, self._robot, self._teleop, self._keep = env, robot, teleop, keep
        self._first_seed = first_seed + kept
        self._wait, self._clock, self.kept = wait, clock, kept
        self.labels: Counter[str] = Counter()
        """How the episodes ended: `JUDGED`, fault, stop or leave."""
        self._period = 1 / env.metadata["render_fps"]

    def run(self, wanted: int) -> None:
        """Record until there are so many episodes or the person leaves."""
        while self.kept < wanted:
            say(f"episode {self.kept + 1} of {wanted}: Enter starts, x leaves")
            if self._await(("start", "leave")) == "leave":
                return
            try:
                self._robot.clear()
                driven = self._drive()
            except (RobotFault, ValueError) as error:
                say(f"not recorded: {error}")
                driven = Driven(None, "fault")
            self.labels[driven.event] += 1
            if driven.event == "leave":
                return
            if driven.event == "stop":
                self._robot.stop("the person")
                say("stopped; Enter ends the stop and starts anew")
            elif driven.event in JUDGED:
                if driven.episode is not None and driven.event in ("success", "failure"):
                    self._keep(driven.episode)
                    self.kept += 1
                say(f"{driven.event.replace('_', '-')}, {self.kept} kept")

    def _drive(self) -> Driven:
        """One episode, from its reset to its label."""
        seed = self._first_seed + sum(self.labels[label] for label in ("success", "failure", "discard"))
        observation, info = self._env.reset(seed=seed)
        say(f"driving: {info['instruction']}. {ASKED}; space stops")
        arbiter = Arbiter(self._robot.config.actions, stale_s=self._teleop.config.stale_s, clock=self._clock)
        actor = CorrectedActor(StandStill(self._teleop), self._teleop, arbiter)
        recorder = EpisodeRecorder(actor, seed, "human", observation, info, observation.get("pixels"))
        event, axes = "", len(self._robot.config.axes)
        while not event and not recorder.ended:
            # The arbiter blends, and on a lost device zeroes, what is a motion; a gripper must not open by that.
            action = np.concatenate([recorder.action()[:axes], self._teleop.rest[axes:]])
            if arbiter.paused:
                self._mind_the_device(arbiter, observation)
            observation, reward, terminated, truncated, info = self._env.step(action)
            if "fault" in info:
                raise RobotFault(info["fault"])
            recorder.append(observation, reward, terminated, truncated, info, observation.get("pixels"))
            event = self._heard((*JUDGED, "leave", "stop"))
        if event not in ("leave", "stop"):
            self._robot.hold("the episode is over")
        if not event:
            say(f"over{', the task says success' if info['is_success'] else ''}: {ASKED}")
            event = self._await((*JUDGED, "leave", "stop"))
        if event not in JUDGED:
            return Driven(None, event)
        if not recorder.ended:
            recorder.cut(observation.get("pixels"))
        return Driven(self._judged(recorder.episode(), event == "success"), event)

    def _judged(self, episode: Episode, success: bool) -> Episode:
        """The episode as the person saw it end: a success terminates, a failure is one that took too long."""
        reward = np.zeros(len(episode), np.float32)
        reward[-1] = success
        return replace(
            episode, episode_id=f"human-{self.kept:05d}", reward=reward, success=success, terminated=success,
            truncated=not success,
        ).validate()  # fmt: skip

    def _mind_the_device(self, arbiter: Arbiter, observation: dict[str, Any]) -> None:
        """After a device was lost the arm stands still; it goes on once the device is back and was let go of."""
        human = self._teleop.read(observation["agent_pos"], observation["estimate"])
        if not human.held and self._clock() - human.time_s <= self._teleop.config.stale_s:
            arbiter.resume()

    def _await(self, wanted: tuple[str, ...]) -> str:
        while not (event := self._heard(wanted)):
            self._wait(self._period)
        return event

    def _heard(self, wanted: tuple[str, ...]) -> str:
        """The last of the wanted events since the last call, but a stop before all others."""
        heard = [event for event in self._teleop.events() if event in wanted]
        return "stop" if "stop" in heard else (heard or [""])[-1]
