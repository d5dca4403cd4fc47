"""PickPlaceCan's stages and oracle: what they say of a good path, of failures and of a can that is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robo_reward.envs.can_progress import LET_GO, PLACED_HEIGHT, CanScene, oracle_of, stage_of

FAR = CanScene(sideways=0.20, height=0.15, gap=0.08, grasped=False, can_height=0.04, away=0.60, placed=False)
NEAR = FAR._replace(sideways=0.01, height=0.07)
HELD = FAR._replace(sideways=0.005, height=0.015, gap=0.05, grasped=True)
OVER = HELD._replace(can_height=0.15, away=0.0)
PLACED = OVER._replace(height=0.05, gap=0.08, grasped=False, can_height=0.04, placed=True)


def test_each_stage_is_reached_in_turn_and_the_oracle_lies_in_its_quarter():
    for stage, scene in enumerate([FAR, NEAR, HELD, OVER, PLACED]):
        assert stage_of(scene) == stage
        assert stage / 4 <= oracle_of(scene) <= min(1.0, (stage + 1) / 4)
    assert oracle_of(FAR) < 0.15 and oracle_of(PLACED) == 1.0


def test_the_oracle_rises_along_a_textbook_episode():
    reach = [FAR._replace(sideways=s, height=0.10) for s in np.linspace(0.30, 0.0, 30)]
    down = [NEAR._replace(height=h) for h in np.linspace(0.10, 0.015, 20)]
    close = [NEAR._replace(height=0.015, gap=g) for g in np.linspace(0.08, 0.051, 10)]
    lift = [HELD._replace(can_height=h) for h in np.linspace(0.04, 0.15, 12)]
    carry = [HELD._replace(can_height=0.15, away=d) for d in np.linspace(0.60, 0.0, 60)]
    lower = [OVER._replace(can_height=h) for h in np.linspace(0.15, 0.10, 6)]
    let_go = [OVER._replace(can_height=h, height=0.11 - h, grasped=False) for h in np.linspace(0.09, PLACED_HEIGHT, 3)]
    progress = [oracle_of(scene) for scene in [*reach, *down, *close, *lift, *carry, *lower, *let_go, PLACED]]
    assert np.all(np.diff(progress) >= -1e-9)
    assert np.diff(progress).max() < 0.15
    assert progress[-1] == 1.0


def test_a_lost_can_loses_its_progress():
    carried = HELD._replace(can_height=0.15, away=0.10)
    dropped = carried._replace(gap=0.08, grasped=False, can_height=0.04, height=0.12)
    wrong_bin = dropped._replace(away=0.06)
    assert min(oracle_of(carried) - oracle_of(lost) for lost in (dropped, wrong_bin)) > 0.3
    assert oracle_of(OVER) - oracle_of(OVER._replace(away=0.05)) > 0.01  # carried past its bin
    assert oracle_of(NEAR) - oracle_of(NEAR._replace(sideways=0.10)) > 0.05  # knocked away


def test_a_can_kept_in_the_hand_is_not_placed():
    kept = OVER._replace(can_height=0.05)
    assert stage_of(kept) == 3
    assert oracle_of(kept) < oracle_of(kept._replace(height=LET_GO - 0.01, grasped=False)) < 1.0


def test_a_can_on_the_ground_under_its_bin_is_not_over_it():
    assert stage_of(OVER._replace(grasped=False, can_height=-0.8, height=0.9)) == 0


def test_closing_beside_the_can_is_no_grasp():
    beside = NEAR._replace(sideways=0.035, height=0.0, gap=0.001)
    assert stage_of(beside) == 1
    assert oracle_of(beside) < oracle_of(NEAR._replace(height=0.0, gap=0.05))


metres = st.floats(-1.0, 1.0)
length = st.floats(0.0, 1.0)


@given(length, metres, st.floats(0.0, 0.08), st.booleans(), metres, length, st.booleans())
def test_the_oracle_is_defined_everywhere(sideways, height, gap, grasped, can_height, away, placed):
    scene = CanScene(sideways, height, gap, grasped, can_height, away, placed)
    assert stage_of(scene) / 4 <= oracle_of(scene) <= min(1.0, (stage_of(scene) + 1) / 4)
