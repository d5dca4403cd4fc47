"""Configuration: every yaml loads, every setting is checked, the digest follows the numbers and nothing else."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path

import pytest

from robo_reward.config import CollectConfig, Config, load_config
from robo_reward.settings import build, leaf_keys

CONF = Path(__file__).parents[2] / "conf"
ROBOT_SIDE = {"safety", "robot", "teleop"}
"""Folders that are read without Hydra, on the robot's computer, and have tests of their own."""
GROUPS = sorted(
    path.relative_to(CONF).with_suffix("") for path in CONF.glob("*/*.yaml") if path.parent.name not in ROBOT_SIDE
)


def test_the_default_experiment_is_the_dataclasses_default():
    config = load_config()
    default = Config(name="peg_insert")
    assert replace(config, run=default.run) == default


@pytest.mark.parametrize("option", GROUPS, ids=str)
def test_every_group_option_loads(option):
    group, name = option.parts
    config = load_config([f"{group}={name}"])
    if group == "experiment":
        assert config.name == name


def test_no_yaml_escapes_these_tests():
    found = {path.relative_to(CONF).with_suffix("") for path in CONF.rglob("*.yaml")}
    found = {path for path in found if path.parts[0] not in ROBOT_SIDE or len(path.parts) != 2}
    assert found == {Path("config"), Path("tool"), *GROUPS}


def test_every_section_can_be_overridden_on_the_command_line():
    config = load_config(["seed=7", "agent.heads=4", "env.cameras=[front]", "reward.views=[front]", "dataset=here"])
    assert (config.seed, config.agent.heads, config.env.cameras, config.dataset) == (7, 4, ("front",), "here")
    assert config.reward.views == ("front",)


def test_the_command_line_wins_over_the_experiment():
    assert load_config(["experiment=smoke"]).train.rollouts < load_config().train.rollouts
    assert load_config(["experiment=smoke", "train.rollouts=9"]).train.rollouts == 9


def test_an_experiment_chooses_its_environment():
    assert load_config(["experiment=lift"]).env.id == "robo_reward/Lift-v0"
    assert load_config(["experiment=pick_place_can"]).env.id == "robo_reward/PickPlaceCan-v0"
    assert load_config(["experiment=stack"]).env.id == "robo_reward/Stack-v0"
    assert load_config(["experiment=door"]).env.id == "robo_reward/Door-v0"
    assert load_config(["experiment=peg_insert_long"]).env.id == "robo_reward/PegInsertLong-v0"


def test_the_run_folder_follows_the_settings_and_not_where_it_is_written():
    name = load_config(["seed=1"]).run.name
    assert name.startswith("train-peg_insert-s1-")
    assert load_config(["seed=1", "run.root=elsewhere", "quiet=true"]).run.name == name
    assert load_config(["seed=1", "agent.heads=4"]).run.name != name
    assert load_config(["seed=1"], command="evaluate").run.name != name
    assert load_config(["run.root=elsewhere"]).run.stages == "elsewhere/stages"


def test_videos_are_given_by_camera_and_cameras_have_any_name():
    assert load_config(["video.front=a.mp4", "video.left_hand=b.mp4"]).video == {"front": "a.mp4", "left_hand": "b.mp4"}
    assert load_config().video == {}
    with pytest.raises(ValueError, match="video.front=5: expected a text"):
        load_config(["video.front=5"])
    with pytest.raises(ValueError, match="video='a.mp4': expected entries, such as video.name=value"):
        load_config(["video=a.mp4"])


def test_configurations_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Config().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sed": 1}, "unknown setting 'sed': did you mean 'seed'"),
        ({"agent": {"head": 3}}, "unknown setting 'agent.head': did you mean 'agent.heads'"),
        ({"agent": 3}, "agent=3: expected a section"),
        ({"seed": -1}, "seed=-1: must be >= 0"),
        ({"seed": 1.5}, "seed=1.5: expected a whole number"),
        ({"seed": True}, "seed=True: expected a whole number"),
        ({"quiet": 1}, "quiet=1: expected true or false"),
        ({"agent": {"gamma": "high"}}, "agent.gamma='high': expected a number"),
        ({"agent": {"gamma": 0}}, "agent.gamma=0.0: must be > 0 and <= 1"),
        ({"agent": {"gamma": float("inf")}}, "agent.gamma=inf: must be > 0 and <= 1"),
        ({"env": {"cameras": [3]}}, r"env.cameras\[0\]=3: expected a text"),
        ({"shaping": {"kind": "potental"}}, "did you mean 'potential'"),
        ({"agent": {"heads": 4, "subset": 5}}, "agent.subset=5 exceeds agent.heads=4"),
        ({"label": {"source": "varience"}}, "unknown label.source value 'varience': did you mean 'variance'"),
        ({"reward_model": ""}, "reward_model= is empty: give a path, or leave it out"),
        ({"label": {"source": "file"}}, "label.source=file needs the file: add keyframes=FILE"),
        ({"label": {"source": "uvd"}, "keyframes": "k.json"}, "keyframes=k.json and label.source=uvd: give one"),
        (
            {"suite": {"tasks": ["lift"]}, "dataset": "mine"},
            r"dataset= with suite.tasks=\[lift\]: a suite collects its own",
        ),
        ({"suite": {"tasks": ["lift"]}, "reward": {"rivals": ["sarm"]}}, "reward.rivals= with suite.tasks="),
        (
            {"command": "bench-reward", "reward": {"kind": "oracle"}},
            "reward=oracle is not trained, and bench-reward needs",
        ),
        ({"collect": {"weak": 1001}}, "collect.weak=1001: must be >= 0 and <= 1000"),
        ({"base": {"demos": 31}}, f"base.demos=31 exceeds collect.demos={CollectConfig().demos}"),
    ],
)
def test_wrong_settings_are_named_with_what_is_allowed(settings, message):
    with pytest.raises(ValueError, match=message):
        build(Config, settings)


def test_whole_numbers_serve_where_numbers_are_asked_for():
    assert build(Config, {"shaping": {"scale": 2}}).shaping.scale == 2.0


def test_every_default_lies_in_its_own_range():
    def plain(value):
        if is_dataclass(value):
            return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
        return list(value) if isinstance(value, tuple) else value

    assert build(Config, plain(Config())) == Config()
    assert "agent.heads" in leaf_keys(plain(Config()))


def test_a_folder_in_place_of_a_reward_is_a_trained_model():
    assert load_config(["reward=runs/train-reward-x"], "serve-reward").reward_model == "runs/train-reward-x"
    assert load_config(["reward=oracle"]).reward.kind == "oracle"


MODEL = "reward=runs/mine"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bench-reward", ["store=s"]), ("bench-reward", ["video.front=a.mp4"]), ("serve-reward", []),
        ("annotate", ["store=s"]), ("annotate", ["to=copy"]), ("export", ["to=robot"]),
    ],
)  # fmt: skip
def test_a_trained_model_is_taken_where_it_is_read(command, words):
    assert load_config([MODEL, *words], command).reward_model == "runs/mine"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        *((command, []) for command in ("collect", "label", "train-reward", "train-base", "train", "learner")),
        *((command, []) for command in ("evaluate", "bench-reward", "annotate", "console")),
        ("evaluate", ["policies=runs/a"]), ("export", ["store=s", "to=d"]), ("export", ["format=grm", "to=d"]),
    ],
)  # fmt: skip
def test_a_trained_model_is_refused_where_another_would_be_trained_in_its_place(command, words):
    line = rf"reward_model=runs/mine would not be read by this {command}.*a trained model answers by serve-reward and"
    with pytest.raises(ValueError, match=line):
        load_config([MODEL, *words], command)


def test_the_model_of_a_demonstration_is_given_as_the_command_takes_it():
    with pytest.raises(ValueError, match=r"give train the model that it leaves, by serve-reward and reward=remote"):
        load_config(["demo=d"])
    with pytest.raises(ValueError, match=r"give annotate the model that it leaves, by reward_model="):
        load_config(["demo=d", "to=copy"], "annotate")
