"""The simulated arm fitted to one with hidden gains, and what `identify` refuses."""

import json

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the ids
from robo_reward.config import load_config

pytest.importorskip("mujoco")

from robo_reward.evaluation.identification import (
    ArmParameters,
    Excitation,
    apply_parameters,
    fit,
    load_log,
    load_parameters,
    replay,
    save_parameters,
    trajectory_error,
)
from robo_reward.runtime.identifying import identify
from robo_reward.runtime.tasks import make_env
from robo_reward.runtime.worlds import world_key
from robo_reward.testing.recorded_arm import record_sim_arm


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make("robo_reward/PegInsert-v0")
    yield made.unwrapped
    made.close()


def test_a_hidden_arm_is_found_from_its_motion(env):
    """sim_arm's gains and friction are drawn from its seed, and nothing here may look at them."""
    logs = [record_sim_arm(5, scene, Excitation(scene, 60), 130) for scene in (1, 2)]
    held_out = [record_sim_arm(5, 11, Excitation(11, 60), 130)]
    before = trajectory_error(env, held_out, ArmParameters())
    found = fit(env, logs, rounds=3)
    after = trajectory_error(env, held_out, found)
    assert after["position_mm"] < 0.35 * before["position_mm"]
    assert after["rotation_mrad"] < 0.35 * before["rotation_mrad"]


def test_a_log_and_its_parameters_come_back_from_the_disk(env, tmp_path):
    log = record_sim_arm(0, 1, Excitation(1, 10), 12)
    log.save(tmp_path / "log.npz")
    again = load_log(tmp_path / "log.npz")
    assert again.seed == 1 and np.array_equal(again.pose, log.pose) and np.array_equal(again.target_s, log.target_s)
    parameters = ArmParameters(stiffness=(1.1,) * 6, friction=0.9, latency_s=0.004)
    save_parameters(parameters, tmp_path / "arm.json")
    assert load_parameters(tmp_path / "arm.json") == parameters
    assert not np.array_equal(replay(env, log, parameters), replay(env, log, ArmParameters()))
    first = replay(env, log, ArmParameters())
    np.testing.assert_array_equal(replay(env, log, ArmParameters()), first)  # nothing of the others is left


def test_a_world_with_that_arm_moves_like_it_and_is_another_world_for_the_stages(tmp_path):
    save_parameters(ArmParameters(stiffness=(0.5,) * 6, latency_s=0.006), tmp_path / "arm.json")
    plain, other = load_config(), load_config([f"env.arm={tmp_path / 'arm.json'}"])
    assert world_key(plain) != world_key(other)
    poses = []
    for config in (plain, other):
        world = make_env(config.env)
        world.reset(seed=0)
        poses.append(world.step(np.array([1, 0, 0, 0], np.float32))[0]["agent_pos"][7:10])
        world.close()
    assert abs(poses[0][0] - poses[1][0]) > 5e-4


def test_a_latency_is_the_world_s_as_long_as_it_is_said_to_be():
    """Where the hand is after a period at every latency that can be identified; the longer the less far."""
    moved = []
    for latency_s in (0.0, 0.01, 0.02, 0.03, 0.04):
        world = gymnasium.make("robo_reward/PegInsert-v0")
        world.reset(seed=0)
        apply_parameters(world.unwrapped, ArmParameters(latency_s=latency_s))
        before = world.unwrapped._measured()[0]
        world.step(np.array([1, 0, 0, 0], np.float32))
        moved.append(world.unwrapped._measured()[0] - before)
        world.close()
    assert moved == sorted(moved, reverse=True) and len({round(m, 6) for m in moved}) == 5


def test_wrong_files_and_worlds_are_one_line(tmp_path, env):
    path = tmp_path / "arm.json"
    with pytest.raises(ValueError, match="no file of an arm's parameters; `robo-reward identify` writes one"):
        load_parameters(path)
    path.write_text(json.dumps({"stifness": [1, 1, 1, 1, 1, 1]}))
    with pytest.raises(ValueError, match="unknown setting 'stifness': did you mean 'stiffness'"):
        load_parameters(path)
    path.write_text(json.dumps({"stiffness": [1.0, 1.0]}))
    with pytest.raises(ValueError, match="stiffness has 2 factors, expected 6"):
        load_parameters(path)
    with pytest.raises(ValueError, match="is no recording of an arm"):
        load_log(path)
    cut = tmp_path / "cut.npz"
    record_sim_arm(0, 1, Excitation(1, 10), 12).save(cut)
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is no recording of an arm"):
        load_log(cut)
    with pytest.raises(ValueError, match="env.arm= is for PegInsert"):
        apply_parameters(gymnasium.make("CartPole-v1"), ArmParameters())


def test_identify_needs_a_robot_a_file_and_target_poses(tmp_path):
    root = f"run.root={tmp_path}"
    with pytest.raises(ValueError, match="identify needs robot=NAME"):
        identify(load_config([root], "identify"))
    with pytest.raises(ValueError, match="takes target poses by 4 numbers; robot= takes"):
        identify(load_config([root, "robot=so101_ros2", "env=robot", "env.cameras=[]", "to=x.json"], "identify"))


def test_a_fit_that_went_as_far_as_it_may_is_not_written(tmp_path, monkeypatch):
    """As on a computer too busy for the simulated arm, where the held-out error falls and the arm is nonsense."""
    config = load_config(
        ["quiet=true", "robot=sim_arm", f"to={tmp_path / 'arm.json'}", f"run.dir={tmp_path / 'run'}"], "identify"
    )
    (tmp_path / "run").mkdir()
    for n in range(3):
        record_sim_arm(0, n, Excitation(n, 5), 5).save(tmp_path / "run" / f"recording-{n}.npz")
    stiff = ArmParameters(stiffness=(float(np.exp(1.5)), *[1.0] * 5), latency_s=0.04)
    monkeypatch.setattr("robo_reward.runtime.identifying.fit", lambda env, logs: stiff)
    with pytest.raises(
        ValueError, match="does not hold: stiffness, latency went as far as a fit may go.* record again"
    ):
        identify(config)
    assert not (tmp_path / "arm.json").exists()
