"""`evaluate perturb.axes=`: what is refused before anything is run."""

import pytest

from robo_reward.config import load_config
from robo_reward.runtime.robustness import robustness_stage
from robo_reward.runtime.stages import StageResult

STAGE = StageResult("any", None, "0", {}, 0.0, False)


def test_nothing_is_run_when_no_axis_is_asked_for():
    assert robustness_stage(load_config(), STAGE, None, STAGE, STAGE) is None


def test_an_unknown_axis_names_the_nearest():
    with pytest.raises(ValueError, match="unknown perturb.axes entry 'camera_pse': did you mean 'camera_pose'"):
        robustness_stage(load_config(["perturb.axes=[friction,camera_pse]"]), STAGE, STAGE, STAGE, STAGE)


def test_what_only_cameras_see_needs_a_reward_model():
    with pytest.raises(ValueError, match="'lighting' changes what cameras see, and this run has no reward model"):
        robustness_stage(load_config(["perturb.axes=[lighting]"]), STAGE, None, STAGE, STAGE)


def test_a_severity_beyond_three_is_refused():
    with pytest.raises(ValueError, match="perturb.severities"):
        load_config(["perturb.severities=[4]"])
