"""`robo-reward collect robot= to=` with `teleop=` or `bag=`: a person's episodes, driven now or recorded before.

They are no stage that could be made again. The words are read without Hydra, like those of `robo-reward robot`.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import yaml

from robo_reward.data.lerobot_writer import DatasetWriter
from robo_reward.hardware.devices import open_device
from robo_reward.hardware.keyboard import keyboard
from robo_reward.hardware.robot import START_S, TOPIC_S, RobotFault, Ros2Robot
from robo_reward.hardware.robot_config import RobotConfig, load_robot
from robo_reward.hardware.robot_env import RobotEnv, start_sim_arm
from robo_reward.hardware.tasks import OperatorTask, SimArmTask, Task
from robo_reward.hardware.teleop import Teleop, check_teleop
from robo_reward.runtime.tasks import TASKS
from robo_reward.runtime.teleoperate import Collector, heed
from robo_reward.safety.limits import Limits
from robo_reward.settings import build, number
from robo_reward.terminal import say

TEXTS = ("robot", "teleop", "bag", "to", "instruction")
"""Settings that are taken as they are written."""


@dataclass(frozen=True)
class HandConfig:
    """What `collect` takes with `teleop=` or `bag=`."""

    robot: str = ""
    teleop: str = ""
    """A name in conf/teleop, a file ending in .yaml, or a recording ending in .jsonl."""
    bag: str = ""
    """An MCAP file, a folder of `ros2 bag record`, or a folder of them: an episode each."""
    to: str = ""
    """The LeRobotDataset; one that is there is gone on with."""
    instruction: str = ""
    """What the robot is to do, in place of its file's; the simulated arm says so itself."""
    episodes: int = number(20, low=1)
    """Kept ones, those that are there already included."""
    seconds: float = number(60.0, above=0, high=3600)
    """[s] after which an episode is over"""
    seed: int = number(0, low=0)
    """Of the simulated arm's scenes."""
    domain: int | None = number(None, low=0, high=101)
    """In place of the robot file's."""
    unguarded: bool = False
    """Whether a controller without a command time-out may be driven."""
    success: bool = True
    """Whether the bags hold successes."""
    image_size: int | None = number(None, low=16, high=1024)
    """[px] the bags' pictures are cut square and shrunk to it; null: as they are"""


def main(words: list[str]) -> None:
    """The words after `robo-reward collect`. ValueError in one line on a mistake."""
    settings = read_settings(words)
    config, limits = load_robot(settings.robot)
    if settings.domain is not None:
        config = replace(config, domain=settings.domain)
    try:
        (import_bags if settings.bag else collect)(settings, config, limits)
    except RobotFault as error:
        raise ValueError(str(error)) from None


def read_settings(words: list[str]) -> HandConfig:
    """The words as settings, or ValueError saying which one is wrong or missing."""
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word}: settings are written name=value")
        try:
            values[name] = value if name in TEXTS else yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(f"{word}: cannot be read; settings are written name=value") from None
    settings = build(HandConfig, values)
    if bool(settings.bag) == bool(settings.teleop):
        raise ValueError("give one of them, teleop=NAME to drive or bag=PATH to read recordings")
    for name, example in {"robot": "robot=sim_arm", "to": "to=FOLDER"}.items():
        if not getattr(settings, name):
            raise ValueError(f"{'bag' if settings.bag else 'teleop'}= needs {name}=, such as {example}")
    return settings


def collect(settings: HandConfig, config: RobotConfig, limits: Limits) -> None:
    """Connect, record, and leave the arm holding."""
    if not config.simulated:
        config = replace(config, ask=False, instruction=_instruction(settings, config))  # the person has keys for that
    with ExitStack() as stack:
        keys = stack.enter_context(keyboard(urgent=" ")) if sys.stdin.isatty() else None
        teleop, device = open_device(settings.teleop, keys, config)
        stack.enter_context(closing(device))
        check_teleop(teleop, config)
        stages = TASKS["robo_reward/PegInsert-v0"].stages if config.simulated else ()
        writer = stack.enter_context(_writer(settings, config, stages))
        kept = len(writer.episode_ids)
        if kept >= settings.episodes:
            raise ValueError(f"{settings.to} has {kept} episodes already: for more of them set episodes= higher")
        if config.simulated:
            stack.callback(start_sim_arm(config))
        robot, person = Ros2Robot(config, limits), Teleop(teleop, device, config, limits)
        stack.callback(robot.close)
        robot.connect(timeout_s=START_S if config.simulated else TOPIC_S)  # one that was just started takes a while
        task: Task = (
            SimArmTask(config)
            if config.simulated
            else OperatorTask(robot, settings.unguarded, key=lambda seconds: "", heed=partial(heed, robot, person))
        )
        env = RobotEnv(robot, task, round(settings.seconds * RobotEnv.metadata["render_fps"]), settings.unguarded)
        stack.callback(env.close)
        collector = Collector(env, robot, person, writer.append, first_seed=settings.seed, kept=kept)
        collector.run(settings.episodes)
    told = ", ".join(f"{count} {label.replace('_', '-')}" for label, count in collector.labels.items())
    say(f"{collector.kept} episodes in {settings.to} ({told or 'none new'})")


def import_bags(settings: HandConfig, config: RobotConfig, limits: Limits) -> None:
    """Every bag an episode; those that are in the dataset already are passed over."""
    from robo_reward.hardware.bags import Import, find_bags, read_bag

    instruction = _instruction(settings, config)
    bags = find_bags(Path(settings.bag))
    told = Import(instruction, settings.success, RobotEnv.metadata["render_fps"], settings.image_size)
    with _writer(settings, config) as writer:
        for bag in bags:
            if bag.stem in writer.episode_ids:
                say(f"{bag.name}: in {settings.to} already")
                continue
            episode, cut = read_bag(bag, config, limits, told)
            writer.append(episode)
            say(f"{bag.name}: {len(episode)} steps, {cut:.0%} with an action cut to the limits' step")
        say(f"{len(writer.episode_ids)} episodes in {settings.to}")


def _writer(settings: HandConfig, config: RobotConfig, stages: tuple[str, ...] = ()) -> DatasetWriter:
    return DatasetWriter(
        settings.to, fps=RobotEnv.metadata["render_fps"], robot_type=Path(settings.robot).stem, task_stages=stages,
        resume=True, close_every=1, videos=bool(config.cameras), fidelity="compact",
    )  # fmt: skip


def _instruction(settings: HandConfig, config: RobotConfig) -> str:
    if not (settings.instruction or config.instruction):
        raise ValueError('say what the robot is to do, in words: instruction="put the peg into the socket"')
    return settings.instruction or config.instruction
