"""Stack's stages and oracle: what they say of a good path, of failures and of a cube that is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robo_reward.envs.stack_progress import STACKED_HEIGHT, StackScene, oracle_of, stage_of

FAR = StackScene(sideways=0.15, height=0.15, gap=0.08, grasped=False, over_table=0.02, off=0.10, stacked=False)
NEAR = FAR._replace(sideways=0.01, height=0.05)
HELD = FAR._replace(sideways=0.003, height=0.0, gap=0.04, grasped=True)
OVER = HELD._replace(over_table=0.11, off=0.01)
STACKED = OVER._replace(over_table=STACKED_HEIGHT, gap=0.08, grasped=False, stacked=True)


def test_each_stage_is_reached_in_turn_and_the_oracle_lies_in_its_quarter():
    for stage, scene in enumerate([FAR, NEAR, HELD, OVER, STACKED]):
        assert stage_of(scene) == stage
        assert stage / 4 <= oracle_of(scene) <= min(1.0, (stage + 1) / 4)
    assert oracle_of(FAR) < 0.15 and oracle_of(STACKED) == 1.0


def test_the_oracle_rises_along_a_textbook_episode():
    reach = [FAR._replace(sideways=s, height=0.08) for s in np.linspace(0.20, 0.0, 20)]
    down = [NEAR._replace(height=h) for h in np.linspace(0.08, 0.0, 20)]
    close = [NEAR._replace(height=0.0, gap=g) for g in np.linspace(0.08, 0.041, 10)]
    lift = [HELD._replace(over_table=h) for h in np.linspace(0.02, 0.11, 12)]
    carry = [HELD._replace(over_table=0.11, off=d) for d in np.linspace(0.10, 0.0, 20)]
    lower = [OVER._replace(over_table=h, off=0.0) for h in np.linspace(0.11, STACKED_HEIGHT, 6)]
    progress = [oracle_of(scene) for scene in [*reach, *down, *close, *lift, *carry, *lower, STACKED]]
    assert np.all(np.diff(progress) >= -1e-9)
    assert np.diff(progress).max() < 0.15
    assert progress[-1] == 1.0


def test_a_lost_cube_loses_its_progress():
    dropped = HELD._replace(gap=0.08, grasped=False, height=0.09)
    beside = dropped._replace(off=0.05)
    carried = HELD._replace(over_table=0.11, off=0.05)
    assert min(oracle_of(carried) - oracle_of(lost) for lost in (dropped, beside)) > 0.3
    assert oracle_of(OVER) - oracle_of(OVER._replace(off=0.05)) > 0.02  # carried past the green cube


def test_a_cube_pushed_against_the_green_one_is_not_over_it():
    assert stage_of(HELD._replace(off=0.045)) == 2
    assert stage_of(HELD._replace(grasped=False, off=0.01, over_table=0.03)) == 1


metres = st.floats(-1.0, 1.0)
length = st.floats(0.0, 1.0)


@given(length, metres, st.floats(0.0, 0.08), st.booleans(), metres, length, st.booleans())
def test_the_oracle_is_defined_everywhere(sideways, height, gap, grasped, over_table, off, stacked):
    scene = StackScene(sideways, height, gap, grasped, over_table, off, stacked)
    assert stage_of(scene) / 4 <= oracle_of(scene) <= min(1.0, (stage_of(scene) + 1) / 4)
