"""What a learner cannot use is refused in one line, before or as it meets it."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward import cli  # noqa: E402
from robo_reward.config import AgentConfig  # noqa: E402
from robo_reward.data.lerobot import write_dataset  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay  # noqa: E402
from robo_reward.learning.residual_td3 import ResidualTD3  # noqa: E402
from robo_reward.runtime.demonstrations import check_demonstrations, read_demonstrations  # noqa: E402
from robo_reward.runtime.updates import learn  # noqa: E402
from robo_reward.shaping import SCHEMES  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

SETTINGS = AgentConfig(n_step=1, heads=2, hidden=8, batch=8)


def episode(reach=1.0, size=2):
    action = np.linspace(-reach, reach, 3 * size).reshape(3, size)
    return make_episode(
        3, "shown", source="expert", action=action.astype(np.float32), base_action=np.zeros((4, size), np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("episodes, expected", [
    ([], "no successful demonstration to learn from"),
    ([episode(), episode(size=3)], "actions of 3 numbers, the environment takes 2"),
    ([episode(0.01), episode(0.02)], "reach 0.02, expected more than 0.05"),
    ([episode(), episode(25.0)], "reach 25, expected more than 0.05 and at most 1"),
])  # fmt: skip
def test_demonstrations_that_are_missing_or_in_other_units_are_refused(episodes, expected):
    with pytest.raises(ValueError, match=expected) as caught:
        check_demonstrations(episodes, 2)
    assert "\n" not in str(caught.value)


def test_demonstrations_that_use_their_range_are_taken():
    check_demonstrations([episode(0.01), episode(0.6)], 2)


def learn_from(phi, **changes):
    agent = ResidualTD3(np.zeros(1, np.float32), np.ones(1, np.float32), 2, dataclasses.replace(SETTINGS, **changes),
                        SCHEMES["potential"], 1.0, 0)  # fmt: skip
    replay = EpisodeReplay(100, 1, 2, 1, SETTINGS.gamma)
    replay.append(episode(), np.zeros((4, 1), np.float32), PhiTrack("m", phi, np.ones_like(phi)), demonstration=True)
    memory = SimpleNamespace(demonstrations=replay, warmup=replay, online=replay)
    before = {name: tensor.clone() for name, tensor in agent.state_dict().items() if "critic." in name}
    with pytest.raises(ValueError) as caught:
        learn(agent, memory, 50, agent.settings, np.random.default_rng(0))
    return str(caught.value), all(torch.equal(agent.state_dict()[name], kept) for name, kept in before.items())


def test_a_batch_with_a_value_that_is_not_finite_is_named_and_leaves_the_weights_alone():
    line, unchanged = learn_from(np.float32([0.0, np.nan, 0.5, 1.0]))
    assert line.startswith("phi_BW is not finite in ") and "doctor store=" in line and "\n" not in line
    assert unchanged


def test_a_learner_that_diverges_says_which_rate_to_lower():
    line, _ = learn_from(np.float32([0.0, 0.2, 0.5, 1.0]), learning_rate=1e38)
    assert line.startswith("the learner has diverged: lower agent.learning_rate")


# ---- from the command line ----


def one_line(words, tmp_path, monkeypatch, capsys):
    """The line on standard error of a command that is refused."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main([*words, "quiet=true"])
    lines = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("setting, expected", [
    ("agent.gamma=1", "agent.gamma=1: values are bootstrapped at time-outs and would never settle, set it below 1"),
    ("agent.residual_scale=0", "agent.residual_scale=0.0: must be > 0 and <= 2"),
    ("collect.demos=0", "collect.demos=0: must be >= 1"),
])  # fmt: skip
def test_settings_that_leave_nothing_to_learn(setting, expected, tmp_path, monkeypatch, capsys):
    assert expected in one_line(["train", setting], tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A dataset of this project's own: a success, and a failure whose actions are larger."""
    pytest.importorskip("lerobot")
    folder, rows = tmp_path_factory.mktemp("shown") / "dataset", np.zeros((4, 5), np.float32)
    pictures = {"front": np.zeros((4, 16, 16, 3), np.uint8)}
    seen = {"agent_pos": rows, "oracle": rows[:, 0], "frames": pictures, "frame_steps": np.arange(4)}
    won = dataclasses.replace(episode(0.6, 4), **seen)
    lost = dataclasses.replace(episode(0.9, 4), **seen, episode_id="lost", success=False, terminated=False,
                               truncated=True)  # fmt: skip
    write_dataset(folder, [won, lost], fps=10, robot_type="arm")
    return folder


def changed(dataset, column, change):
    """Apply `change` to a column's array in every file of the dataset."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for path in (dataset / "data").rglob("*.parquet"):
        table = parquet.read_table(path)
        field, values = table.schema.field(column), np.array(table[column].to_pylist())
        values = arrow.array(change(values).tolist(), field.type)
        parquet.write_table(table.set_column(table.schema.get_field_index(column), field, values), path)


def with_nan(values):
    return np.where(np.arange(len(values))[:, None] == 1, np.nan, values)


TINY = "the demonstrations' actions reach 0.006, expected more than 0.05"


@pytest.mark.parametrize("column, change, expected, words", [
    ("action", lambda a: 25 * a, "episode shown: actions reach 15, allowed is [-1, 1]: divide them by", ["train"]),
    ("action", lambda a: 0.01 * a, TINY, ["train"]),
    ("action", lambda a: 0.01 * a, TINY, ["train", "runtime=async"]),
    ("action", lambda a: 0.01 * a, TINY, ["train-base"]),
    ("action", with_nan, "action holds a non-finite value: remove the episode", ["train"]),
    ("observation.state", with_nan, "agent_pos holds a non-finite value: remove the episode", ["train"]),
])  # fmt: skip
def test_a_dataset_in_other_units_or_with_a_nan_is_refused_before_anything_is_trained(
    recording, column, change, expected, words, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("mujoco")
    dataset = Path(shutil.copytree(recording, tmp_path / "shown"))
    changed(dataset, column, change)
    assert expected in one_line([*words, f"dataset={dataset}"], tmp_path, monkeypatch, capsys)
    assert not list((tmp_path / "runs/stages").glob("train-*/stage.json"))


def test_only_what_succeeded_is_shown_to_base_and_learner(recording, tmp_path, monkeypatch, capsys):
    pytest.importorskip("mujoco")
    (tmp_path / "demos").symlink_to(recording, target_is_directory=True)
    assert [shown.episode_id for shown in read_demonstrations(tmp_path, views=())] == ["shown"]
    dataset = Path(shutil.copytree(recording, tmp_path / "failures"))
    changed(dataset, "next.success", np.zeros_like)
    line = one_line(["train", f"dataset={dataset}"], tmp_path, monkeypatch, capsys)
    assert "no successful demonstration to learn from: give a dataset= with some (next.success)" in line


@pytest.mark.parametrize("words, expected", [
    (["learner", "runtime.listen=abc"], "runtime.listen=abc: expected HOST:PORT"),
    (["learner", "runtime.listen=0.0.0.0:7431"], "can be reached from other computers: set the environment variable"),
    (["bench-reward", "dataset=mine"], "no test episodes to measure the reward model on"),
    (["label", "keyframes=typo.json"], "keyframe file typo.json does not exist: check the path"),
    (["train", "keyframes=typo.json"], "keyframe file typo.json does not exist: check the path"),
    (["train-reward", "keyframes=."], "keyframe file . is a folder: give the JSON file itself"),
])  # fmt: skip
def test_what_is_known_at_once_is_refused_before_anything_is_collected(words, expected, tmp_path, monkeypatch, capsys):
    pytest.importorskip("mujoco")
    pytest.importorskip("grpc")
    assert expected in one_line(words, tmp_path, monkeypatch, capsys)
    assert not (tmp_path / "runs/stages").exists()


def test_a_policy_server_that_says_nothing_is_refused_before_anything_is_collected(
    policy_server, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("mujoco")
    words = ["train", "base=remote", f"base.url={policy_server}/silent", "base.timeout_s=0.3"]
    line = one_line(words, tmp_path, monkeypatch, capsys)
    assert "did not answer within 0.3 s" in line and "base.timeout_s" in line
    assert not (tmp_path / "runs/stages").exists()
