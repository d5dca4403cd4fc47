"""`robo_reward/PegInsert-v0`: put the square peg into the socket that the instruction names.

Two sockets of different colour stand within +-3 cm and +-10 degrees of their nominal places; the peg sits up to 3 mm
off centre in the hand; the clearance is 1 mm a side. The policy sees what an arm knows plus a pose estimate whose bias
(standard deviation 2 mm by default) exceeds the clearance, so that pressing and feeling is needed, and suffices.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

os.environ.setdefault("MUJOCO_GL", "egl")  # read once, when mujoco is imported

try:
    import mujoco
except ModuleNotFoundError as error:  # pragma: no cover - exercised by the install tests
    raise ModuleNotFoundError("PegInsert needs MuJoCo: pip install 'robo-reward[sim]'", name="mujoco") from error

from robo_reward.envs.offscreen import OffscreenRenderer
from robo_reward.envs.peg_scene import (
    CAMERAS,
    COLOURS,
    HOME_QPOS,
    PEG_HALF_LENGTH,
    PHYSICS_HZ,
    SOCKET_CENTRES,
    SOCKET_HEIGHT,
    build_xml,
)
from robo_reward.safety.gate import GateLimits, check_action, gate_target

CONTROL_HZ = 20
STAGES = ("approach", "align", "search", "insert")
"""Stage k is over when the predicate below is reached for the k+1-th time."""
OVER_SIDEWAYS, OVER_HEIGHT = 0.025, 0.030
CONTACT_HEIGHT, CONTACT_SIDEWAYS = 0.003, 0.006
ENGAGED_DEPTH, INSERTED_DEPTH, HOLE_SIDEWAYS = 0.002, 0.020, 0.0025
ACTION_AXES = {"xyz_yaw": (0, 1, 2, 5), "xyz_yaw_gripper": (0, 1, 2, 5), "pose_gripper": (0, 1, 2, 3, 4, 5)}
"""Action mode -> which of x, y, z and the rotations about them an action moves; the gripper's action comes last."""
NEAR_FIELD = 0.006
"""Range [m] of the clipped copy of the relative position: what a network that standardises its inputs resolves."""
PRESSING = 2.0
"""Contact force [N] from which the wrench says where the contact is."""
_OVER_DISTANCE = float(np.hypot(OVER_SIDEWAYS, OVER_HEIGHT))


class PegInsertEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Seven-joint arm under Cartesian impedance control (500 Hz), actions at 20 Hz.

    Action, base frame, in [-1, 1]: with `action_mode="xyz_yaw"` dx, dy, dz, dyaw; "xyz_yaw_gripper" adds the gripper;
    "pose_gripper" is dx, dy, dz, drx, dry, drz, gripper (-1 opens, +1 closes). One unit puts the target 10 mm or 0.08
    rad from the measured pose, so that in contact an action is a force (25 N a unit) and 0 is compliant.

    Observation, in this order:
    `agent_pos`: joints [rad] (7), tool position [m] (3) and rotation vector from tool-down [rad] (3), wrench at the
    nominal tip [N, Nm] (6), target minus measured pose (6), gripper opening [m] (1), last executed action;
    `estimate`: socket x, y, z, yaw (4), in-hand x, y, yaw (3), peg tip relative to the socket's mouth in the socket's
    frame x, y, z, yaw (4), its x, y, z again clipped to +-6 mm (3), where the contact presses on the peg's end, from
    the wrench, base frame x, y (2), all estimated;
    `environment_state`: the truth (privileged);
    `pixels`: when `cameras` is not empty.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}
    start: ClassVar[tuple[float, ...]] = (0.5, 0.0, SOCKET_HEIGHT + 0.08)
    """Middle of the tool's initial places [m]."""
    start_range: ClassVar[tuple[float, ...]] = (0.03, 0.04, 0.02)

    def __init__(
        self,
        cameras: tuple[str, ...] = (),
        image_size: int = 84,
        action_mode: str = "xyz_yaw",
        horizon: int = 120,
        socket_bias: float = 0.002,
        yaw_bias: float = 0.026,
        render_mode: str | None = None,
    ):
        unknown = [name for name in cameras if name not in CAMERAS]
        if unknown:
            raise ValueError(f"no camera named {unknown[0]!r} in PegInsert; it has: {', '.join(CAMERAS)}")
        if action_mode not in ACTION_AXES:
            raise ValueError(f"action_mode {action_mode!r} is unknown; choose one of: {', '.join(ACTION_AXES)}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is unknown; choose rgb_array or None")
        self.cameras, self.image_size, self.render_mode = tuple(cameras), int(image_size), render_mode
        self.action_mode, self.horizon = action_mode, int(horizon)
        self.socket_bias, self.yaw_bias = float(socket_bias), float(yaw_bias)
        self.spread = self.estimate_error = 1.0  # of initial places and of the estimates' errors, for perturbations
        self.command_delay = 0
        """Physics steps from a target's sending to its effect, less than a period; a real arm's latency."""
        self.model = mujoco.MjModel.from_xml_string(self._scene())
        self.data = mujoco.MjData(self.model)
        self._views = OffscreenRenderer(self.model, {name: name for name in CAMERAS}, self.image_size)
        self._film = OffscreenRenderer(self.model, {"front": "front"}, 256)
        self._cache_addresses()
        self._limits = GateLimits(
            step=np.array([0.010, 0.010, 0.010, 0.08, 0.08, 0.08]),
            low=np.array([0.35, -0.25, SOCKET_HEIGHT - 0.036, -0.4, -0.4, -0.6]),
            high=np.array([0.65, 0.25, 0.25, 0.4, 0.4, 0.6]),
        )
        self._axes = list(ACTION_AXES[action_mode])
        actions = len(self._axes) + action_mode.endswith("gripper")
        self.action_space = spaces.Box(-1.0, 1.0, (actions,), np.float32)
        self.instruction = ""
        self.target = 0
        self._last_action = np.zeros(actions)
        box = {"agent_pos": 26 + actions, "estimate": 16, "environment_state": 15}
        observation: dict[str, spaces.Space[Any]] = {
            key: spaces.Box(-np.inf, np.inf, (size,), np.float32) for key, size in box.items()
        }
        if self.cameras:
            shape = (self.image_size, self.image_size, 3)
            observation["pixels"] = spaces.Dict({name: spaces.Box(0, 255, shape, np.uint8) for name in self.cameras})
        self.observation_space = spaces.Dict(observation)

    def _scene(self) -> str:
        return build_xml()

    def _cache_addresses(self) -> None:
        model = self.model
        self._site = {name: model.site(name).id for name in ("tool", "grasp", "peg_tip")}
        self._mouths = [model.site(f"socket_{colour}_mouth").id for colour in COLOURS]
        self._socket_bodies = [model.body(f"socket_{colour}").id for colour in COLOURS]
        self._peg_qpos = int(model.jnt_qposadr[model.body("peg").jntadr[0]])
        self._nominal_grasp = model.site_pos[self._site["grasp"]].copy()
        self._peg_geom, self._peg_body = model.geom("peg").id, model.body("peg").id

    @cached_property
    def _weld(self) -> int:
        return int(self.model.equality("grasp").id)

    # ------------------------------------------------------------------ gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw a new scene. `options={"target": 0|1}` names the socket: 0 orange, 1 blue."""
        super().reset(seed=seed)
        rng, model, data = self.np_random, self.model, self.data
        mujoco.mj_resetData(model, data)
        sides = rng.permutation(2)
        self._socket_pose = np.zeros((2, 3))  # x, y, yaw by colour
        for colour in range(2):
            centre = np.array(SOCKET_CENTRES[sides[colour]])
            away = self.spread * np.array([*rng.uniform(-0.03, 0.03, 2), rng.uniform(-1, 1) * np.pi / 18])
            self._socket_pose[colour] = [*(centre + away[:2]), away[2]]
            body = self._socket_bodies[colour]
            model.body_pos[body, :2] = self._socket_pose[colour, :2]
            model.body_quat[body] = _yaw_quat(self._socket_pose[colour, 2])
        drawn = int(rng.integers(2))
        self.target = int((options or {}).get("target", drawn))
        if self.target not in (0, 1):
            raise ValueError(f"reset option target={self.target} is unknown; choose 0 ({[*COLOURS][0]}) or 1")
        self.instruction = f"insert the peg into the {[*COLOURS][self.target]} socket"
        self._in_hand = rng.uniform(-1, 1, 3) * [0.003, 0.003, 0.05]  # tip in the hand: x, y [m], yaw [rad]
        self._in_hand_height = 0.0
        self._socket_error = self.socket_bias * np.clip(rng.normal(size=4), -2, 2)
        self._socket_error[2] = 0.0005 * np.clip(rng.normal(), -2, 2)
        self._socket_error[3] = self.yaw_bias * np.clip(rng.normal(), -2, 2)
        self._in_hand_error = np.clip(rng.normal(size=3), -2, 2) * [0.0005, 0.0005, 0.01]
        self._socket_error, self._in_hand_error = (
            self.estimate_error * error for error in (self._socket_error, self._in_hand_error)
        )
        away = self.spread * rng.uniform(-1, 1, 3) * self.start_range
        self._place_arm(np.array(self.start) + away)
        self._steps, self._force_peak = 0, 0.0
        self._last_action = np.zeros(self.action_space.shape or ())
        self._wrench = np.zeros(6)
        self._start_distance = self._geometry()[2]
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One 50 ms period. Reward 1 on success, which terminates; the horizon truncates."""
        action = check_action(action, self._last_action.size)
        data = self.data
        delta = np.zeros(6)
        delta[self._axes] = action[: len(self._axes)]
        target, executed, gated = gate_target(self._measured(), delta, self._limits)
        # Axes without an action keep their target: relative to the measured pose the tool would tilt away slowly.
        self._target_pose[self._axes] = target[self._axes]
        self._last_action = action.copy()
        self._last_action[: len(self._axes)] = executed[self._axes]
        if action.size > len(self._axes):
            self._drive_gripper(action[-1])
        wrench, parts = np.zeros(6), 5
        steps = PHYSICS_HZ // CONTROL_HZ // parts
        self._force_peak = 0.0
        for part in range(parts):
            waits = min(max(self.command_delay - part * steps, 0), steps)
            if waits:
                mujoco.mj_step(self.model, data, nstep=waits)
            if waits < steps:
                data.ctrl[:6] = self._target_pose
                mujoco.mj_step(self.model, data, nstep=steps - waits)
            reading = self._contact_wrench()
            wrench += reading / parts
            self._force_peak = max(self._force_peak, float(np.linalg.norm(reading[:3])))
        self._wrench = wrench + self.np_random.normal(size=6) * [0.15, 0.15, 0.15, 0.004, 0.004, 0.004]
        self._steps += 1
        info = self._info()
        info["executed_action"] = self._last_action.astype(np.float32)
        info["gated"] = bool(gated[self._axes].any())
        success = info["is_success"]
        return self._observe(), float(success), success, not success and self._steps >= self.horizon, info

    def render(self) -> np.ndarray | None:
        """The front view at 256 px."""
        return self._film.render(self.data)["front"] if self.render_mode == "rgb_array" else None

    def render_views(self) -> dict[str, np.ndarray]:
        """All three views (uint8, image_size square), whether or not they are part of the observation."""
        return self._views.render(self.data)

    def close(self) -> None:
        """Free the rendering contexts."""
        self._views.close()
        self._film.close()

    # ------------------------------------------------------------------ simulation

    def _place_arm(self, tool: np.ndarray) -> None:
        """Solve for the joints that hold the tool upright at `tool`, place the peg, settle the controller."""
        model, data = self.model, self.data
        site = self._site["tool"]
        data.qpos[:7] = HOME_QPOS
        jacobian = np.zeros((6, model.nv))
        for _ in range(30):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            rotation = np.zeros(3)
            quat = np.zeros(4)
            mujoco.mju_mat2Quat(quat, data.site_xmat[site])
            mujoco.mju_quat2Vel(rotation, quat, 1.0)
            error = np.concatenate([tool - data.site_xpos[site], -rotation])
            if np.abs(error).max() < 1e-6:
                break
            mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
            arm = jacobian[:, :7]
            data.qpos[:7] += arm.T @ np.linalg.solve(arm @ arm.T + 1e-6 * np.eye(6), error)
        self._place_peg(tool)
        mujoco.mj_forward(model, data)
        self._target_pose = data.actuator_length[:6].copy()
        data.ctrl[:6] = data.act[:6] = self._target_pose
        data.ctrl[6:8] = data.qpos[7:9]
        mujoco.mj_step(model, data, nstep=50)

    def _place_peg(self, tool: np.ndarray) -> None:
        """Into the hand, as `_in_hand` says."""
        model, data = self.model, self.data
        x, y, yaw = self._in_hand
        model.site_pos[self._site["grasp"]] = self._nominal_grasp + [x, -y, 0.0]
        model.site_quat[self._site["grasp"]] = _multiply(np.array([0.0, 1.0, 0.0, 0.0]), _yaw_quat(yaw))
        data.qpos[7:9] = 0.010
        data.qpos[self._peg_qpos : self._peg_qpos + 3] = tool + [x, y, PEG_HALF_LENGTH]
        data.qpos[self._peg_qpos + 3 : self._peg_qpos + 7] = _yaw_quat(yaw)
        self._hold(True)

    def _drive_gripper(self, command: float) -> None:
        """Below 0 opens and the peg falls; closing within 10 mm of where it was held takes it up again as it was."""
        data, width = self.data, 0.010 if command >= 0 else 0.035
        data.ctrl[6:8] = width
        if command < 0:
            self._hold(False)
        elif not data.eq_active[self._weld]:
            away = data.site("peg_centre").xpos - data.site_xpos[self._site["grasp"]]
            self._hold(bool(np.linalg.norm(away) < 0.01))

    def _hold(self, held: bool) -> None:
        """Weld the peg to the hand, its weight compensated by the arm, or leave it to gravity."""
        self.data.eq_active[self._weld] = held
        self.model.body_gravcomp[self._peg_body] = float(held)

    def _contact_wrench(self) -> np.ndarray:
        """What a wrist sensor tared in free space reads: the contacts' force [N] and moment [Nm] on the peg about the
        nominal tip. Taken from the contacts because the engine's torque sensor misplaces the weld's reaction."""
        data, total, local = self.data, np.zeros(6), np.zeros(6)
        if not data.eq_active[self._weld]:  # the hand does not feel what the released peg touches
            return total
        tip = data.site_xpos[self._site["tool"]]
        for index in range(data.ncon):
            contact = data.contact[index]
            mujoco.mj_contactForce(self.model, data, index, local)
            force = local[:3] @ contact.frame.reshape(3, 3)
            if contact.geom1 == self._peg_geom:
                force = -force
            arm = contact.pos - tip
            total[:3] += force
            total[3] += arm[1] * force[2] - arm[2] * force[1]
            total[4] += arm[2] * force[0] - arm[0] * force[2]
            total[5] += arm[0] * force[1] - arm[1] * force[0]
        return total

    def _measured(self) -> np.ndarray:
        return self.data.actuator_length[:6].copy()

    def _geometry(self) -> tuple[float, float, float]:
        """Height of the peg tip over the named mouth, sideways distance, straight distance [m]."""
        away = self.data.site_xpos[self._site["peg_tip"]] - self.data.site_xpos[self._mouths[self.target]]
        sideways = float(np.hypot(away[0], away[1]))
        return float(away[2]), sideways, float(np.hypot(max(away[2], 0.0), sideways))

    def _progress(self) -> tuple[int, float]:
        """Stages reached by the present state (0..4) and oracle progress (stages + share of the next) / 4.

        Within a stage the share is 1 - distance left / distance at the stage's start: straight distance to the mouth
        while approaching and aligning, sideways distance while searching, depth while inserting.
        """
        height, sideways, distance = self._geometry()
        depth = -height
        if sideways <= HOLE_SIDEWAYS and depth >= ENGAGED_DEPTH:
            if depth >= INSERTED_DEPTH:
                return 4, 1.0
            stage, share = 3, (depth - ENGAGED_DEPTH) / (INSERTED_DEPTH - ENGAGED_DEPTH)
        elif abs(height) <= CONTACT_HEIGHT and sideways <= CONTACT_SIDEWAYS:
            stage, share = 2, 1 - sideways / CONTACT_SIDEWAYS
        elif height <= OVER_HEIGHT and sideways <= OVER_SIDEWAYS:
            stage, share = 1, 1 - (distance - CONTACT_SIDEWAYS) / (_OVER_DISTANCE - CONTACT_SIDEWAYS)
        else:
            span = max(self._start_distance - _OVER_DISTANCE, 0.02)
            stage, share = 0, 1 - (distance - _OVER_DISTANCE) / span
        return stage, (stage + float(np.clip(share, 0.0, 1.0))) / 4

    # ------------------------------------------------------------------ what is seen

    def _info(self) -> dict[str, Any]:
        stage, progress = self._progress()
        return {
            "stage": stage,
            "progress_oracle": progress,
            "is_success": stage == 4,
            "contact_force": self._force_peak,
            "instruction": self.instruction,
        }

    def _observe(self) -> dict[str, Any]:
        data, rng = self.data, self.np_random
        measured = self._measured()
        agent_pos = np.concatenate(
            [data.qpos[:7], measured, self._wrench, self._target_pose - measured, data.qpos[7:8], self._last_action]
        )
        socket = self._socket_pose[self.target]
        seen = np.array([socket[0], socket[1], SOCKET_HEIGHT, socket[2]]) + self._socket_error
        seen += rng.normal(size=4) * [0.0003, 0.0003, 0.0003, 0.003]
        in_hand = self._in_hand + self._in_hand_error
        tip = measured[:3] + [*_rotate(measured[5], in_hand[:2]), self._in_hand_height]
        relative = tip - seen[:3]
        estimate = np.concatenate(
            [seen, in_hand, _rotate(-seen[3], relative[:2]), relative[2:], [measured[5] + in_hand[2] - seen[3]]]
        )
        pressure = self._pressure_point(measured[5], in_hand)
        estimate = np.concatenate([estimate, np.clip(estimate[7:10], -NEAR_FIELD, NEAR_FIELD), pressure])
        truth = np.concatenate(
            [
                socket,
                self._socket_pose[1 - self.target],
                data.site_xpos[self._site["peg_tip"]],
                self._in_hand,
                [self.target, *self._geometry()[:2]],
            ]
        )
        observation: dict[str, Any] = {
            "agent_pos": agent_pos.astype(np.float32),
            "estimate": estimate.astype(np.float32),
            "environment_state": truth.astype(np.float32),
        }
        if self.cameras:
            views = self.render_views()
            observation["pixels"] = {name: views[name] for name in self.cameras}
        return observation

    def _pressure_point(self, yaw: float, in_hand: np.ndarray) -> np.ndarray:
        """Where the contact pushes the peg's end, from the peg's estimated axis, base frame [m]; 0 in the air."""
        if self._wrench[2] < PRESSING:
            return np.zeros(2)
        point = np.array([-self._wrench[4], self._wrench[3]]) / self._wrench[2] - _rotate(yaw, in_hand[:2])
        return np.clip(point, -0.015, 0.015)


def _yaw_quat(yaw: float) -> np.ndarray:
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def _multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out = np.zeros(4)
    mujoco.mju_mulQuat(out, a, b)
    return out


def _rotate(yaw: float, xy: np.ndarray) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([c * xy[0] - s * xy[1], s * xy[0] + c * xy[1]])
