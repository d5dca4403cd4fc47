"""A loop in real time, by a clock of the test."""

import pytest

from robo_reward.hardware.pace import BEHIND_S, WATCH_S, Pace


def run(work_s, turns, hz=500.0):
    """Turns that take so long each; returns how long they took."""
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    pace = Pace(hz, "the arm", lambda: now[0], sleep)
    for turn in range(turns):
        now[0] += work_s(turn)
        pace.wait()
    return now[0]


def test_turns_come_at_the_rate_and_a_short_delay_is_made_up_for(capsys):
    assert run(lambda turn: 0.001, 1000) == pytest.approx(2.0)
    assert run(lambda turn: BEHIND_S if turn == 10 else 0.001, 1000) == pytest.approx(2.0)
    assert run(lambda turn: 0.5 if turn == 10 else 0.001, 1000) == pytest.approx(2.5, abs=0.01)  # lost
    assert capsys.readouterr().err == ""


def test_a_computer_that_is_too_busy_is_told_once(capsys):
    run(lambda turn: 0.004, int(5 * WATCH_S / 0.004))
    assert capsys.readouterr().err == (
        "the arm runs at 50% of real time: this computer is too busy, and what is measured on it counts for little\n"
    )
