"""`evaluate perturb.axes=`: what is refused before anything is run."""

import pytest

from robo_reward.config import load_config
from robo_reward.runtime.pipeline import evaluate
from robo_reward.runtime.robustness import check_axes, robustness_stage
from robo_reward.runtime.stages import StageResult

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


def test_a_wrong_axis_is_told_before_anything_is_collected(tmp_path):
    with pytest.raises(ValueError, match="unknown perturb.axes entry"):
        evaluate(load_config(["perturb.axes=[nothing]", f"run.root={tmp_path}"], "evaluate"))
    assert not list(tmp_path.iterdir())


def test_a_severity_beyond_three_is_refused():
    with pytest.raises(ValueError, match="perturb.severities"):
        load_config(["perturb.severities=[4]"])
