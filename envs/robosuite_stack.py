"""`robo_reward/Stack-v0`: robosuite's Stack. The arm puts a red cube on a green one."""

from __future__ import annotations

from typing import Any

import numpy as np

from robo_reward.envs.robosuite_arm import ArmTask, RobosuiteArmEnv, make_world
from robo_reward.envs.stack_progress import CUBE_WIDTH, StackScene, oracle_of, stage_of

_TABLE_HEIGHT = 0.8


class StackEnv(RobosuiteArmEnv):
    """A red cube of 4 cm and a green one of 5 cm, placed as robosuite does; the interface is `RobosuiteArmEnv`'s.

    The target in `estimate` is the green cube's centre minus the red one's. The cubes can lie side by side, so that
    two fingers have room on one pair of the red one's faces only.
    """

    task = ArmTask(
        name="Stack",
        body="cubeA_main",
        instructions=(
            "stack the red cube on the green cube",
            "put the red cube on top of the green one",
            "place the red block onto the green block",
            "pick up the red cube and set it down on the green cube",
            "build a tower with the red cube on the green one",
        ),
        turns_alike=4,
        bias=(0.010, 0.010, 0.004, np.radians(6.0), 0.008, 0.008, 0.004),
        noise=(0.0015, 0.0015, 0.0015, np.radians(1.0), 0.0015, 0.0015, 0.0015),
    )

    def _make_world(self) -> Any:
        world = make_world("Stack")
        self._green = world.sim.model._model.body("cubeB_main").id
        return world

    def _target(self) -> np.ndarray:
        return self._data.xpos[self._green] - self._data.xpos[self._object]

    def _progress(self) -> tuple[int, float]:
        offset, target = self._grasp_offset(), self._target()
        height = float(-offset[2])
        scene = StackScene(
            sideways=float(np.hypot(*offset[:2])),
            height=height,
            gap=self._gap(),
            # Fingers pressing on the top face touch the cube as well: the height tells the two apart.
            grasped=abs(height) <= CUBE_WIDTH / 2 and self._fingers_on_object(),
            over_table=float(self._data.xpos[self._object, 2]) - _TABLE_HEIGHT,
            off=float(np.hypot(*target[:2])),
            stacked=bool(self._world._check_success()),
        )
        return stage_of(scene), oracle_of(scene)
