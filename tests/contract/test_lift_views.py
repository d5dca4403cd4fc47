"""Lift's views are right, and stay right when other renderers of the process come and go."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from robo_reward.envs.robosuite_lift import LiftEnv

pytest.importorskip("robosuite")


@pytest.fixture(scope="module")
def env():
    env = LiftEnv()
    yield env
    env.close()


def test_views_need_not_be_in_the_observation(env):
    env.reset(seed=0)
    views = env.render_views()
    assert set(views) == {"agentview", "wrist"}
    assert all(frame.shape == (84, 84, 3) and frame.dtype == np.uint8 and frame.std() > 5 for frame in views.values())
    seeing = LiftEnv(cameras=("wrist",))
    observation, _ = seeing.reset(seed=0)
    assert set(observation["pixels"]) == {"wrist"}
    np.testing.assert_array_equal(observation["pixels"]["wrist"], views["wrist"])
    seeing.close()


def test_views_show_the_red_cube_the_right_way_up(env):
    env.reset(seed=0)
    for _ in range(10):
        env.step(np.array([0, 0, 1, 0, 0], np.float32))
    frame = env.render_views()["agentview"].astype(int)
    red = (frame[..., 0] > 100) & (frame[..., 1] < 90) & (frame[..., 2] < 90)
    assert 20 < red.sum() < 400
    # The hand is above the cube, so darker than the bright table: it must be in the upper rows.
    assert frame[:20].mean() < frame[-20:].mean() - 30


def test_views_stay_right_when_other_worlds_come_and_go(env):
    """robosuite's renderer fails here: a collected context frees the objects of whichever context is current."""
    env.reset(seed=3)
    wanted = env.render_views()

    def unchanged():
        return all(np.array_equal(frame, wanted[view]) for view, frame in env.render_views().items())

    other = LiftEnv()
    other.reset(seed=4)
    theirs = other.render_views()
    assert not np.array_equal(theirs["wrist"], wanted["wrist"]) and unchanged()
    del other  # never closed: the collector frees it, here between two frames
    gc.collect()
    assert unchanged()
    closed = LiftEnv()
    closed.reset(seed=4)
    np.testing.assert_array_equal(closed.render_views()["wrist"], theirs["wrist"])
    closed.close()
    gc.collect()
    assert unchanged()
    env.close()  # and frees its own: the next frame opens a context anew
    assert unchanged()


CONTROL = """
import gc, json, logging
logging.getLogger("robosuite_logs").disabled = True
import numpy as np, robosuite
from robo_reward.envs.robosuite_lift import LiftEnv

def uncured():
    world = robosuite.make("Lift", robots="Panda", has_renderer=False, has_offscreen_renderer=True,
                           use_camera_obs=False, hard_reset=False, renderer="mujoco", seed=0)
    world.reset()
    return world

def frame(world):
    return np.array(world.sim.render(camera_name="agentview", width=84, height=84))

cured = LiftEnv()
cured.reset(seed=0)
before_cured = cured.render_views()["agentview"]
first, second = uncured(), uncured()
before = frame(second)
stable = np.array_equal(before, frame(second))
first.close()
del first
gc.collect()
after = frame(second)
same_cured = np.array_equal(cured.render_views()["agentview"], before_cured)
del second
gc.collect()
same_cured = same_cured and np.array_equal(cured.render_views()["agentview"], before_cured)
print(json.dumps({"stable": stable, "uncured_changed": not np.array_equal(before, after), "same_cured": same_cured}))
"""


def test_robosuites_own_renderer_shows_the_fault_that_this_one_does_not():
    done = subprocess.run([sys.executable, "-c", CONTROL], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    assert seen["same_cured"]
    if not (seen["stable"] and seen["uncured_changed"]):
        pytest.skip("robosuite's own renderer returned equal frames here, so the fault cannot be shown")


def test_no_opengl_is_said_in_one_line(env, monkeypatch):
    def broken(*_):
        raise RuntimeError("no\ndisplay")

    backend = os.environ.get("MUJOCO_GL") or "egl"
    monkeypatch.setattr(f"mujoco.{backend}.GLContext", broken)
    env.reset(seed=0)
    env.close()
    with pytest.raises(ValueError, match=f"MUJOCO_GL={backend} .*no display.*libegl1") as refused:
        env.render_views()
    assert "\n" not in str(refused.value)
