"""Recordings of a device: played as they were, and refused in one line where they are damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robo_reward.hardware.device_stream import Played, Recorder, read_stream
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.teleop import Teleop, load_teleop
from robo_reward.testing.hand import Clock, Hand

ROBOT, LIMITS = load_robot("sim_arm")
STREAMS = Path(__file__).parents[1] / "data" / "teleop"
NONE = np.zeros(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def asked(device: Teleop):
    return device.read(NONE, NONE)


def test_a_recording_plays_as_it_was(tmp_path, clock):
    hand, config = Hand(clock), load_teleop("joy")
    recorder = Recorder(hand, config, tmp_path / "hand.jsonl", clock)
    live, said = Teleop(config, recorder, ROBOT, LIMITS, clock), []
    for step in range(12):
        if step < 6:  # then it falls silent
            hand.say(0, step / 6, 0, 0, 0, 0, buttons=(5,), keys="y" if step == 3 else "")
        elif hand.reading:
            hand.reading = replace(hand.reading, keys="")
        said.append((asked(live), live.events()))
        clock.now += 0.05
    live.close()
    assert hand.closed and not said[-1][0].held and said[5][0].held
    config, lines = read_stream(tmp_path / "hand.jsonl")
    again = Teleop(config, Played(lines, clock), ROBOT, LIMITS, clock)
    for human, events in said:
        same = asked(again)
        assert same.held == human.held and same.action == pytest.approx(human.action, abs=1e-4)
        assert set(again.events()) == set(events)
        clock.now += 0.05
    for _ in range(10):
        clock.now += 0.05
        assert not asked(again).held, "behind its end it is silent"


def test_a_recording_waits_while_nobody_reads_it(tmp_path, clock):
    path = tmp_path / "hand.jsonl"
    path.write_text('{"device": "twist", "source": "t"}\n{"t": 0, "axes": [1,0,0,0,0,0]}\n{"t": 1.0, "axes": []}\n')
    played = Played(read_stream(path)[1], clock)
    assert played.read() is not None
    clock.now += 60.0
    newest = played.read()
    assert newest is not None and newest.axes[0] == 1.0 and clock.now - newest.time_s == pytest.approx(0.1)


@pytest.mark.parametrize("name", sorted(path.name for path in STREAMS.glob("*.jsonl")))
def test_the_recordings_of_these_tests_can_be_read(name):
    config, lines = read_stream(STREAMS / name)
    assert len(lines) > 10 and config.device


@pytest.mark.parametrize(
    "text,words",
    [
        ("", "holds no readings"),
        ("{}\n", "holds no readings"),
        ("nonsense\n", "line 1 is none of a device's recording"),
        ('{"devise": "joy"}\n', "line 1.*did you mean 'device'"),
        ('{}\n{"t": 0}\n', "line 2.*'axes'"),
        ('{}\n{"t": 0, "axes": [[1]]}\n', "line 2.*axes must be a list"),
        ('{}\n{"t": 1, "axes": [1]}\n{"t": 0, "axes": [1]}\n', "line 3.*must not go back"),
        ('{}\n{"t": 0, "axes": [1', "line 2"),
    ],
)
def test_a_damaged_recording_is_told_in_one_line(tmp_path, text, words):
    path = tmp_path / "hand.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_stream(path)
    assert "\n" not in str(error.value)


def test_a_recording_is_not_written_over(tmp_path, clock):
    (tmp_path / "hand.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="is there already"):
        Recorder(Hand(clock), load_teleop("joy"), tmp_path / "hand.jsonl")
