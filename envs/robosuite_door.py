"""`robo_reward/Door-v0`: robosuite's Door, with its latch. The arm presses the handle down and pulls the door open."""

from __future__ import annotations

from typing import Any

import numpy as np

from robo_reward.envs.door_progress import OPENED, UNLATCHED, DoorScene, oracle_of, stage_of
from robo_reward.envs.robosuite_arm import ArmTask, RobosuiteArmEnv, make_world

_STRADDLE = np.array([0.06, -0.10, 0.0])
"""From the latch's body, in the door's frame [m]: on the lever, 6 cm from its axle. There the hand that straddles it
presses it down with its palm and still holds it, hanging down, between its fingers."""
_ASIDE = np.array([0.0, -0.02, 0.0])  # [m] as far as the hand, 20 cm wide, keeps off the door's panel


class DoorEnv(RobosuiteArmEnv):
    """A door whose handle has to be pressed down to free its latch; the interface is `RobosuiteArmEnv`'s.

    What is to be grasped is a place on the lever, beside its axle, that moves with the door but not with the lever;
    its yaw is the lever's, which half a turn leaves alike. The target in `estimate` is the angle that the lever has to
    be pressed down yet until the latch is free, and the angle that the door has to be opened yet [rad] (2). Of the six
    velocities in `environment_state` the first two are the door's and the lever's [rad/s], the others 0.
    """

    task = ArmTask(
        name="Door",
        body="Door_door",
        instructions=(
            "open the door",
            "press the handle down and open the door",
            "pull the door open by its handle",
            "turn the handle and open the door",
            "unlatch the door and pull it open",
        ),
        turns_alike=2,
        bias=(0.005, 0.005, 0.005, np.radians(3.0), 0.05, 0.02),
        noise=(0.0015, 0.0015, 0.0015, np.radians(1.0), 0.01, 0.005),
    )

    def _make_world(self) -> Any:
        world = make_world("Door")
        self._joints = [world.hinge_qpos_addr, world.handle_qpos_addr]
        return world

    def _cache_addresses(self) -> None:
        super()._cache_addresses()
        self._latch = self.model.body("Door_latch").id
        self._object_geoms = {geom for geom in range(self.model.ngeom) if self.model.geom_bodyid[geom] == self._latch}
        self._dofs = [
            int(self.model.jnt_dofadr[self.model.joint(name).id]) for name in ("Door_hinge", "Door_latch_joint")
        ]

    def _velocity(self) -> np.ndarray:
        return np.array([*self._data.qvel[self._dofs], 0.0, 0.0, 0.0, 0.0])

    def _grasp_point(self) -> np.ndarray:
        return self._data.xpos[self._latch] + self._data.xmat[self._object].reshape(3, 3) @ (_STRADDLE + _ASIDE)

    def _target(self) -> np.ndarray:
        hinge, latch = self._data.qpos[self._joints]
        return np.array([UNLATCHED - latch, OPENED - hinge])

    def _progress(self) -> tuple[int, float]:
        offset = self._grasp_offset()
        hinge, latch = self._data.qpos[self._joints]
        scene = DoorScene(
            sideways=float(np.hypot(*offset[:2])),
            height=float(-offset[2]),
            gap=self._gap(),
            latch=float(latch),
            hinge=float(hinge),
        )
        return stage_of(scene), oracle_of(scene)
