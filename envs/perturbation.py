"""Controlled departures from the world a policy was trained in: one axis at a time, in severities 1, 2 and 3.

The initial states stay those of the seed, so perturbed and unperturbed episodes are paired; what a perturbation draws
comes from the seed too. `visual` axes change only what cameras see: a policy that has no camera cannot notice them,
a reward model can.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np

from robo_reward.settings import unknown

SEVERITIES = (1, 2, 3)
Draw = Callable[[Any, np.random.Generator, int], None]
"""Changes a `mujoco.MjModel` in place, with draws of its own, by a severity."""


def friction(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Sliding friction of every contact 1.4, 2 or 2.8 times as large or as small."""
    model.geom_friction[:, 0] *= 2.0 ** (rng.choice([-0.5, 0.5]) * severity)


def mass(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Mass and inertia of every free object 1.5, 2.2 or 3.4 times as large or as small."""
    factor = 1.5 ** (rng.choice([-1, 1]) * severity)
    for body in _free_bodies(model):
        model.body_mass[body] *= factor
        model.body_inertia[body] *= factor


def size(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Width of the free objects' boxes 1.5, 3 or 4.5 % larger: of PegInsert's 1 mm clearance .85, .7 or .55 mm stay."""
    bodies = set(_free_bodies(model))
    boxes = [g for g in range(model.ngeom) if model.geom_bodyid[g] in bodies and model.geom_type[g] == _BOX]
    if not boxes:
        raise ValueError("axis 'size' changes boxes, and no free object of this world is one: leave it out")
    model.geom_size[boxes, :2] *= 1 + 0.015 * severity


def lighting(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Light up to 20, 40 or 60 % brighter or darker, and up to .3, .6 or .9 m beside its place."""
    gain = 1 + 0.2 * severity * rng.uniform(-1, 1)
    model.light_diffuse[:] *= gain
    model.vis.headlight.diffuse[:] *= gain
    model.vis.headlight.ambient[:] *= gain
    model.light_pos[:] += 0.3 * severity * rng.uniform(-1, 1, model.light_pos.shape) * [1, 1, 0]


def background(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Tables, floors and walls up to a third, two thirds or wholly of a drawn colour, without their texture."""
    for geom in range(model.ngeom):
        if any(word in model.geom(geom).name for word in ("table", "floor", "wall", "bin")):
            colour = rng.uniform(0.1, 0.9, 3)
            model.geom_matid[geom] = -1
            model.geom_rgba[geom, :3] += severity / 3 * (colour - model.geom_rgba[geom, :3])


def camera_pose(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Every camera up to 1, 2 or 3 cm and degrees off in each direction."""
    model.cam_pos[:] += 0.01 * severity * rng.uniform(-1, 1, model.cam_pos.shape)
    for camera in range(model.ncam):
        x, y, z = np.radians(severity) * rng.uniform(-1, 1, 3) / 2
        w, a, b, c = model.cam_quat[camera]
        turned = np.array([w - a * x - b * y - c * z, a + w * x + b * z - c * y,
                           b + w * y + c * x - a * z, c + w * z + a * y - b * x])  # fmt: skip
        model.cam_quat[camera] = turned / np.linalg.norm(turned)


_MODEL: dict[str, Draw] = {
    "friction": friction, "mass": mass, "size": size, "lighting": lighting, "background": background,
    "camera_pose": camera_pose,
}  # fmt: skip
_FIELDS = (
    "geom_friction", "geom_size", "geom_rgba", "geom_matid", "body_mass", "body_inertia", "light_diffuse", "light_pos",
    "cam_pos", "cam_quat",
)  # fmt: skip
_HEADLIGHT = ("diffuse", "ambient")
VISUAL = ("lighting", "background", "camera_pose", "camera_noise", "camera_dropped")
PHYSICAL = (
    "friction",
    "mass",
    "size",
    "layout",
    "perception",
    "observation_latency",
    "action_latency",
    "control_noise",
)
AXES = (*PHYSICAL, *VISUAL)
_BOX = 6  # mjtGeom.mjGEOM_BOX


class Perturbed(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """A MuJoCo world of this project with one axis perturbed.

    Beside the functions above that change the model: `layout`, initial places spread 1.2, 1.4 or 1.6 times as far;
    `perception`, errors of the estimates 1.5, 2 or 2.5 times as large; `observation_latency` and `action_latency`,
    1, 2 or 3 periods; `control_noise`, normal noise of .1, .2 or .3 of the action's range; `camera_noise`, of 10, 20
    or 30 grey levels a pixel; `camera_dropped`, the first 1, 2 or 3 views black.

    Args:
        env: the world, with `unwrapped.model`, and `render_views` for the visual axes.
        axis: one of `AXES`.
        severity: 1, 2 or 3.

    Raises:
        ValueError: unknown axis or severity, or an axis that this world does not have.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], axis: str, severity: int) -> None:
        if axis not in AXES:
            raise ValueError(unknown("perturbation axis", axis, AXES))
        if severity not in SEVERITIES:
            raise ValueError(f"severity {severity} of axis '{axis}' is unknown: choose 1, 2 or 3")
        gymnasium.utils.RecordConstructorArgs.__init__(self, axis=axis, severity=severity)
        super().__init__(env)
        self.axis, self.severity = axis, severity
        world: Any = env.unwrapped
        attribute = {"layout": "spread", "perception": "estimate_error"}.get(axis)
        if attribute is not None:
            if not hasattr(world, attribute):
                raise ValueError(f"axis '{axis}' is not defined for {type(world).__name__}: leave it out")
            setattr(world, attribute, getattr(world, attribute) * (1 + (0.2 if axis == "layout" else 0.5) * severity))
        self._nominal = {name: getattr(world.model, name).copy() for name in _FIELDS}
        self._headlight = {name: getattr(world.model.vis.headlight, name).copy() for name in _HEADLIGHT}
        if axis in _MODEL:
            _MODEL[axis](world.model, np.random.default_rng(0), severity)  # an axis that this world lacks fails now
            self.restore()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The seed's own initial state, in the perturbed world."""
        self._rng = np.random.default_rng([AXES.index(self.axis), 0 if seed is None else seed])
        self.restore()
        if self.axis in _MODEL:
            world: Any = self.env.unwrapped
            _MODEL[self.axis](world.model, self._rng, self.severity)
        observation, info = self.env.reset(seed=seed, options=options)
        late = self.severity + 1
        self._observations: deque[Any] = deque([observation] * late, late)
        self._actions: deque[np.ndarray] = deque(maxlen=late)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One period; `info["executed_action"]` is what the world was asked to do in it."""
        action = np.asarray(action, np.float32)
        if self.axis == "control_noise":
            noise = 0.1 * self.severity * self._rng.normal(size=action.shape)
            action = np.clip(action + noise, -1.0, 1.0).astype(np.float32)
        if self.axis == "action_latency":
            self._actions.append(action)
            action = self._actions[0] if len(self._actions) > self.severity else np.zeros_like(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._observations.append(observation)
        if self.axis == "observation_latency":
            observation = self._observations[0]
        return observation, float(reward), terminated, truncated, info

    def render_views(self) -> dict[str, np.ndarray]:
        """The cameras' frames as the perturbed cameras see them."""
        views: Mapping[str, np.ndarray] = self.env.get_wrapper_attr("render_views")()
        if self.axis == "camera_dropped":
            return {v: np.zeros_like(f) if i < self.severity else f for i, (v, f) in enumerate(views.items())}
        if self.axis == "camera_noise":
            return {v: self._noisy(f) for v, f in views.items()}
        return dict(views)

    def _noisy(self, frame: np.ndarray) -> np.ndarray:
        return np.clip(frame + 10.0 * self.severity * self._rng.normal(size=frame.shape), 0, 255).astype(np.uint8)

    def restore(self) -> None:
        """Give the model back its nominal values, until the next reset."""
        world: Any = self.env.unwrapped
        for name, value in self._nominal.items():
            getattr(world.model, name)[:] = value
        for name, value in self._headlight.items():
            getattr(world.model.vis.headlight, name)[:] = value


def _free_bodies(model: Any) -> list[int]:
    """Bodies on a free joint: the objects."""
    return [int(model.jnt_bodyid[joint]) for joint in range(model.njnt) if model.jnt_type[joint] == 0]
