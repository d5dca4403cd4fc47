"""A robot as a source of episodes: what is kept of a faulty one, when it gives up, what a run shows of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from robo_reward.config import Config, EnvConfig, load_config
from robo_reward.evaluation.rollout import run_episode
from robo_reward.hardware.images import square
from robo_reward.hardware.robot import BridgeStatus, RobotFault, RobotObservation
from robo_reward.hardware.robot_config import load_robot
from robo_reward.hardware.robot_env import RobotEnv
from robo_reward.runtime.robot_results import action_names, robot_sections, robot_summary
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import make_env, scripted
from robo_reward.runtime.worlds import ROBOT_LOG, robot_of, world_key
from robo_reward.safety.arm_gate import Mode, Sensed
from robo_reward.settings import build

CONFIG, LIMITS = load_robot("sim_arm")


class Robot:
    """Cuts actions to a half; its n-th observations are faults."""

    config, limits = CONFIG, replace(LIMITS, state_timeout_s=1e-4)

    def __init__(self, faulty: set[int]) -> None:
        self.faulty, self.seen, self.orders, self.words = faulty, 0, [], "camera wrist: black"

    def arm(self, unguarded: bool = False) -> None:
        self.orders.append("arm")

    def disarm(self, reason: str) -> None:
        self.orders.append("disarm")

    def hold(self, reason: str) -> None:
        self.orders.append("hold")

    def send(self, action: np.ndarray) -> np.ndarray:
        return np.clip(action, -0.5, 0.5)

    def observe(self) -> RobotObservation:
        self.seen += 1
        if self.seen in self.faulty:
            raise RobotFault(self.words)
        sensed = Sensed(np.zeros(6), np.zeros(7), np.zeros(7), np.zeros(6), 0.0)
        picture = np.full((48, 64, 3), self.seen, np.uint8)
        return RobotObservation(sensed, np.zeros(6), {"front": picture}, 0.004)

    def status(self) -> BridgeStatus:
        return BridgeStatus(Mode.ARMED, "", 0, 0, False, np.zeros(4), np.zeros(6), 0.08, 0.0, 0.0)

    def close(self) -> None: ...


class Task:
    def reset(self, seed: int, options: dict) -> str:
        return "insert"

    def estimate(self) -> np.ndarray:
        return np.zeros(16, np.float32)

    def judge(self) -> tuple[int, float, bool]:
        return 1, 0.25, False

    def close(self) -> None: ...


def env_of(faulty: set[int], log=None, horizon: int = 5) -> RobotEnv:
    env = RobotEnv(Robot(faulty), Task(), horizon=horizon, image_size=32, log=log)
    env._period = 0.0
    return env


def act(agent_pos, estimate):
    return np.ones(4, np.float32), np.zeros(4, np.float32)


def test_the_step_of_a_fault_is_left_out_and_the_episode_truncated(tmp_path):
    env = env_of({5}, tmp_path / "log")  # the first observation is the reset's
    episode = run_episode(env, act, seed=3, source="policy", query_every=2).validate()
    assert len(episode) == 3 and episode.truncated and not episode.terminated and not episode.success
    assert episode.base_action.shape == (4, 4) and episode.gated.all()
    np.testing.assert_allclose(episode.action, 0.5)
    assert episode.frame_steps.tolist() == [0, 2, 3] and episode.frames["front"].shape == (3, 32, 32, 3)
    assert episode.frames["front"][:, 0, 0, 0].tolist() == [1, 3, 4]  # the last good picture, not the faulty one
    line = json.loads((tmp_path / "log").read_text())
    assert line["steps"] == 3 and line["fault"] == "camera wrist: black" and line["executed"][0] == [0.5] * 4


def test_an_episode_that_fails_at_once_begins_anew_and_one_that_ends_well_rests():
    env = env_of({2})
    episode = run_episode(env, act, seed=0, source="policy")
    assert len(episode) == 5 and episode.truncated
    assert env._robot.orders == ["disarm", "arm", "disarm", "arm", "hold"]


@pytest.mark.parametrize(("words", "episodes"), [("camera wrist: black", 4), ("the robot reports: a reflex", 2)])
def test_too_many_faulty_episodes_in_a_row_are_a_persons_business(words, episodes):
    """Row A8: what the robot itself reports is recovered from once."""
    env = env_of({2, 4, 6, 8})
    env._robot.words = words
    told = f"{episodes} episodes in a row ended in a fault of the robot, at last: {words}"
    with pytest.raises(ValueError, match=told):
        run_episode(env, act, seed=0, source="policy")
    assert env._robot.orders.count("arm") == episodes


def test_faults_with_a_good_episode_between_them_do_not_add_up():
    env = env_of({3, 12, 21}, horizon=5)
    lengths = [len(run_episode(env, act, seed=0, source="policy")) for _ in range(5)]
    assert lengths == [1, 5, 1, 5, 1]


def test_a_robot_that_does_not_get_ready_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr("robo_reward.hardware.robot_env.ARM_S", 0.0)
    with pytest.raises(ValueError, match="the robot does not get ready: camera wrist: black"):
        env_of({1}).reset(seed=0)


def test_pictures_are_cut_to_their_middle_and_shrunk():
    pytest.importorskip("cv2")
    wide = np.zeros((48, 64, 3), np.uint8)
    wide[:, 8:56] = 200
    assert square(wide, 24).shape == (24, 24, 3) and (square(wide, 24) == 200).all()
    assert (square(wide[:, :48], 48) == wide[:, :48]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env": {"count": 2}}, "env.count=2 with robot=: there is one arm"),
        ({"perturb": {"axes": ["mass"]}}, r"perturb.axes=\[mass\] with robot=: only a simulated world"),
        ({"command": "console"}, "console shows the simulated world"),
    ],
)
def test_what_a_robot_cannot_do_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(Config, {"robot": {"limits": "sim_arm"}, **settings})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["robot=sim_arm", "robot.domian=3"], "robot: unknown setting 'domian': did you mean 'domain'"),
        (["robot=sim_arm", "robot.domain=200"], "robot: domain=200: must be >= 0 and <= 101"),
        (["robot=sim_arm", "experiment=lift"], "the simulated arm knows one task: env.id=robo_reward/PegInsert-v0"),
        (["robot=franka"], "env.cameras: the robot has no camera 'front', it has none"),
        (["robot={file: nowhere.yaml}"], "there is no file nowhere.yaml of robot"),
    ],
)
def test_a_robot_that_does_not_fit_is_refused_before_anything_moves(words, message):
    with pytest.raises(ValueError, match=message):
        robot_of(load_config(words))


def test_a_robots_stages_are_its_own_and_not_its_domains():
    plain, robot, elsewhere, slower = (
        world_key(load_config(words))
        for words in (
            [],
            ["robot=sim_arm"],
            ["robot=sim_arm", "robot.domain=9"],
            ["robot=sim_arm", "robot.camera_hz=10"],
        )
    )
    assert plain != robot == elsewhere != slower and "robot" not in plain


def test_an_actions_numbers_are_named_by_what_they_move():
    assert action_names(CONFIG) == ["x", "y", "z", "turn about z"]
    assert action_names(load_robot("so101")[0])[-2:] == ["wrist_roll", "gripper"]


def test_a_real_arm_needs_demonstrations_of_its_own_and_is_no_simulation():
    env = EnvConfig(id="robot")
    with pytest.raises(ValueError, match="env.id=robot has no scripted expert: .* dataset=FOLDER"):
        scripted(env, "expert", 0)
    with pytest.raises(ValueError, match="env.id=robot is a real arm: add robot=NAME"):
        make_env(env)


def test_policies_of_a_real_arm_see_what_its_cameras_show_and_nobody_s_estimate():
    real = load_config(["robot=franka", "env=robot", "env.cameras=[wrist]"])
    assert real.observation == "features" and real.env.id == "robot"
    assert load_config(["robot=franka", "env=robot", "observation=state"]).observation == "state"
    assert load_config(["robot=sim_arm"]).observation == "state"


def test_only_the_cameras_that_are_named_are_listened_to():
    assert list(robot_of(load_config(["robot=sim_arm", "env.cameras=[wrist]"]))[0].cameras) == ["wrist"]


def test_the_report_shows_requests_cuts_ages_and_faults(tmp_path):
    pytest.importorskip("matplotlib")
    lines = [
        {"seed": 1, "steps": 2, "success": True, "fault": "", "age_ms": [1.0, 3.0],
         "requested": [[1.0] * 4, [0.2] * 4], "executed": [[0.5] * 4, [0.2] * 4]},
        {"seed": 2, "steps": 0, "success": False, "fault": "no action for 0.2 s", "age_ms": [], "requested": [],
         "executed": []},
    ]  # fmt: skip
    (tmp_path / ROBOT_LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage = StageResult("train", tmp_path, "", {}, 0.0, False)
    summary = robot_summary([stage])
    assert summary["robot_steps"] == 2 and summary["robot_gated_share"] == 0.5 and summary["robot_faults"] == 1
    assert summary["robot_cut_mean"] == 0.5 and summary["robot_age_ms_max"] == 3.0
    table, figure = robot_sections([stage], action_names(CONFIG), 20)
    assert "50.00%" in table.html and "no action for s (1)" in table.note and "svg" in figure.html
    nothing = StageResult("train", tmp_path / "none", "", {}, 0.0, False)
    assert robot_summary([nothing]) == {} and robot_sections([nothing], action_names(CONFIG), 20) == []
