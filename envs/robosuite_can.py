"""`robo_reward/PickPlaceCan-v0`: robosuite's PickPlaceCan. The arm carries a can from one bin into another."""

from __future__ import annotations

from typing import Any

import numpy as np

from robo_reward.envs.can_progress import CanScene, oracle_of, stage_of
from robo_reward.envs.robosuite_arm import ArmTask, RobosuiteArmEnv, make_world

_FLOOR = 0.02  # [m], half the thickness of a bin's floor: robosuite's places lie in its middle
_INSIDE = np.array([0.0625, 0.0875])  # [m] from the bin's centre: an upright can stands 1 cm clear of the rims
_GRASP_HEIGHT = 0.045  # [m], half the can's length and a little


class PickPlaceCanEnv(RobosuiteArmEnv):
    """One can anywhere in the light bin, to be put into the near right one of the four dark bins.

    The interface is `RobosuiteArmEnv`'s. The target in `estimate` is the centre of the bin's floor minus the
    can's centre. The can is round: its yaw in `estimate` always reads 1, 0. Success is robosuite's: the can's centre
    is inside its bin, below the rims, and the grip point more than 4.2 cm from it.
    """

    task = ArmTask(
        name="PickPlaceCan",
        body="Can_main",
        instructions=(
            "put the can into its bin",
            "place the soda can in the dark bin",
            "carry the can over to its bin and let go of it",
            "move the can from the light bin to the dark one",
            "drop the can into the dark compartment",
        ),
        turns_alike=0,
        bias=(0.010, 0.010, 0.004, 0.0, 0.010, 0.010, 0.004),
        noise=(0.0015, 0.0015, 0.0015, 0.0, 0.0015, 0.0015, 0.0015),
        walled=True,
    )

    def _make_world(self) -> Any:
        world = make_world("PickPlaceCan")
        self._place = world.target_bin_placements[world.object_id] + [0.0, 0.0, _FLOOR]
        return world

    def _target(self) -> np.ndarray:
        return self._place - self._data.xpos[self._object]

    def _progress(self) -> tuple[int, float]:
        offset = self._grasp_offset()
        can = self._data.xpos[self._object] - self._place
        scene = CanScene(
            sideways=float(np.hypot(*offset[:2])),
            height=float(-offset[2]),
            gap=self._gap(),
            # Fingers pressing on the can's top touch it as well: the height tells the two apart.
            grasped=abs(offset[2]) <= _GRASP_HEIGHT and self._fingers_on_object(),
            can_height=float(can[2]),
            away=float(np.hypot(*np.maximum(np.abs(can[:2]) - _INSIDE, 0.0))),
            placed=bool(self._world._check_success()),
        )
        return stage_of(scene), oracle_of(scene)
