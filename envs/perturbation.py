"""Controlled departures from the world a policy was trained in: one axis at a time, in severities 1, 2 and 3; or, for
training, several at severities drawn anew in every episode.

The initial states stay those of the seed, so perturbed and unperturbed episodes are paired; what a perturbation draws
comes from the seed too. `VISUAL` axes change only what cameras see and what the task is called: a policy that has no
camera and reads nothing cannot notice them, a reward model can.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
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
    for body in _objects(model, "mass"):
        model.body_mass[body] *= factor
        model.body_inertia[body] *= factor


def size(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Width of the free objects' boxes 1.5, 3 or 4.5 % larger: of PegInsert's 1 mm clearance .85, .7 or .55 mm stay."""
    bodies = set(_free_bodies(model))
    boxes = [g for g in range(model.ngeom) if model.geom_bodyid[g] in bodies and model.geom_type[g] == _BOX]
    if not boxes:
        raise ValueError("axis 'size' changes boxes, and no free object of this world is one: leave it out")
    _resize(model, boxes, np.array([1 + 0.015 * severity] * 2 + [1.0]))


def another_object(model: Any, rng: np.random.Generator, severity: int) -> None:
    """Free objects of another colour, up to 1, 2 or 3 % larger or smaller along each side and up to 1.2, 1.4 or 1.6
    times as heavy or as light; meshes keep their shape."""
    factor = float(np.clip(1 + 0.2 * severity, 1, None) ** rng.uniform(-1, 1))
    colour, stretch = rng.uniform(0.1, 0.9, 3), 1 + 0.01 * severity * rng.uniform(-1, 1, 3)
    bodies = _objects(model, "object")
    model.body_mass[bodies] *= factor
    model.body_inertia[bodies] *= factor
    geoms = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] in bodies]
    model.geom_matid[geoms] = -1
    model.geom_rgba[geoms, :3] = colour
    _resize(model, [geom for geom in geoms if model.geom_type[geom] != _MESH], stretch)


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
    "friction": friction, "mass": mass, "size": size, "object": another_object, "lighting": lighting,
    "background": background, "camera_pose": camera_pose,
}  # fmt: skip
_FIELDS = (
    "geom_friction", "geom_size", "geom_rbound", "geom_aabb", "bvh_aabb", "geom_rgba", "geom_matid", "body_mass",
    "body_inertia", "light_diffuse", "light_pos", "cam_pos", "cam_quat",
)  # fmt: skip
_HEADLIGHT = ("diffuse", "ambient")
VISUAL = ("lighting", "background", "camera_pose", "camera_noise", "camera_dropped", "instruction")
PHYSICAL = (
    "object",
    "layout",
    "friction",
    "mass",
    "size",
    "perception",
    "observation_latency",
    "action_latency",
    "control_noise",
)
AXES = (*PHYSICAL, *VISUAL)
_BOX, _MESH = 6, 7  # mjtGeom
_ATTRIBUTES = {"layout": ("spread", 0.2), "perception": ("estimate_error", 0.5)}
"""Axis -> the world's attribute and by how much it grows with each severity."""


def check_axis(axis: str, what: str = "perturbation axis") -> None:
    """ValueError with the nearest known axis, where this is none."""
    if axis not in AXES:
        raise ValueError(unknown(what, axis, AXES))


class Perturbed(gymnasium.Wrapper[Any, Any, Any, Any], gymnasium.utils.RecordConstructorArgs):
    """A MuJoCo world of this project with one axis perturbed.

    Beside the functions above that change the model: `layout`, initial places spread 1.2, 1.4 or 1.6 times as far;
    `perception`, errors of the estimates 1.5, 2 or 2.5 times as large; `observation_latency` and `action_latency`,
    1, 2 or 3 periods; `control_noise`, normal noise of .1, .2 or .3 of the action's range; `camera_noise`, of 10, 20
    or 30 grey levels a pixel; `camera_dropped`, the first 1, 2 or 3 views black; `instruction`, in other words, see
    `paraphrase`.

    Args:
        env: the world, with `unwrapped.model`, and `render_views` for the visual axes.
        axis: one of `AXES`.
        severity: 1, 2 or 3.

    Raises:
        ValueError: unknown axis or severity, or an axis that this world does not have.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], axis: str, severity: int) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, axis=axis, severity=severity)
        super().__init__(env)
        if severity not in SEVERITIES:
            raise ValueError(f"severity {severity} of axis '{axis}' is unknown: choose 1, 2 or 3")
        self._prepare({axis: severity})

    def _prepare(self, severities: dict[str, int]) -> None:
        """Keep the nominal values; an axis that is unknown or that this world lacks fails now."""
        self.severities = severities
        world: Any = self.env.unwrapped
        self._nominal = {name: getattr(world.model, name).copy() for name in _FIELDS}
        self._headlight = {name: getattr(world.model.vis.headlight, name).copy() for name in _HEADLIGHT}
        self._attributes = {name: getattr(world, name) for name, _ in _ATTRIBUTES.values() if hasattr(world, name)}
        for axis in severities:
            check_axis(axis)
            if axis in _ATTRIBUTES and _ATTRIBUTES[axis][0] not in self._attributes:
                raise ValueError(f"axis '{axis}' is not defined for {type(world).__name__}: leave it out")
        self._number = -1
        """The seed of the episode, or how many there have been since one was given."""
        self._change(0)
        self.restore()

    def _begin(self, number: int) -> None:
        """An episode of this number begins."""

    def _change(self, seed: int) -> None:
        """Make the world the perturbed one of this seed."""
        world: Any = self.env.unwrapped
        for axis, severity in self.severities.items():
            if severity and axis in _ATTRIBUTES:
                name, growth = _ATTRIBUTES[axis]
                setattr(world, name, self._attributes[name] * (1 + growth * severity))
            elif severity and axis in _MODEL:
                _MODEL[axis](world.model, np.random.default_rng([AXES.index(axis), seed]), severity)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The seed's own initial state, in the perturbed world; without a seed, another perturbation every time."""
        number = self._number = self._number + 1 if seed is None else seed
        self._begin(number)
        self._rng = np.random.default_rng([len(AXES), number])
        self.restore()
        self._change(number)
        observation, info = self.env.reset(seed=seed, options=options)
        self._observations: deque[Any] = deque([observation] * (max(SEVERITIES) + 1), max(SEVERITIES) + 1)
        self._actions: deque[np.ndarray] = deque(maxlen=max(SEVERITIES) + 1)
        return observation, self._named(info)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One period; `info["executed_action"]` is what the world was asked to do in it."""
        action = np.asarray(action, np.float32)
        if level := self.severities.get("control_noise", 0):
            noise = 0.1 * level * self._rng.normal(size=action.shape)
            action = np.clip(action + noise, -1.0, 1.0).astype(np.float32)
        self._actions.append(action)
        if level := self.severities.get("action_latency", 0):
            action = self._actions[-1 - level] if len(self._actions) > level else np.zeros_like(action)
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._observations.append(observation)
        observation = self._observations[-1 - self.observation_latency]
        return observation, float(reward), terminated, truncated, self._named(info)

    @property
    def observation_latency(self) -> int:
        """Periods by which what is observed is late."""
        return self.severities.get("observation_latency", 0)

    def render_views(self) -> dict[str, np.ndarray]:
        """The cameras' frames as the perturbed cameras see them."""
        views: Mapping[str, np.ndarray] = self.env.get_wrapper_attr("render_views")()
        if level := self.severities.get("camera_noise", 0):
            views = {v: self._noisy(f, level) for v, f in views.items()}
        dropped = self.severities.get("camera_dropped", 0)
        return {v: np.zeros_like(f) if i < dropped else f for i, (v, f) in enumerate(views.items())}

    def _noisy(self, frame: np.ndarray, level: int) -> np.ndarray:
        return np.clip(frame + 10.0 * level * self._rng.normal(size=frame.shape), 0, 255).astype(np.uint8)

    def _named(self, info: dict[str, Any]) -> dict[str, Any]:
        level = self.severities.get("instruction", 0)
        return {**info, "instruction": paraphrase(info["instruction"], level)} if level else info

    def restore(self) -> None:
        """Give the world back its nominal values, until the next reset."""
        world: Any = self.env.unwrapped
        for name, value in self._nominal.items():
            getattr(world.model, name)[:] = value
        for name, value in self._headlight.items():
            getattr(world.model.vis.headlight, name)[:] = value
        for name, value in self._attributes.items():
            setattr(world, name, value)


class Randomised(Perturbed):
    """A world for training: the severity of each axis is drawn anew in every episode, 0 (as it was) to 3 alike.

    Args:
        env: as `Perturbed`.
        axes: of `AXES`.

    Raises:
        ValueError: as `Perturbed`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], axes: Sequence[str]) -> None:
        gymnasium.utils.RecordConstructorArgs.__init__(self, axes=axes)
        gymnasium.Wrapper.__init__(self, env)
        self._prepare(dict.fromkeys(axes, max(SEVERITIES)))

    def _begin(self, number: int) -> None:
        rng = np.random.default_rng([len(AXES) + 1, number])
        self.severities = {axis: int(rng.integers(max(SEVERITIES) + 1)) for axis in self.severities}


_WORDS = (
    {"insert": "put", "put": "place", "place": "put", "lift": "raise", "stack": "set", "open": "pull open",
     "pick": "take"},
    {"peg": "pin", "socket": "hole", "cube": "block", "nut": "ring", "can": "tin", "bin": "box", "door": "cupboard"},
)  # fmt: skip


def paraphrase(instruction: str, severity: int) -> str:
    """An instruction in other words: another verb (severity 1), other nouns as well (2), and talked round (3)."""
    words = instruction.split()
    for table in _WORDS[:severity]:
        words = [table.get(word, word) for word in words]
    text = " ".join(words)
    return f"please go ahead and {text} now" if severity >= len(SEVERITIES) else text


def _resize(model: Any, geoms: list[int], factor: np.ndarray) -> None:
    """Stretch geoms along their sides. The search for contacts prunes by bounds that were made for the nominal sizes:
    they grow along, by more than they need, else a larger box is found only where the nominal one touches."""
    before = model.geom_size[geoms].copy()
    model.geom_size[geoms] *= factor
    more = 2.0 * np.abs(model.geom_size[geoms] - before).max(initial=0.0)
    model.geom_rbound[geoms] += more
    model.geom_aabb[geoms, 3:] += more
    for body in {int(model.geom_bodyid[geom]) for geom in geoms}:
        first = model.body_bvhadr[body]
        model.bvh_aabb[first : first + model.body_bvhnum[body], 3:] += more


def _objects(model: Any, axis: str) -> list[int]:
    """The free bodies, for an axis that changes nothing where there are none."""
    if not (bodies := _free_bodies(model)):
        raise ValueError(f"axis '{axis}' changes free objects, and this world has none: leave it out")
    return bodies


def _free_bodies(model: Any) -> list[int]:
    """Bodies on a free joint: the objects."""
    return [int(model.jnt_bodyid[joint]) for joint in range(model.njnt) if model.jnt_type[joint] == 0]
