"""`hil=device`: what a hand says at a gamepad moves the arm of a live session and judges its episodes."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

pytest.importorskip("aiohttp")

from robo_reward.config import Config, HilConfig
from robo_reward.console import device
from robo_reward.console.session import Session
from robo_reward.data.store import TransitionStore
from robo_reward.hardware.teleop import load_teleop
from robo_reward.testing.hand import Hand

CONFIG = Config(hil=HilConfig(kind="device"))
PAD = replace(load_teleop("gamepad"), stale_s=20.0)
REST, UP = (0.0,) * 6, (0.0, 0.0, 0.0, 0.0, -1.0, 0.0)
START, SUCCESS, HOLD, STOP, UNDO, PARTIAL = (PAD.buttons["start"],), (0,), (PAD.dead_man,), (8,), (10,), (9,)


class World(gymnasium.Env):
    """Goes on for ever."""

    action_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)

    def reset(self, *, seed=None, options=None):
        rows, _, _, _, info = self.step(np.zeros(4, np.float32))
        return rows, info

    def step(self, action):
        rows = {"agent_pos": np.zeros(1, np.float32), "estimate": np.zeros(1, np.float32)}
        info = {"instruction": "go", "stage": 0, "progress_oracle": 0.5, "is_success": False, "executed_action": action}
        return rows, 0.0, False, False, info

    def render_views(self):
        return {"front": np.zeros((8, 8, 3), np.uint8)}


class Still:
    base_id = "still"

    def __call__(self, agent_pos, estimate):
        return np.zeros(4, np.float32), np.zeros(4, np.float32)

    def flush(self):
        pass


@contextmanager
def held(folder, monkeypatch):
    """(session, hand) with the loop in a thread."""
    hand = Hand(time.monotonic)
    hand.say(*REST)
    monkeypatch.setattr(device, "open_device", lambda *arguments: (PAD, hand))
    session = Session(World(), Still, folder, fps=50, first_seed=0)
    thread = threading.Thread(target=session.run)
    thread.start()
    try:
        with device.driving(CONFIG, session):
            yield session, hand
    finally:
        session.stop()
        thread.join()
    assert hand.closed


def until(session, condition):
    deadline = time.monotonic() + 60  # bounds a failure
    while not condition(session.view.state):
        assert time.monotonic() < deadline, session.view.state
        time.sleep(0.002)


def press(session, hand, buttons, state):
    """Press and let go, and wait for what it leads to."""
    hand.say(*REST, buttons=buttons)
    until(session, lambda seen: seen.get("state") == state)
    hand.say(*REST)
    time.sleep(5 * device.POLL_S)  # the release was seen


def test_a_hand_drives_judges_is_missed_and_stops(tmp_path, monkeypatch):
    with held(tmp_path, monkeypatch) as (session, hand):
        until(session, lambda seen: seen.get("state") == "idle")
        press(session, hand, START, "armed")
        press(session, hand, START, "running")
        until(session, lambda seen: len(seen["oracle"]) > 2)  # a hand that let go was seen
        hand.say(*UP, buttons=HOLD)
        until(session, lambda seen: seen["sources"].endswith("hhhhh"))
        press(session, hand, (), "running")
        hand.say(*UP, buttons=HOLD)
        until(session, lambda seen: seen["state"] == "taken_over")
        hand.reading = None  # pulled out while it drives
        until(session, lambda seen: seen["state"] == "paused")
        hand.say(*REST)
        press(session, hand, START, "running")
        press(session, hand, SUCCESS, "armed")
        press(session, hand, UNDO, "judging")
        press(session, hand, PARTIAL, "armed")
        press(session, hand, STOP, "e_stopped")
        press(session, hand, START, "idle")
    assert session.protocol.labels == ["partial"]
    [episode] = TransitionStore(tmp_path / "store").read_all()
    driven = episode.human_action[episode.intervention]
    assert driven[:, 2].max() == pytest.approx(1.0) and not driven[:, [0, 1, 3]].any()


def test_keys_beside_the_device_end_the_session(tmp_path, monkeypatch):
    with held(tmp_path, monkeypatch) as (session, hand):
        until(session, lambda seen: "state" in seen)
        hand.say(*REST, keys="x")
        deadline = time.monotonic() + 60
        while not session._stopped:
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.mark.parametrize(
    ("name", "words"),
    [("joystick", "joystick"), ("joy", "say which, robot=NAME"), ("gone.jsonl", "not a recording of a device")],
)
def test_a_device_that_is_not_there_is_named_before_anything_is_computed(name, words):
    with pytest.raises(ValueError, match=f"hil.device={name}: .*{words}"):
        device.check_device(replace(CONFIG, hil=HilConfig(kind="device", device=name)))
