"""`robo_reward/PegInsertLong-v0`: PegInsert from far: the peg stands on the table; reach, grasp, carry, insert.

The hand starts 15 to 30 cm away from the peg, which stands beside the two sockets. Nothing but friction between two
fingers holds it: it can slip, be knocked over or dropped. Sockets, clearance and the estimate's bias are PegInsert's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces

from robo_reward.envs.peg_insert import PegInsertEnv, _rotate, _yaw_quat
from robo_reward.envs.peg_long_progress import OPEN, PegScene, oracle_of, stage_of
from robo_reward.envs.peg_scene import PEG_HALF_LENGTH, build_xml

PEG_PLACE, PEG_RANGE, PEG_YAW = (0.63, 0.0), (0.012, 0.10), 0.26
"""Where the peg stands [m] and how it is turned [rad], each way."""
FINGER_STEP = 0.005
"""Way of a finger in one action [m]: 0.1 m/s, as a real one."""
_UPRIGHT = np.cos(0.35)
_TOUCH = 1.0  # [N] on either finger: the peg is held


class PegInsertLongEnv(PegInsertEnv):
    """PegInsert with a peg that has to be fetched.

    Action, base frame, in [-1, 1]: dx, dy, dz, dyaw as in PegInsert, and the gripper: below 0 opens, above 0 closes,
    0 holds.

    Observation: `agent_pos` (31) as PegInsert's, the last action one longer; the wrench is what the fingers feel.
    `estimate` (17): PegInsert's sixteen, the in-hand pose being the peg's place relative to the tool wherever it is,
    then the height of the peg's tip over the tool [m]. `environment_state` (17): PegInsert's, then the true height of
    the tip over the tool [m] and the cosine of the peg's tilt.

    Args:
        cameras: views in the observation.
        image_size: side of a frame [pixels].
        horizon: actions until the episode is truncated.
        socket_bias: standard deviation of the socket's estimated place [m].
        yaw_bias: of its yaw [rad].
        render_mode: `rgb_array` or None.
    """

    start, start_range = (0.43, 0.0, 0.18), (0.03, 0.08, 0.03)

    def __init__(
        self,
        cameras: tuple[str, ...] = (),
        image_size: int = 84,
        horizon: int = 220,
        socket_bias: float = 0.002,
        yaw_bias: float = 0.026,
        render_mode: str | None = None,
    ):
        super().__init__(cameras, image_size, "xyz_yaw_gripper", horizon, socket_bias, yaw_bias, render_mode)
        self._limits = replace(self._limits, high=np.array([0.68, 0.25, 0.30, 0.4, 0.4, 0.6]))
        for key in ("estimate", "environment_state"):
            self.observation_space.spaces[key] = spaces.Box(-np.inf, np.inf, (17,), np.float32)  # type: ignore[attr-defined]

    def _scene(self) -> str:
        return build_xml(grasping=True)

    def _cache_addresses(self) -> None:
        super()._cache_addresses()
        names = ("finger_left", "finger_right")
        self._fingers = [self.model.body(name).id for name in names]
        self._finger_joints = [self.model.joint(name).id for name in names]

    def _place_peg(self, tool: np.ndarray) -> None:
        """Upright on the table."""
        data = self.data
        away = self.spread * self.np_random.uniform(-1, 1, 3) * [*PEG_RANGE, PEG_YAW]
        data.qpos[7:9] = OPEN
        data.qpos[self._peg_qpos : self._peg_qpos + 3] = [*(PEG_PLACE + away[:2]), PEG_HALF_LENGTH]
        data.qpos[self._peg_qpos + 3 : self._peg_qpos + 7] = _yaw_quat(away[2])
        self._pressed = np.zeros(2)

    def _drive_gripper(self, command: float) -> None:
        """Below 0 the fingers open, above 0 they close, with the same 40 N from an action of 0.01 as from one of 1."""
        ctrl = self.data.ctrl
        ctrl[6:8] = np.clip(ctrl[6:8] - FINGER_STEP * np.sign(command), 0.0, OPEN)

    def _contact_wrench(self) -> np.ndarray:
        """Force [N] and moment [Nm] about the nominal tip that the contacts bring to the two fingers.

        What squeezes the peg cancels; what is left holds the peg's weight and carries what the peg touches.
        """
        model, data = self.model, self.data
        mujoco.mj_rnePostConstraint(model, data)
        on_fingers = data.cfrc_ext[self._fingers]  # moment and force about the arm's centre of mass
        self._pressed = (on_fingers[:, 3:] * data.xaxis[self._finger_joints]).sum(1)
        moment, force = on_fingers.sum(0).reshape(2, 3)
        x, y, z = data.subtree_com[model.body_rootid[self._fingers[0]]] - data.site_xpos[self._site["tool"]]
        moment += [y * force[2] - z * force[1], z * force[0] - x * force[2], x * force[1] - y * force[0]]
        return np.concatenate([force, moment])

    def _in_hand_now(self) -> tuple[np.ndarray, float]:
        """The peg's tip relative to the tool: x, y, yaw in the hand's frame, and its height over it [m]."""
        data = self.data
        measured = self._measured()
        away = data.site_xpos[self._site["peg_tip"]] - measured[:3]
        matrix = data.xmat[self._peg_body]
        turn = np.arctan2(matrix[3], matrix[0]) - measured[5]
        turn = (turn + np.pi / 4) % (np.pi / 2) - np.pi / 4  # the peg is square
        return np.array([*_rotate(-measured[5], away[:2]), turn]), float(away[2])

    def _upright(self) -> float:
        return float(self.data.xmat[self._peg_body][8])

    def _progress(self) -> tuple[int, float]:
        place, height = self._in_hand_now()
        over, off, _ = self._geometry()
        scene = PegScene(
            sideways=float(np.hypot(*place[:2])),
            height=-height,
            opening=float(self.data.qpos[7]),
            grasped=bool((self._pressed > _TOUCH).all()),
            upright=self._upright() > _UPRIGHT,
            off=off,
            over=over,
        )
        return stage_of(scene), oracle_of(scene)

    def _observe(self) -> dict[str, Any]:
        self._in_hand, self._in_hand_height = self._in_hand_now()
        observation = super()._observe()
        more = {"estimate": [self._in_hand_height], "environment_state": [self._in_hand_height, self._upright()]}
        for key, values in more.items():
            observation[key] = np.concatenate([observation[key], np.array(values, np.float32)])
        return observation
