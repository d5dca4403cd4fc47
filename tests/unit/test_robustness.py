"""`evaluate perturb.axes=`: what is refused before anything is run."""

from dataclasses import replace

import pytest

from robo_reward.config import load_config
from robo_reward.envs.perturbation import Randomised
from robo_reward.runtime.evaluating import nominal
from robo_reward.runtime.pipeline import evaluate
from robo_reward.runtime.robustness import check_axes, robustness_stage
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import make_env

STAGE = StageResult("any", None, "0", {}, 0.0, False)


def test_nothing_is_run_when_no_axis_is_asked_for():
    assert robustness_stage(load_config(), STAGE, None, STAGE, STAGE) is None


def test_an_unknown_axis_names_the_nearest():
    with pytest.raises(ValueError, match="unknown perturb.axes entry 'camera_pse': did you mean 'camera_pose'"):
        check_axes(load_config(["perturb.axes=[friction,camera_pse]"]))


def test_what_only_cameras_see_needs_a_reward_model():
    with pytest.raises(ValueError, match="'lighting' changes what cameras see, and this run has no reward model"):
        check_axes(load_config(["perturb.axes=[lighting]", "shaping=none"]))
    check_axes(load_config(["perturb.axes=[lighting]"]))
    with pytest.raises(ValueError, match="axis 'instruction' asks reward=compact, not reward=rewind"):
        check_axes(load_config(["perturb.axes=[instruction]", "reward=rewind"]))


def test_a_wrong_axis_is_told_before_anything_is_collected(tmp_path):
    with pytest.raises(ValueError, match="unknown perturb.axes entry"):
        evaluate(load_config(["perturb.axes=[nothing]", f"run.root={tmp_path}"], "evaluate"))
    assert not list(tmp_path.iterdir())


def test_a_severity_beyond_three_is_refused():
    with pytest.raises(ValueError, match="perturb.severities"):
        load_config(["perturb.severities=[4]"])


def test_an_axis_and_its_severity_are_one_word():
    perturb = load_config(["perturb=mass:2"], "evaluate").perturb
    assert (perturb.axes, perturb.severities) == (("mass",), (2,))
    assert load_config(["perturb=mass"], "evaluate").perturb.severities == (1, 2, 3)
    with pytest.raises(ValueError, match="perturb.severities=\\(4,\\): must be >= 1 and <= 3"):
        load_config(["perturb=mass:4"], "evaluate")
    with pytest.raises(ValueError, match="expected a whole number"):
        load_config(["perturb=mass:much"], "evaluate")


def test_training_under_perturbations_leaves_evaluations_as_they_are():
    config = load_config(["env.randomise=[friction,mass]"])
    assert nominal(config).env.randomise == () and config.env.randomise == ("friction", "mass")
    world = make_env(replace(config.env, cameras=()))
    assert isinstance(world, Randomised)
    world.close()
    with pytest.raises(ValueError, match="env.randomise=.mass. with robot="):
        load_config(["env.randomise=[mass]", "robot=sim_arm"])
