"""Door's stages and oracle: what they say of a good path, of failures and of a lever that springs back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robo_reward.envs.door_progress import OPENED, UNLATCHED, DoorScene, oracle_of, stage_of

FAR = DoorScene(sideways=0.25, height=-0.06, gap=0.08, latch=0.0, hinge=0.0)
OVER = FAR._replace(sideways=0.01, height=0.09)
AROUND = OVER._replace(height=0.0)
FREE = AROUND._replace(height=-0.09, latch=1.3)
OPEN = FREE._replace(hinge=0.31)


def test_each_stage_is_reached_in_turn_and_the_oracle_lies_in_its_quarter():
    for stage, scene in enumerate([FAR, OVER, AROUND, FREE, OPEN]):
        assert stage_of(scene) == stage
        assert stage / 4 <= oracle_of(scene) <= min(1.0, (stage + 1) / 4)
    assert oracle_of(FAR) < 0.2 and oracle_of(OPEN) == 1.0


def test_the_oracle_rises_along_a_textbook_episode():
    reach = [FAR._replace(sideways=s, height=0.09) for s in np.linspace(0.35, 0.01, 30)]
    rise = [FAR._replace(sideways=0.35, height=h) for h in np.linspace(-0.06, 0.09, 12)]
    down = [OVER._replace(height=h) for h in np.linspace(0.09, 0.0, 12)]
    press = [AROUND._replace(height=-0.06 * a, latch=a) for a in np.linspace(0.0, 1.3, 20)]
    pull = [FREE._replace(hinge=a) for a in np.linspace(0.0, 0.31, 20)]
    progress = [oracle_of(scene) for scene in [*rise, *reach, *down, *press, *pull]]
    assert np.all(np.diff(progress) >= -1e-9)
    assert np.diff(progress).max() < 0.12
    assert progress[-1] == 1.0


def test_a_lever_that_springs_back_loses_its_progress():
    pressed = AROUND._replace(latch=1.0, height=-0.05)
    assert oracle_of(pressed) - oracle_of(pressed._replace(latch=0.0)) > 0.15
    assert oracle_of(FREE) - oracle_of(FREE._replace(latch=0.0, sideways=0.1)) > 0.2
    assert stage_of(FREE._replace(latch=0.0, hinge=0.1)) == 3  # but a door that is ajar stays ajar
    assert stage_of(AROUND._replace(gap=0.0)) == 1  # a closed hand on the lever is not around it


length = st.floats(0.0, 1.0)


@given(length, st.floats(-1.0, 1.0), st.floats(0.0, 0.08), st.floats(-1.6, 1.6), st.floats(-0.1, 0.4))
def test_the_oracle_is_defined_everywhere(sideways, height, gap, latch, hinge):
    scene = DoorScene(sideways, height, gap, latch, hinge)
    assert stage_of(scene) / 4 <= oracle_of(scene) <= min(1.0, (stage_of(scene) + 1) / 4)


def test_the_thresholds_are_those_of_the_latch_and_of_robosuite():
    assert stage_of(AROUND._replace(latch=UNLATCHED)) == 3 and stage_of(FREE._replace(hinge=OPENED)) == 3
