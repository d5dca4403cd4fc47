"""`robo_reward/Lift-v0`: robosuite's Lift. The arm picks a red cube up from a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from robo_reward.envs.lift_progress import CUBE_WIDTH, CubeInHand, oracle_of, stage_of
from robo_reward.envs.robosuite_arm import ArmTask, RobosuiteArmEnv, make_world

_TABLE_HEIGHT, _PLACEMENT = 0.8, 0.08


class LiftEnv(RobosuiteArmEnv):
    """One red cube within +-8 cm of the table's centre at any yaw; the interface is `RobosuiteArmEnv`'s."""

    task = ArmTask(
        name="Lift",
        body="cube_main",
        instructions=(
            "lift the red cube",
            "pick up the red cube",
            "grasp the red block and raise it",
            "take the red cube off the table",
            "raise the red cube from the table",
        ),
        turns_alike=4,
        bias=(0.012, 0.012, 0.004, np.radians(6.0)),
        noise=(0.0015, 0.0015, 0.0015, np.radians(1.0)),
    )

    def _make_world(self) -> Any:
        world = make_world("Lift", _placement)
        model = world.sim.model._model
        cube = model.body(self.task.body)
        geoms = range(cube.geomadr[0], cube.geomadr[0] + cube.geomnum[0])
        self._rest_height = _TABLE_HEIGHT + max(float(model.geom_size[geom, 2]) for geom in geoms)
        return world

    def _progress(self) -> tuple[int, float]:
        rotation, offset = self._hand_rotation(), self._grasp_offset()
        height = float(-offset[2])
        state = CubeInHand(
            along=float(rotation[:, 0] @ offset),
            across=float(rotation[:, 1] @ offset),
            height=height,
            gap=self._gap(),
            # Fingers pressing on the top face touch the cube as well: the height tells the two apart.
            grasped=abs(height) <= CUBE_WIDTH / 2 and self._fingers_on_object(),
            lift=float(self._data.xpos[self._object, 2]) - self._rest_height,
        )
        return stage_of(state), oracle_of(state)


def _placement() -> Any:
    from robosuite.utils.placement_samplers import UniformRandomSampler

    return UniformRandomSampler(
        name="cube",
        x_range=[-_PLACEMENT, _PLACEMENT],
        y_range=[-_PLACEMENT, _PLACEMENT],
        rotation=None,
        ensure_object_boundary_in_range=False,
        reference_pos=(0, 0, _TABLE_HEIGHT),
    )
