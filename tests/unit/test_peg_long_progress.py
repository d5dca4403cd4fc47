"""PegInsertLong's stages and oracle: what they say of a good path, of failures and of a peg that is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robo_reward.envs.peg_long_progress import CLOSED, OPEN, PegScene, oracle_of, stage_of

FAR = PegScene(sideways=0.2, height=0.15, opening=OPEN, grasped=False, upright=True, off=0.15, over=-0.04)
NEAR = FAR._replace(sideways=0.01, height=0.04)
HELD = FAR._replace(sideways=0.002, height=0.01, opening=CLOSED, grasped=True)
MOUTH = HELD._replace(off=0.003, over=0.0)
INSERTED = HELD._replace(off=0.001, over=-0.021)


def test_each_stage_is_reached_in_turn_and_the_oracle_lies_in_its_quarter():
    for stage, scene in enumerate([FAR, NEAR, HELD, MOUTH, INSERTED]):
        assert stage_of(scene) == stage
        assert stage / 4 <= oracle_of(scene) <= min(1.0, (stage + 1) / 4)
    assert oracle_of(FAR) < 0.15 and oracle_of(INSERTED) == 1.0


def test_the_oracle_rises_along_a_textbook_episode():
    reach = [FAR._replace(sideways=s, height=0.06) for s in np.linspace(0.30, 0.0, 30)]
    down = [NEAR._replace(sideways=0.0, height=h) for h in np.linspace(0.06, 0.01, 12)]
    close = [HELD._replace(grasped=False, opening=o) for o in np.linspace(OPEN, CLOSED, 6)]
    lift = [HELD._replace(over=h) for h in np.linspace(-0.04, 0.02, 20)]
    carry = [HELD._replace(over=0.02, off=d) for d in np.linspace(0.15, 0.005, 60)]
    lower = [HELD._replace(over=h, off=0.005) for h in np.linspace(0.02, 0.0, 10)]
    search = [MOUTH._replace(off=d) for d in np.linspace(0.005, 0.002, 5)]
    insert = [INSERTED._replace(over=h) for h in np.linspace(-0.002, -0.02, 10)]
    progress = [oracle_of(s) for s in [*reach, *down, *close, *lift, *carry, *lower, *search, *insert]]
    assert np.all(np.diff(progress) >= -1e-9)
    assert np.diff(progress).max() < 0.12
    assert progress[-1] == 1.0


def test_a_lost_peg_loses_its_progress():
    carried = HELD._replace(over=0.02, off=0.05)
    dropped = carried._replace(opening=OPEN, grasped=False, over=-0.04, height=0.06)
    fallen = dropped._replace(upright=False)
    assert oracle_of(carried) - oracle_of(dropped) > 0.2
    assert stage_of(fallen) == 0 and oracle_of(carried) - oracle_of(fallen) > 0.4
    assert oracle_of(MOUTH) - oracle_of(MOUTH._replace(off=0.02)) > 0.05
    assert oracle_of(INSERTED._replace(over=-0.015)) > oracle_of(INSERTED._replace(over=-0.005))


def test_fingers_that_close_over_the_peg_or_beside_it_hold_nothing():
    assert stage_of(HELD._replace(height=0.026)) == 1
    assert stage_of(HELD._replace(grasped=False, sideways=0.015)) == 1


def test_a_peg_that_falls_into_the_hole_is_inserted_held_or_not():
    assert stage_of(INSERTED._replace(grasped=False, height=0.1, sideways=0.2)) == 4


metres = st.floats(-1.0, 1.0)
length = st.floats(0.0, 1.0)


@given(length, metres, st.floats(0.0, 0.04), st.booleans(), st.booleans(), length, metres)
def test_the_oracle_is_defined_everywhere(sideways, height, opening, grasped, upright, off, over):
    scene = PegScene(sideways, height, opening, grasped, upright, off, over)
    assert stage_of(scene) / 4 <= oracle_of(scene) <= min(1.0, (stage_of(scene) + 1) / 4)
