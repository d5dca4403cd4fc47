"""`robo_reward/NutAssemblySquare-v0`: robosuite's task. The arm puts a square nut on the square one of two pegs."""

from __future__ import annotations

from typing import Any

import numpy as np

from robo_reward.envs.nut_progress import NutAndPeg, oracle_of, stage_of
from robo_reward.envs.robosuite_arm import ArmTask, RobosuiteArmEnv, make_world

_TABLE_HEIGHT, _PEG_HALF_HEIGHT, _NUT_HALF_HEIGHT = 0.82, 0.10, 0.010
_HANDLE = 0.066  # [m] from the nut's centre: there the fingers (2 cm) have room between the ring and the handle's end
_GRASP_HEIGHT = 0.012  # [m] fingers that lie on the nut's upper face touch it as well


class NutAssemblySquareEnv(RobosuiteArmEnv):
    """A nut with a handle, placed as robosuite does, and a square peg; the interface is `RobosuiteArmEnv`'s.

    The grasping point is on the handle. The target that the estimate ends with is the centre of the peg's top minus
    the nut's centre (3). The hole is 45.5 mm wide and the peg 32 mm, so a target that is estimated by up to 9 mm wrong
    along each axis often needs a search.
    """

    task = ArmTask(
        name="NutAssemblySquare",
        body="SquareNut_main",
        instructions=(
            "put the square nut on the square peg",
            "place the square nut over the square peg",
            "slide the nut with the handle onto the square peg",
            "fit the brass nut around the square peg",
            "thread the square peg through the nut",
        ),
        turns_alike=1,
        bias=(0.008, 0.008, 0.003, np.radians(6.0), 0.009, 0.009, 0.003),
        noise=(0.0015, 0.0015, 0.0015, np.radians(1.0), 0.0015, 0.0015, 0.0015),
    )

    def _make_world(self) -> Any:
        world = make_world("NutAssemblySquare")
        self._peg = world.sim.model._model.body("peg1").id
        return world

    def _grasp_point(self) -> np.ndarray:
        return self._data.xpos[self._object] + _HANDLE * self._data.xmat[self._object].reshape(3, 3)[:, 0]

    def _target(self) -> np.ndarray:
        top = self._data.xpos[self._peg] + [0.0, 0.0, _PEG_HALF_HEIGHT]
        return top - self._data.xpos[self._object]

    def _progress(self) -> tuple[int, float]:
        offset, target = self._grasp_offset(), self._target()
        nut = self._data.xmat[self._object].reshape(3, 3)
        quarter = np.pi / 2
        turn = np.arctan2(nut[1, 0], nut[0, 0]) % quarter  # the peg's sides lie along the base frame's axes
        height = float(-offset[2])
        state = NutAndPeg(
            sideways=float(np.hypot(offset[0], offset[1])),
            height=height,
            grasped=abs(height) <= _GRASP_HEIGHT and self._fingers_on_object(),
            off_peg=float(np.hypot(target[0], target[1])),
            over_table=float(self._data.xpos[self._object, 2]) - _TABLE_HEIGHT,
            turn=float(min(turn, quarter - turn)),
            on_peg=bool(self._world._check_success()),
        )
        return stage_of(state), oracle_of(state)
