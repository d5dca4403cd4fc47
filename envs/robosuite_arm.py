"""What every robosuite task here shares: a Panda under OSC_POSE at 20 Hz through the interface of this project.

A task is an `ArmTask` and a subclass of `RobosuiteArmEnv` with two methods, `_make_world` and `_progress`, and two more
where its object is not grasped at its body's origin or has to go somewhere. What the arm knows of the object is an
estimate with a bias drawn per episode that stands in for a perception module, so a first grasp can miss; the fingers
tell whether it did.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from robo_reward.envs.offscreen import OffscreenRenderer
from robo_reward.safety.gate import check_action

CONTROL_HZ = 20
CAMERAS = {"agentview": "agentview", "wrist": "robot0_eye_in_hand"}
"""View name -> camera of robosuite's model; `agentview` is also what `render` shows."""
AGENT_POS: dict[str, slice] = {
    "joints": slice(0, 7),
    "position": slice(7, 10),
    "quaternion": slice(10, 14),
    "gap": slice(14, 15),
    "wrench": slice(15, 21),
    "last_action": slice(21, 26),
}
"""Where each quantity lies in `agent_pos`."""
_ROTATION_UNIT = 0.5  # [rad], what robosuite's OSC_POSE makes of a rotation input of 1


@dataclass(frozen=True, eq=False)
class ArmTask:
    """What one task is made of."""

    name: str
    """robosuite's name, also said in messages."""
    body: str
    """The body that is to be grasped."""
    instructions: tuple[str, ...]
    """The first is the plain one, the others are paraphrases."""
    turns_alike: int
    """Turns of the object about the vertical that the fingers cannot tell apart; 0 where none makes a difference."""
    bias: tuple[float, ...]
    """Largest bias of each estimated quantity: object minus grip point [m] (3), yaw [rad], then the target's."""
    noise: tuple[float, ...]
    """Standard deviation of the noise of each, drawn at every observation."""
    walled: bool = False
    """Whether walls stand around the object's initial places: they cannot be spread further then."""


class RobosuiteArmEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """A Panda over a table with one object to grasp.

    Action: dx, dy, dz, dyaw, gripper in [-1, 1]. One unit of translation asks robosuite's OSC for 5 cm in the base
    frame, one of yaw for 0.5 rad about the vertical, of which the arm reaches about 1.2 cm and 0.065 rad within the
    50 ms period. gripper: below 0 opens, above 0 closes, 0 holds (robosuite's and LeRobot's sign). The hand is kept
    pointing down.

    Observation: `agent_pos` by `AGENT_POS` = joints [rad] (7), grip point [m] (3) and orientation (wxyz, x >= 0) (4)
    in the base frame, finger gap [m] (1), force and torque at the wrist [N, Nm] (6), last executed action (5);
    `estimate` = estimated grasping point of the object minus grip point [m], base frame (3), cosine and sine of
    `turns_alike` times the object's yaw relative to the fingers (2), then the task's estimate of its target [m] (T);
    `environment_state` = true object position and quaternion (7), velocities (6), grasping point minus grip point (3),
    target (T), the estimate's bias (4+T), privileged; `pixels` when `cameras` is not empty.

    Args:
        cameras: views in the observation, of `CAMERAS`.
        image_size: side of a frame [pixels].
        horizon: actions until the episode is truncated.
        render_mode: `rgb_array` or None.
        paraphrase: word the instruction anew in every episode; otherwise it is always the first one.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}
    task: ClassVar[ArmTask]

    def __init__(
        self,
        cameras: tuple[str, ...] = (),
        image_size: int = 84,
        horizon: int = 100,
        render_mode: str | None = None,
        paraphrase: bool = False,
    ):
        task = self.task
        unknown = [name for name in cameras if name not in CAMERAS]
        if unknown:
            raise ValueError(f"no camera named {unknown[0]!r} in {task.name}; it has: {', '.join(CAMERAS)}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode {render_mode!r} is unknown; choose rgb_array or None")
        if horizon < 1:
            raise ValueError(f"horizon={horizon} is below 1: give the number of actions of an episode")
        self.cameras, self.image_size, self.render_mode = tuple(cameras), int(image_size), render_mode
        self.horizon = int(horizon)
        self.estimate_error = 1.0  # of the estimates' biases, for perturbations
        self.instruction, self.paraphrase = task.instructions[0], paraphrase
        self._world = self._make_world()
        sampler = self._world.placement_initializer
        leaves = list(getattr(sampler, "samplers", {"": sampler}).values())
        self._places = [(leaf, list(leaf.x_range), list(leaf.y_range)) for leaf in leaves]
        if not task.walled:
            self.spread = 1.0  # of initial places, for perturbations
        self.model = self._world.sim.model._model
        self._cache_addresses()
        # robosuite draws collision geometry as group 0 and what people should see as group 1.
        self._views = OffscreenRenderer(self.model, CAMERAS, self.image_size, geom_groups=(1,))
        self._picture = OffscreenRenderer(self.model, {"agentview": CAMERAS["agentview"]}, 256, geom_groups=(1,))
        self._last_action = np.zeros(5, np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (5,), np.float32)
        targets = len(task.bias) - 4
        box = {"agent_pos": 26, "estimate": 5 + targets, "environment_state": 20 + 2 * targets}
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
        self._object = model.body(self.task.body).id
        self._object_velocity = int(model.jnt_dofadr[model.body(self.task.body).jntadr[0]])
        self._object_geoms = {geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == self._object}
        self._finger_geoms = [
            {model.geom(f"gripper0_right_finger{side}_{part}").id for part in ("collision", "pad_collision")}
            for side in (1, 2)
        ]

    # ------------------------------------------------------------------ what a task says of itself

    def _make_world(self) -> Any:
        """robosuite's environment, by `make_world`."""
        raise NotImplementedError

    def _progress(self) -> tuple[int, float]:
        """Stages reached (4 is success) and oracle progress of the present state."""
        raise NotImplementedError

    def _grasp_point(self) -> np.ndarray:
        """Where the object is to be grasped, world frame [m] (3)."""
        return self._data.xpos[self._object]

    def _target(self) -> np.ndarray:
        """Where the object has to go, minus where it is, base frame [m] (T)."""
        return np.zeros(0)

    def _velocity(self) -> np.ndarray:
        """The object's linear and angular velocity [m/s, rad/s] (6)."""
        return self._data.qvel[self._object_velocity : self._object_velocity + 6]

    # ------------------------------------------------------------------ gymnasium

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw a new scene. There is one object: `options={"target": 0}` is the only target."""
        super().reset(seed=seed)
        target = (options or {}).get("target", 0)
        if target != 0:
            raise ValueError(f"reset option target={target} is unknown; {self.task.name} has one object, target 0")
        rng = self.np_random
        # Placement and the joints' initial noise are robosuite's, drawn from this episode's generator.
        sampler = self._world.placement_initializer
        for drawing in (self._world, sampler, *getattr(sampler, "samplers", {}).values()):
            drawing.rng = rng
        if hasattr(self, "spread"):
            for leaf, x_range, y_range in self._places:
                leaf.x_range, leaf.y_range = _spread(x_range, self.spread), _spread(y_range, self.spread)
        self._world.reset()
        # One period at rest: until the arm is powered, the wrist's sensor reads its fall.
        self._world.step(np.zeros(7))
        self._data = self._world.sim.data._data
        self._bias = self.estimate_error * rng.uniform(-1, 1, len(self.task.bias)) * self.task.bias
        wording = int(rng.integers(len(self.task.instructions)))  # drawn either way: the scene does not depend on it
        self.instruction = self.task.instructions[wording if self.paraphrase else 0]
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
        """Every view (uint8, image_size square), whether or not it is part of the observation."""
        return self._views.render(self._data)

    def close(self) -> None:
        """Free the rendering contexts."""
        self._views.close()
        self._picture.close()

    # ------------------------------------------------------------------ simulation

    def _tilt_correction(self) -> np.ndarray:
        """Rotation inputs about x and y that turn the hand back to pointing down, in [-1, 1]."""
        approach = self._hand_rotation()[:, 2]
        return np.clip(np.cross(approach, [0.0, 0.0, -1.0])[:2] / _ROTATION_UNIT, -1.0, 1.0)

    def _hand_rotation(self) -> np.ndarray:
        """Columns: the fingers' opening direction, the horizontal one across it, the approach direction (3, 3)."""
        return self._data.site_xmat[self._site].reshape(3, 3)

    def _grasp_offset(self) -> np.ndarray:
        """Grasping point minus grip point, base frame [m] (3)."""
        return self._grasp_point() - self._data.site_xpos[self._site]

    def _gap(self) -> float:
        return float(self._data.qpos[7] - self._data.qpos[8])

    def _wrench(self) -> np.ndarray:
        """Force and torque the wrist's sensor reads, the force without the gripper's own weight, in its frame."""
        wrench = self._data.sensordata[:6].copy()
        wrench[:3] += self._data.site_xmat[self._sensor].reshape(3, 3).T @ [0.0, 0.0, -self._gripper_weight]
        return wrench

    def _fingers_on_object(self) -> bool:
        contact = self._data.contact
        touching = [False, False]
        for pair in contact.geom[: self._data.ncon].tolist():
            if self._object_geoms.isdisjoint(pair):
                continue
            for side, geoms in enumerate(self._finger_geoms):
                touching[side] |= not geoms.isdisjoint(pair)
        return all(touching)

    # ------------------------------------------------------------------ what is seen

    def _info(self) -> dict[str, Any]:
        stage, progress = self._progress()
        return {
            "stage": stage,
            "progress_oracle": progress,
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
        position = data.site_xpos[self._site] - self._world.robots[0].base_pos
        agent_pos = np.concatenate(
            [data.qpos[:7], position, quaternion, [self._gap()], self._wrench(), self._last_action]
        )
        offset, target = self._grasp_offset(), self._target()
        thing = data.xmat[self._object]
        turn = np.arctan2(thing[3], thing[0]) - np.arctan2(rotation[3], rotation[0])
        noise = self.np_random.normal(size=len(self._bias)) * self.task.noise
        seen = np.array([*offset, turn, *target]) + self._bias + noise
        angle = self.task.turns_alike * seen[3]
        pose = [data.xpos[self._object], data.xquat[self._object]]
        truth = np.concatenate([*pose, self._velocity(), offset, target, self._bias])
        observation: dict[str, Any] = {
            "agent_pos": agent_pos.astype(np.float32),
            "estimate": np.array([*seen[:3], np.cos(angle), np.sin(angle), *seen[4:]], np.float32),
            "environment_state": truth.astype(np.float32),
        }
        if self.cameras:
            frames = self.render_views()
            observation["pixels"] = {name: frames[name] for name in self.cameras}
        return observation


def _spread(limits: list[float], times: float) -> list[float]:
    """An interval so many times as wide about its middle; itself, to the bit, at once."""
    low, high = limits
    widen = (high - low) / 2 * (times - 1)
    return [low - widen, high + widen]


def make_world(name: str, placement: Callable[[], Any] | None = None, **settings: Any) -> Any:
    """robosuite's own task without its renderer and its sensors (slow, and the renderer returns garbage frames).

    Args:
        name: robosuite's name of the task.
        placement: makes the placement sampler, called once robosuite is known to be there; None is robosuite's own.
        settings: further arguments of `robosuite.make`.
    """
    # robosuite logs its missing optional parts on import; its errors stay audible.
    logging.getLogger("robosuite_logs").addFilter(_errors_only)
    try:
        import robosuite
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs robosuite ({error.name} is missing): pip install 'robo_reward[robosuite]'", name="robosuite"
        ) from error
    if placement is not None:
        settings["placement_initializer"] = placement()
    world = robosuite.make(
        name,
        robots="Panda",
        controller_configs=robosuite.load_composite_controller_config(controller="BASIC", robot="Panda"),
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        renderer="mujoco",
        control_freq=CONTROL_HZ,
        ignore_done=True,
        hard_reset=False,
        seed=0,  # fixes the object's size; every reset brings its own generator
        **settings,
    )
    for observable in world.observation_names:
        world.modify_observable(observable, "enabled", False)
    return world


def _errors_only(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
