"""Arbitration: nobody drives without a held, fresh, sound input, and no hand-over jumps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_reward.hil.arbitration import Arbiter, HumanInput

POLICY, HUMAN = np.full(2, 0.8, np.float32), np.full(2, -0.6, np.float32)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def drive(words, blend_steps=3):
    """Decisions for one word a step: p(olicy, released), h(eld), n(o device), s(tale), f(uture), b(ad), r(esume)."""
    clock, found = Clock(), []
    arbiter = Arbiter(2, stale_s=0.2, blend_steps=blend_steps, clock=clock)
    for word in words:
        clock.now += 0.05
        if word == "r":
            arbiter.resume()
        if word == "P":
            arbiter.pause()
        offset = {"s": -0.3, "f": 0.01}.get(word, 0.0)
        action = np.array([np.nan, 0]) if word == "b" else HUMAN
        human = None if word == "n" else HumanInput(action, word not in "prP", clock.now + offset)
        found.append(arbiter.decide(POLICY, human))
    return found


def sources(words):
    return "".join(decision.source[1] for decision in drive(words))  # o, u, a


def test_the_policy_drives_alone_bit_for_bit():
    for decision in drive("pnpn"):
        assert decision.source == "policy" and decision.human_action is None
        assert np.array_equal(decision.action, POLICY)


def test_a_person_drives_while_the_dead_man_is_held_and_no_longer():
    assert sources("phhhpp") == "ouuuoo"
    assert np.array_equal(drive("phhh")[-1].human_action, HUMAN)


def test_a_dead_man_that_was_never_seen_released_does_not_count():
    assert sources("hhph") == "ooou"


@pytest.mark.parametrize("lost", "sfbn")
def test_an_input_lost_while_driving_pauses_until_resumed_and_pressed_anew(lost):
    assert sources(f"ph{lost}hhp") == "ouaaaa"
    assert sources(f"ph{lost}rhhph") == "ouaouuou"  # the word r is a released input too
    assert np.array_equal(drive(f"ph{lost}")[-1].action, np.zeros(2))


def test_going_on_after_a_pause_at_the_console_begins_at_rest():
    """The loop does not run while it is paused, so the last decision before is a person's."""
    clock = Clock()
    arbiter = Arbiter(2, clock=clock)
    for held in (False, True, True, True, True):
        arbiter.decide(POLICY, HumanInput(HUMAN, held, clock.now))
    arbiter.pause()
    clock.now += 60
    arbiter.resume()
    assert arbiter.source == "pause"
    first = arbiter.decide(POLICY, HumanInput(HUMAN, False, clock.now))
    assert first.source == "policy" and np.allclose(first.action, POLICY / 3)


def test_a_stale_input_neither_takes_over_nor_counts_as_a_release():
    assert sources("pss") == "ooo"
    clock = Clock()
    arbiter = Arbiter(2, clock=clock)
    arbiter.decide(POLICY, HumanInput(HUMAN, False, clock.now - 1))
    assert arbiter.decide(POLICY, HumanInput(HUMAN, True, clock.now)).source == "policy"


def test_a_pause_stops_at_once_and_the_way_back_is_bumpless():
    assert [decision.action[0] for decision in drive("pPr")] == pytest.approx([0.8, 0.0, 0.8 / 3])


def test_a_policy_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        Arbiter(2).decide(np.array([0.0, np.nan]), None)


@given(words=st.text(alphabet="pphhhnsfbrP", max_size=40), blend_steps=st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_whatever_comes_the_action_is_sound_and_hand_overs_are_bumpless(words, blend_steps):
    last = None
    for word, decision in zip(words, drive(words, blend_steps), strict=True):
        assert np.abs(decision.action).max() <= 1
        assert (decision.human_action is not None) == (decision.source == "human")
        if decision.source == "human":
            assert word == "h"
        if decision.source == "pause":
            assert not decision.action.any()
        elif last is not None:
            wanted = HUMAN if decision.source == "human" else POLICY
            if decision.source != last.source:
                step = np.abs(decision.action - last.action).max()
                assert step <= np.abs(wanted - last.action).max() / blend_steps + 1e-6
        last = decision
