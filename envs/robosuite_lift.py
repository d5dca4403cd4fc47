"""`robo_reward/Lift-v0`: robosuite's Lift (Panda, OSC_POSE, 20 Hz) through the interface of this project.

The arm picks a red cube up from a table. What it knows of the cube is an estimate with a bias drawn per episode that
stands in for a perception module, so a first grasp can miss; the fingers tell whether it did.
"""

from __future__ import annotations

import logging
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from robo_reward.envs.lift_progress import CUBE_WIDTH, CubeInHand, oracle_of, stage_of
from robo_reward.envs.offscreen import OffscreenRenderer
from robo_reward.safety.gate import check_action

CONTROL_HZ = 20
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}
"""View name -> camera of robosuite's model."""
AGENT_POS: dict[str, slice] = {
    "joints": slice(0, 7),
    "position": slice(7, 10),
    "quaternion": slice(10, 14),
    "gap": slice(14, 15),
    "wrench": slice(15, 21),
    "last_action": slice(21, 26),
}
"""Where each quantity lies in `agent_pos`."""
_TABLE_HEIGHT, _PLACEMENT = 0.8, 0.08
_ESTIMATE_BIAS = np.array([0.012, 0.012, 0.004, np.radians(6.0)])
_ESTIMATE_NOISE = np.array([0.0015, 0.0015, 0.0015, np.radians(1.0)])
_ROTATION_UNIT = 0.5  # [rad], what robosuite's OSC_POSE makes of a rotation input of 1

INSTRUCTIONS = (
    "lift the red cube",
    "pick up the red cube",
    "grasp the red block and raise it",
    "take the red cube off the table",
    "raise the red cube from the table",
)


class LiftEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Panda over a table with one red cube, within +-8 cm of the table's centre at any yaw.

    Action: dx, dy, dz, dyaw, gripper in [-1, 1]. One unit of translation asks robosuite's OSC for 5 cm in the base
    frame, one of yaw for 0.5 rad about the vertical, of which the arm reaches about 1.2 cm and 0.065 rad within the
    50 ms period. gripper: below 0 opens, above 0 closes, 0 holds (robosuite's and LeRobot's sign). The hand is kept
    pointing down.

    Observation: `agent_pos` by `AGENT_POS` = joints [rad] (7), grip point [m] (3) and orientation (wxyz, x >= 0) (4)
    in the base frame, finger gap [m] (1), force and torque at the wrist [N, Nm] (6), last executed action (5);
    `estimate` = estimated cube centre minus grip point [m], base frame (3), cosine and sine of 4 times the cube's yaw
    relative to the fingers (2; four turns of the cube look alike); `environment_state` = true cube position and
    quaternion (7), velocities (6), cube minus grip point (3), the estimate's bias (4), privileged; `pixels` when
    `cameras` is not empty.

    Args:
        cameras: views in the observation, of `agentview` and `wrist`.
        image_size: side of a frame [pixels].
        horizon: actions until the episode is truncated.
        render_mode: `rgb_array` or None.
        paraphrase: word the instruction anew in every episode; otherwise it is always the first of `INSTRUCTIONS`.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}

    def __init__(
        self,
        cameras: tuple[str, ...] = (),
        image_size: int = 84,
        horizon: int = 100,
        render_mode: str | None = None,
        paraphrase: bool = False,
    ):
        unknown = [name for name in cameras if name not in CAMERAS]
        if unknown:
            raise ValueError(f"no camera named {unknown[0]!r} in Lift; it has: {', '.join(CAMERAS)}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is unknown; choose rgb_array or None")
        if horizon < 1:
            raise ValueError(f"horizon={horizon} is below 1: give the number of actions of an episode")
        self.cameras, self.image_size, self.render_mode = tuple(cameras), int(image_size), render_mode
        self.horizon = int(horizon)
        self.instruction, self.paraphrase = INSTRUCTIONS[0], paraphrase
        self._world = _make_robosuite_lift()
        self.model = self._world.sim.model._model
        self._cache_addresses()
        # robosuite draws collision geometry as group 0 and what people should see as group 1.
        self._views = OffscreenRenderer(self.model, CAMERAS, self.image_size, geom_groups=(1,))
        self._picture = OffscreenRenderer(self.model, {"agentview": "agentview"}, 256, geom_groups=(1,))
        self._last_action = np.zeros(5, np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (5,), np.float32)
        box = {"agent_pos": 26, "estimate": 5, "environment_state": 20}
        observation: dict[str, spaces.Space[Any]] = {
            key: spaces.Box(-np.inf, np.inf, (size,), np.float32) for key, size in box.items()
        }
        if self.cameras:
            shape = (self.image_size, self.image_size, 3)
            observation["pixels"] = spaces.Dict({name: spaces.Box(0, 255, shape, np.uint8) for name in self.cameras})
        self.observation_space = spaces.Dict(observation)

    def _cache_addresses(self) -> None:
        model = self.model
        self._site = model.site("gripper0_right_grip_site").id
        self._sensor = model.site("gripper0_right_ft_frame").id
        gripper = int(model.site_bodyid[self._sensor])
        self._gripper_weight = float(model.body_subtreemass[gripper] * -model.opt.gravity[2])
        self._cube = model.body("cube_main").id
        self._cube_velocity = int(model.jnt_dofadr[model.body("cube_main").jntadr[0]])
        self._cube_geoms = {geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == self._cube}
        self._finger_geoms = [
            {model.geom(f"gripper0_right_finger{side}_{part}").id for part in ("collision", "pad_collision")}
            for side in (1, 2)
        ]
        self._rest_height = _TABLE_HEIGHT + max(float(model.geom_size[geom, 2]) for geom in self._cube_geoms)

    # ------------------------------------------------------------------ gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw a new scene. There is one cube: `options={"target": 0}` is the only target."""
        super().reset(seed=seed)
        target = (options or {}).get("target", 0)
        if target != 0:
            raise ValueError(f"reset option target={target} is unknown; Lift has one cube, target 0")
        rng = self.np_random
        # Cube placement and the joints' initial noise are robosuite's, drawn from this episode's generator.
        self._world.rng = self._world.placement_initializer.rng = rng
        self._world.reset()
        # One period at rest: until the arm is powered, the wrist's sensor reads its fall.
        self._world.step(np.zeros(7))
        self._data = self._world.sim.data._data
        self._bias = rng.uniform(-1, 1, 4) * _ESTIMATE_BIAS
        wording = int(rng.integers(len(INSTRUCTIONS)))  # drawn either way: the scene does not depend on it
        self.instruction = INSTRUCTIONS[wording if self.paraphrase else 0]
        self._last_action = np.zeros(5, np.float32)
        self._steps = 0
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One 50 ms period. Reward 1 on success, which terminates; the horizon truncates."""
        action = check_action(action, 5).astype(np.float32)
        x, y, z, yaw, gripper = action.astype(np.float64)
        roll, pitch = self._tilt_correction()
        self._world.step(np.array([x, y, z, roll, pitch, yaw, gripper]))
        self._last_action = action
        self._steps += 1
        info = self._info()
        info["executed_action"] = action.copy()
        success = info["is_success"]
        return self._observe(), float(success), success, not success and self._steps >= self.horizon, info

    def render(self) -> np.ndarray | None:
        """The agentview at 256 px."""
        return self._picture.render(self._data)["agentview"] if self.render_mode == "rgb_array" else None

    def render_views(self) -> dict[str, np.ndarray]:
        """Both views (uint8, image_size square), whether or not they are part of the observation."""
        return self._views.render(self._data)

    def close(self) -> None:
        """Free the rendering contexts."""
        self._views.close()
        self._picture.close()

    # ------------------------------------------------------------------ simulation

    def _tilt_correction(self) -> np.ndarray:
        """Rotation inputs about x and y that turn the hand back to pointing down, in [-1, 1]."""
        approach = self._data.site_xmat[self._site].reshape(3, 3)[:, 2]
        return np.clip(np.cross(approach, [0.0, 0.0, -1.0])[:2] / _ROTATION_UNIT, -1.0, 1.0)

    def _gap(self) -> float:
        return float(self._data.qpos[7] - self._data.qpos[8])

    def _wrench(self) -> np.ndarray:
        """Force and torque the wrist's sensor reads, the force without the gripper's own weight, in its frame."""
        wrench = self._data.sensordata[:6].copy()
        wrench[:3] += self._data.site_xmat[self._sensor].reshape(3, 3).T @ [0.0, 0.0, -self._gripper_weight]
        return wrench

    def _fingers_on_cube(self) -> bool:
        contact = self._data.contact
        touching = [False, False]
        for pair in contact.geom[: self._data.ncon].tolist():
            if self._cube_geoms.isdisjoint(pair):
                continue
            for side, geoms in enumerate(self._finger_geoms):
                touching[side] |= not geoms.isdisjoint(pair)
        return all(touching)

    def _cube_in_hand(self) -> CubeInHand:
        rotation = self._data.site_xmat[self._site].reshape(3, 3)
        offset = self._data.xpos[self._cube] - self._data.site_xpos[self._site]
        height = float(-offset[2])
        return CubeInHand(
            along=float(rotation[:, 0] @ offset),
            across=float(rotation[:, 1] @ offset),
            height=height,
            gap=self._gap(),
            # Fingers pressing on the top face touch the cube as well: the height tells the two apart.
            grasped=abs(height) <= CUBE_WIDTH / 2 and self._fingers_on_cube(),
            lift=float(self._data.xpos[self._cube, 2]) - self._rest_height,
        )

    # ------------------------------------------------------------------ what is seen

    def _info(self) -> dict[str, Any]:
        state = self._cube_in_hand()
        stage = stage_of(state)
        return {
            "stage": stage,
            "progress_oracle": oracle_of(state),
            "is_success": stage == 4,
            "contact_force": float(np.linalg.norm(self._wrench()[:3])),
            "instruction": self.instruction,
        }

    def _observe(self) -> dict[str, Any]:
        import mujoco

        data = self._data
        rotation = data.site_xmat[self._site]
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, rotation)
        quaternion *= 1.0 if quaternion[1] >= 0 else -1.0
        grip = data.site_xpos[self._site]
        position = grip - self._world.robots[0].base_pos
        agent_pos = np.concatenate(
            [data.qpos[:7], position, quaternion, [self._gap()], self._wrench(), self._last_action]
        )
        offset = data.xpos[self._cube] - grip
        cube = data.xmat[self._cube]
        turn = np.arctan2(cube[3], cube[0]) - np.arctan2(rotation[3], rotation[0])
        seen = np.array([*offset, turn]) + self._bias + self.np_random.normal(size=4) * _ESTIMATE_NOISE
        velocity = data.qvel[self._cube_velocity : self._cube_velocity + 6]
        truth = np.concatenate([data.xpos[self._cube], data.xquat[self._cube], velocity, offset, self._bias])
        observation: dict[str, Any] = {
            "agent_pos": agent_pos.astype(np.float32),
            "estimate": np.array([*seen[:3], np.cos(4 * seen[3]), np.sin(4 * seen[3])], np.float32),
            "environment_state": truth.astype(np.float32),
        }
        if self.cameras:
            frames = self.render_views()
            observation["pixels"] = {name: frames[name] for name in self.cameras}
        return observation


def _make_robosuite_lift() -> Any:
    """robosuite's own Lift without its renderer and its sensors (slow, and the renderer returns garbage frames)."""
    # robosuite logs its missing optional parts on import; its errors stay audible.
    logging.getLogger("robosuite_logs").addFilter(_errors_only)
    try:
        import robosuite
        from robosuite.utils.placement_samplers import UniformRandomSampler
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Lift needs robosuite ({error.name} is missing): pip install 'robo_reward[robosuite]'", name="robosuite"
        ) from error
    world = robosuite.make(
        "Lift",
        robots="Panda",
        controller_configs=robosuite.load_composite_controller_config(controller="BASIC", robot="Panda"),
        placement_initializer=UniformRandomSampler(
            name="cube",
            x_range=[-_PLACEMENT, _PLACEMENT],
            y_range=[-_PLACEMENT, _PLACEMENT],
            rotation=None,
            ensure_object_boundary_in_range=False,
            reference_pos=(0, 0, _TABLE_HEIGHT),
        ),
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        renderer="mujoco",
        control_freq=CONTROL_HZ,
        ignore_done=True,
        hard_reset=False,
        seed=0,  # fixes the cube's size; every reset brings its own generator
    )
    for name in world.observation_names:
        world.modify_observable(name, "enabled", False)
    return world


def _errors_only(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
