"""System identification: the simulated arm of PegInsert fitted to what a real one did.

A log holds the target poses that were sent and the poses that were measured. The simulated arm is driven by the same
targets; its gains, damping, friction and latency are changed until it moves alike (Gauss-Newton on the poses, with
a loss that outliers sway little).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from robo_reward.data.arrays import read_arrays, write_arrays
from robo_reward.settings import build, number

UNIT = np.array([0.001, 0.001, 0.001, 0.01, 0.01, 0.01])
"""Errors that weigh alike: 1 mm and 10 mrad."""
_PRIOR = np.array([*[0.3] * 12, 0.5, 0.01])
"""Standard deviations that the fit starts from: logarithms of the factors, latency [s]. What a log says nothing about
stays as it is."""
_LARGEST, _LONGEST_S = 1.5, 0.04
"""How far a fit goes: logarithms of the factors, latency [s]."""
_STEP = np.array([*[0.05] * 12, 0.1, 0.002])


@dataclass(frozen=True)
class ArmParameters:
    """How an arm differs from the simulated one; the defaults are the simulated one."""

    stiffness: tuple[float, ...] = number((1.0,) * 6, low=0.05, high=20)
    """Factors of the Cartesian gains along x, y, z and about them."""
    damping: tuple[float, ...] = number((1.0,) * 6, low=0.05, high=20)
    friction: float = number(1.0, low=0.05, high=20)
    """Factor of the sliding friction of all contacts."""
    latency_s: float = number(0.0, low=0, high=0.04)
    """From a target's sending to its effect."""


@dataclass(frozen=True)
class ArmLog:
    """Targets and poses of one recording; times from its beginning, with the arm at rest [s]."""

    seed: int
    """Of the scene."""
    target_s: Float[np.ndarray, "N"]
    target: Float[np.ndarray, "N 6"]
    pose_s: Float[np.ndarray, "M"]
    pose: Float[np.ndarray, "M 6"]

    def save(self, path: Path) -> None:
        """As .npz, all or nothing: an interrupted recording is made again."""
        write_arrays(path, asdict(self))


def load_log(path: Path) -> ArmLog:
    """ValueError where the file is no log."""
    try:
        found = read_arrays(path)
        return ArmLog(seed=int(found["seed"]), **{n: found[n] for n in ("target_s", "target", "pose_s", "pose")})
    except (OSError, KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is no recording of an arm: give the .npz that identify wrote") from None


def save_parameters(parameters: ArmParameters, path: Path) -> None:
    """As JSON, for `env.arm`."""
    path.write_text(json.dumps(asdict(parameters), indent=1) + "\n", encoding="utf-8")


def load_parameters(path: str | Path) -> ArmParameters:
    """ValueError where the file does not hold an arm's parameters."""
    try:
        found = build(ArmParameters, json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, TypeError, AttributeError, json.JSONDecodeError):
        raise ValueError(f"env.arm={path}: no file of an arm's parameters; `robo-reward identify` writes one") from None
    except ValueError as error:
        raise ValueError(f"env.arm={path}: {error}") from None
    for name in ("stiffness", "damping"):
        if len(getattr(found, name)) != 6:
            raise ValueError(f"env.arm={path}: {name} has {len(getattr(found, name))} factors, expected 6")
    return found


def apply_parameters(env: Any, parameters: ArmParameters) -> None:
    """Make PegInsert's arm the one of these parameters; those that an earlier call gave it are replaced.

    Raises:
        ValueError: a world with another arm.
    """
    world = env.unwrapped
    if not hasattr(world, "command_delay"):
        raise ValueError(f"{type(world).__name__} has no arm that can be identified: env.arm= is for PegInsert")
    model = world.model
    if not hasattr(world, "nominal_arm"):
        parts = (model.actuator_gainprm[:6, 0], model.actuator_biasprm[:6, 1:3], model.geom_friction[:, 0])
        world.nominal_arm = tuple(part.copy() for part in parts)
    gain, bias, friction = world.nominal_arm
    model.actuator_gainprm[:6, 0] = gain * parameters.stiffness
    model.actuator_biasprm[:6, 1] = bias[:, 0] * parameters.stiffness
    model.actuator_biasprm[:6, 2] = bias[:, 1] * parameters.damping
    model.geom_friction[:, 0] = friction * parameters.friction
    world.command_delay = round(parameters.latency_s / model.opt.timestep)


def replay(env: Any, log: ArmLog, parameters: ArmParameters) -> Float[np.ndarray, "M 6"]:
    """Poses of the simulated arm at the log's times, driven by the log's targets.

    Args:
        env: a PegInsert world; its parameters stay changed.
        log: the recording.
        parameters: of the arm.
    """
    import mujoco

    apply_parameters(env, parameters)
    env.reset(seed=log.seed)
    world = env.unwrapped
    model, data, hz = world.model, world.data, 1 / world.model.opt.timestep
    at_target = np.ceil((log.target_s + parameters.latency_s) * hz - 1e-6).astype(int)
    at_pose = np.maximum(np.rint(log.pose_s * hz).astype(int), 0)
    poses, now, sent = np.zeros_like(log.pose, dtype=np.float64), 0, 0
    for n, step in enumerate(at_pose):
        while sent < len(at_target) and at_target[sent] < step:
            if at_target[sent] > now:
                mujoco.mj_step(model, data, nstep=int(at_target[sent] - now))
                now = int(at_target[sent])
            data.ctrl[:6] = log.target[sent]
            sent += 1
        if step > now:
            mujoco.mj_step(model, data, nstep=int(step - now))
            now = int(step)
        poses[n] = world._measured()
    return poses


def trajectory_error(env: Any, logs: Sequence[ArmLog], parameters: ArmParameters) -> dict[str, float]:
    """Root mean square of simulated minus measured pose: `position_mm` and `rotation_mrad`."""
    errors = np.concatenate([replay(env, log, parameters) - log.pose for log in logs])
    square = (errors**2).reshape(len(errors), 2, 3).sum(2).mean(0)
    return {"position_mm": 1e3 * float(np.sqrt(square[0])), "rotation_mrad": 1e3 * float(np.sqrt(square[1]))}


def fit(env: Any, logs: Sequence[ArmLog], rounds: int = 5) -> ArmParameters:
    """The parameters under which the simulated arm moves most like the logs.

    Args:
        env: a PegInsert world; its parameters stay changed.
        logs: recordings, some of them pressing and sliding if friction is to be found.
        rounds: of Gauss-Newton, at most.
    """

    def residual(theta: np.ndarray) -> np.ndarray:
        parts = [((replay(env, log, _parameters(theta)) - log.pose) / UNIT).ravel() for log in logs]
        whole = np.concatenate(parts)
        return np.concatenate([whole / np.sqrt(len(whole) / 100), theta / _PRIOR / 10])

    theta = np.zeros(14)
    now = residual(theta)
    for _ in range(rounds):
        # Pseudo-Huber: moments at which a busy computer lost time weigh little.
        scale = 2 * float(np.median(np.abs(now[:-14]))) + 1e-9
        before = _cost(now, scale)
        weight = (1 + (now / scale) ** 2) ** -0.25
        jacobian = np.stack([(residual(theta + step) - now) / step.max() for step in np.diag(_STEP)], axis=1)
        move = -np.linalg.lstsq(weight[:, None] * jacobian, weight * now, rcond=None)[0]
        for share in (1.0, 0.5, 0.25, 0.1):
            tried = np.clip(theta + share * move, -_LARGEST, _LARGEST)
            tried[13] = np.clip(tried[13], 0.0, _LONGEST_S)
            after = residual(tried)
            if _cost(after, scale) < before:
                break
        else:
            break
        small = _cost(after, scale) > 0.99 * before
        theta, now = tried, after
        if small:
            break
    return _parameters(theta)


def at_bounds(found: ArmParameters) -> list[str]:
    """What a fit would have taken further if it could: names of parameters, none where the fit can be believed."""
    factors = {"stiffness": found.stiffness, "damping": found.damping, "friction": (found.friction,)}
    stuck = [name for name, values in factors.items() if np.abs(np.log(values)).max() > 0.99 * _LARGEST]
    return [*stuck, *["latency"] * (found.latency_s > 0.99 * _LONGEST_S)]


def _cost(residual: np.ndarray, scale: float) -> float:
    return float(np.sum(np.sqrt(1 + (residual / scale) ** 2) - 1)) * scale**2


def _parameters(theta: np.ndarray) -> ArmParameters:
    factors = np.exp(theta[:13]).tolist()
    return ArmParameters(tuple(factors[:6]), tuple(factors[6:12]), factors[12], max(0.0, float(theta[13])))


class Excitation:
    """Acts on PegInsert so that a recording tells the parameters apart: jerks in the air, then presses and slides.

    Args:
        seed: of the jerks.
        free: actions in the air; as many may follow.
    """

    def __init__(self, seed: int, free: int = 120) -> None:
        self._rng, self._free, self._step = np.random.default_rng(seed), free, 0
        self._held, self._home = np.zeros(4), np.zeros(6)

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, None]:
        """An action of dx, dy, dz, dyaw in [-1, 1]."""
        pose = np.asarray(agent_pos[7:13], float)
        if self._step == 0:
            self._home = pose
        step, self._step = self._step, self._step + 1
        if step < self._free:
            if step % 4 == 0:  # back towards where it began, so that it stays in the air
                away = (self._home - pose)[[0, 1, 2, 5]] / [0.04, 0.04, 0.04, 0.3]
                self._held = np.clip(away + self._rng.choice([-1.0, 0.0, 1.0], 4), -1, 1)
            return self._held.astype(np.float32), None
        rim = np.asarray(estimate[:3], float) + [0.023, 0.0, 0.0]  # the middle of a socket's upper face
        away = rim - pose[:3]
        action = np.zeros(4)
        action[:2] = np.clip(away[:2] / 0.02, -1, 1)
        if np.abs(away[:2]).max() < 0.012 or pose[2] < rim[2] + 0.004:
            slide = np.sin((step - self._free) / 20 * 2 * np.pi)
            action[:] = [0.3 * away[0] / 0.01, 0.6 * slide + 0.3 * away[1] / 0.01, -0.5, 0.0]
        return np.clip(action, -1, 1).astype(np.float32), None
