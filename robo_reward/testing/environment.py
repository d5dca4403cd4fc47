"""Conformance kit of the environment interface: what every world of this project promises, as checks.

A world is a `gymnasium.Env` with the observation, action and info of `robo_reward.interfaces`; `make_env` builds it
and accepts `cameras=(...)`. Each check raises AssertionError saying what was promised and what came instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

STAGES = 4
MakeEnv = Callable[..., gymnasium.Env[Any, Any]]


def check_spaces(make_env: MakeEnv) -> None:
    """Action in [-1, 1]; float32 vectors; no pixels unless asked for; every observation finite and in its space."""
    env = make_env()
    action = env.action_space
    assert isinstance(action, spaces.Box) and action.dtype == np.float32 and len(action.shape) == 1, action
    assert np.all(action.low == -1) and np.all(action.high == 1), f"actions must span [-1, 1], not {action}"
    assert isinstance(env.observation_space, spaces.Dict), env.observation_space
    assert set(env.observation_space) == {"agent_pos", "estimate", "environment_state"}, env.observation_space
    action.seed(0)
    observation, _ = env.reset(seed=0)
    for _ in range(5):
        assert env.observation_space.contains(observation), "an observation lies outside the observation space"
        for name, value in observation.items():
            assert value.dtype == np.float32 and value.ndim == 1, f"{name} must be a float32 vector"
            assert np.isfinite(value).all(), f"{name} holds a non-finite value"
        observation = env.step(action.sample())[0]
    env.close()


def check_gymnasium(make_env: MakeEnv) -> None:
    """Gymnasium's own checker accepts the world."""
    env = make_env()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*infinity.*")  # poses and forces have no honest bound
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def check_determinism(make_env: MakeEnv) -> None:
    """The same seed and actions give the same episode bit for bit, in a used world and in a fresh one, seen or not."""
    env, fresh = make_env(), make_env()
    first = _roll(env, seed=11)
    _roll(env, seed=12)
    _assert_equal(first, _roll(env, seed=11), "a world that was used in between")
    _assert_equal(first, _roll(fresh, seed=11, look=True), "a fresh world that is looked at")
    other = _roll(env, seed=12)
    assert not np.array_equal(first[0][0]["environment_state"], other[0][0]["environment_state"]), (
        "two seeds gave the same scene"
    )
    env.close()
    fresh.close()


def check_info(make_env: MakeEnv) -> None:
    """info says stage, oracle progress, success, contact force and instruction; a step also what was executed."""
    env = make_env()
    env.action_space.seed(1)
    _, info = env.reset(seed=1)
    _check_info(info, env)
    for _ in range(20):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        _check_info(info, env)
        executed = info["executed_action"]
        assert env.action_space.contains(executed), f"executed_action {executed} is no action"
        assert terminated == info["is_success"], "success must terminate, and nothing else may"
        assert (float(reward) > 0) == info["is_success"], f"reward {reward} without success, or none with it"
        if terminated or truncated:
            break
    env.close()


def check_truncation(make_env: MakeEnv) -> None:
    """An idle episode is truncated by the world itself at its horizon, not terminated."""
    env = make_env()
    env.reset(seed=2)
    idle = np.zeros(env.action_space.shape or (), np.float32)
    horizon = env.unwrapped.horizon  # type: ignore[attr-defined]
    for step in range(1, horizon + 1):
        _, _, terminated, truncated, _ = env.step(idle)
        assert not terminated, f"an idle episode terminated at step {step}"
        assert truncated == (step == horizon), f"truncated={truncated} at step {step} of {horizon}"
    env.close()


def check_bad_actions(make_env: MakeEnv) -> None:
    """An action that is NaN, infinite, outside [-1, 1] or misshapen raises a one-line ValueError and moves nothing."""
    env = make_env()
    size = env.action_space.shape[0]  # type: ignore[index]
    nothing = np.zeros(size, np.float32)
    env.reset(seed=3)
    expected = env.step(nothing)[0]
    env.reset(seed=3)
    for bad in (np.full(size, np.nan), np.full(size, np.inf), np.full(size, 1.01), np.zeros(size + 1), np.float32(0)):
        try:
            env.step(bad)
        except ValueError as error:
            assert "\n" not in str(error), f"the message for {bad} has more than one line"
        else:
            raise AssertionError(f"action {bad} was accepted")
    _assert_equal(expected, env.step(nothing)[0], "a world that refused actions")
    env.close()


def check_ownership(make_env: MakeEnv) -> None:
    """A step leaves the action it was given and the observations it gave before as they were."""
    env = make_env()
    action = np.full(env.action_space.shape or (), 0.5, np.float32)
    before, _ = env.reset(seed=4)
    kept = {name: value.copy() for name, value in before.items()}
    _, _, _, _, info = env.step(action)
    executed = info["executed_action"].copy()
    _assert_equal(kept, before, "an observation after the next step")
    assert np.all(action == 0.5), "step changed the action it was given"
    env.step(-action)
    assert np.array_equal(info["executed_action"], executed), "step changed an earlier executed_action"
    env.close()


def check_views(make_env: MakeEnv) -> None:
    """`render_views` works without cameras; asked-for cameras are those frames; an unknown camera is named."""
    env = make_env()
    env.reset(seed=5)
    views = env.unwrapped.render_views()  # type: ignore[attr-defined]
    assert views, "render_views returned no view"
    for name, frame in views.items():
        assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3, f"view {name} is no RGB frame"
        assert frame.std() > 1, f"view {name} is blank"
    _assert_equal(views, env.unwrapped.render_views(), "a second look")  # type: ignore[attr-defined]
    one = next(iter(views))
    seeing = make_env(cameras=(one,))
    pixels = seeing.reset(seed=5)[0]["pixels"]
    assert set(pixels) == {one} and set(seeing.observation_space["pixels"]) == {one}  # type: ignore[index]
    _assert_equal(pixels[one], views[one], f"the observed view {one}")
    seeing.close()
    env.close()
    try:
        make_env(cameras=("no such camera",))
    except ValueError as error:
        assert all(name in str(error) for name in ("no such camera", *views)), f"it must list the cameras: {error}"
    else:
        raise AssertionError("an unknown camera was accepted")


CHECKS = (
    check_spaces,
    check_gymnasium,
    check_determinism,
    check_info,
    check_truncation,
    check_bad_actions,
    check_ownership,
    check_views,
)


def check_world(make_env: MakeEnv) -> None:
    """Run every check; AssertionError names the first promise that is broken."""
    for check in CHECKS:
        check(make_env)


def _check_info(info: dict[str, Any], env: gymnasium.Env[Any, Any]) -> None:
    stage, oracle = info["stage"], info["progress_oracle"]
    assert isinstance(stage, int) and 0 <= stage <= STAGES, f"stage {stage!r} is no int in 0..{STAGES}"
    assert stage / STAGES <= oracle <= min(1.0, (stage + 1) / STAGES), f"progress_oracle {oracle} in stage {stage}"
    assert info["is_success"] is (stage == STAGES), f"is_success {info['is_success']!r} in stage {stage}"
    assert np.isfinite(info["contact_force"]) and info["contact_force"] >= 0, f"force {info['contact_force']}"
    instruction = info["instruction"]
    assert isinstance(instruction, str) and instruction, f"instruction {instruction!r} is no text"
    assert instruction == env.unwrapped.instruction  # type: ignore[attr-defined]


def _roll(env: gymnasium.Env[Any, Any], seed: int, look: bool = False, steps: int = 15) -> list[Any]:
    """Everything that a short random episode returned."""
    rng = np.random.default_rng(seed)
    seen: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        if look:
            env.unwrapped.render_views()  # type: ignore[attr-defined]
        seen.append(env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)))
        if seen[-1][2] or seen[-1][3]:
            break
    return seen


def _assert_equal(expected: Any, got: Any, what: str) -> None:
    try:
        np.testing.assert_equal(got, expected)
    except AssertionError as error:
        raise AssertionError(f"{what} gave something else: {error}") from None
