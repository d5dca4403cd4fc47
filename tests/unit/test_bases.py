"""A base policy that cannot be had is refused before anything is computed for it."""

from dataclasses import replace

import pytest

from robo_reward.config import load_config

torch = pytest.importorskip("torch")

from robo_reward.runtime import bases  # noqa: E402
from robo_reward.runtime.bases import base_stage, check_base  # noqa: E402
from robo_reward.runtime.stages import StageResult  # noqa: E402


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["base=lerobot"], r"base=lerobot needs base\.path="),
        (["base=distilled"], r"base=distilled needs base\.run="),
        (["base=remote"], r"base=remote needs base\.url="),
        (["base=lerobot", "base.path=nowhere"], r"base\.path=nowhere is no folder"),
        (["base=distilled", "base.run=nowhere"], "no transition store in nowhere"),
        (["env=robot", "env.cameras=[]"], r"observation=features looks through cameras, and env\.cameras=\[\] names"),
    ],
)
def test_it_is_one_line(words, says):
    with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
        check_base(load_config(words))
    assert "\n" not in str(error.value)


def test_features_need_every_frame():
    with pytest.raises(ValueError, match=r"observation=features looks at every frame: set collect\.all_frames=true"):
        load_config(["observation=features", "collect.all_frames=false"])


@pytest.mark.parametrize("base", ["cloning", "act", "diffusion", "search", "zero"])
def test_what_is_trained_here_needs_nothing_else(base):
    check_base(load_config([f"base={base}"]))


def test_a_task_that_shows_policies_other_columns_has_another_base(tmp_path, monkeypatch):
    monkeypatch.setattr(bases, "_train_base", lambda *_: {})
    config = load_config([f"run.root={tmp_path}", "quiet=true"])
    data = StageResult("collect", tmp_path, "", {}, 0.0, True)
    first, task = base_stage(config, data).path, bases.task_of(config.env)
    monkeypatch.setattr(bases, "task_of", lambda env: replace(task, columns=(0, 1)))
    assert base_stage(config, data).path != first
