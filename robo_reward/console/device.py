"""`hil=device`: a gamepad, a SpaceMouse or the terminal's keys drive in a browser's place, which shows and judges."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager

import numpy as np

from robo_reward.config import Config
from robo_reward.console.session import Session
from robo_reward.hardware.devices import open_device
from robo_reward.hardware.keyboard import keyboard
from robo_reward.hardware.robot_config import RobotConfig, make_robot
from robo_reward.hardware.teleop import Teleop
from robo_reward.safety.limits import load_limits
from robo_reward.terminal import say

POLL_S = 0.01
GO_ON = ("clear", "arm", "start", "resume", "pause")
"""What the device's start asks for: the first of these that is possible."""
AXES = (0, 1, 2, 5)
"""Those that a simulated arm's actions drive, of x, y, z and the turns about them."""
_NOTHING = np.zeros(0, np.float32)


def check_device(config: Config) -> None:
    """ValueError when there is no such device, or none for this arm; before anything is computed for it."""
    with _opened(config, 4):
        pass


@contextmanager
def driving(config: Config, session: Session) -> Iterator[None]:
    """The device of `hil.device` at the session's mailbox, and its buttons and keys among the session's events."""
    with _opened(config, session.action_size) as hand:
        session.stale_s = hand.config.stale_s
        ended = threading.Event()
        thread = threading.Thread(target=_follow, args=(hand, session, ended), name="device", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@contextmanager
def _opened(config: Config, actions: int) -> Iterator[Teleop]:
    if config.robot:
        robot, limits = make_robot(config.robot)
    else:
        gripper = "gripper" if actions > len(AXES) else ""
        robot, limits = RobotConfig(limits="sim_arm", joints=(), axes=AXES, gripper=gripper), load_limits("sim_arm")
    with ExitStack() as stack:
        keys = stack.enter_context(keyboard(urgent=" ")) if sys.stdin.isatty() else None
        try:
            teleop, device = open_device(config.hil.device, keys, robot if config.robot else None)
            stack.enter_context(closing(device))
            hand = Teleop(teleop, device, robot, limits, grip=0.0)  # a simulated gripper keeps what it holds
        except ValueError as error:
            raise ValueError(f"hil.device={config.hil.device}: {error}") from None
        yield hand


def _follow(hand: Teleop, session: Session, ended: threading.Event) -> None:
    """Hand on what the device says, until the end."""
    number = 0
    while not ended.wait(POLL_S):
        number += 1
        session.operator.put(hand.read(_NOTHING, _NOTHING), number)
        for event in hand.events():
            if event == "leave":
                session.stop()
            elif event == "stop":
                session.post("e_stop").add_done_callback(_told)
            elif event == "start":
                possible = [event for event in GO_ON if event in session.view.state.get("possible", ())]
                if possible:
                    session.post(possible[0]).add_done_callback(_told)
            elif event not in ("open", "close"):
                session.post(event).add_done_callback(_told)


def _told(reply: Future[str]) -> None:
    if not reply.cancelled() and (error := reply.exception()) is not None:
        say(f"refused: {error}")
