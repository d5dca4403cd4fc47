"""The line with other observations and other bases, in the smallest size: collected once, trained on in turn."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

from robo_reward import cli  # noqa: E402
from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.runtime.collecting import dataset_stage, read_split  # noqa: E402
from robo_reward.runtime.experience import ONLINE  # noqa: E402
from robo_reward.runtime.pipeline import train, train_base  # noqa: E402

pytestmark = pytest.mark.slow
TINY = [
    "experiment=smoke", "quiet=true", "reward=oracle", "env.horizon=40", "collect.demos=2", "collect.weak=1",
    "collect.validation=0", "collect.test=0", "reward.steps=2", "base.demos=1", "base.steps=5", "train.rollouts=2",
    "train.warmup_updates=4", "agent.updates_per_step=1", "evaluate.episodes=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("line")


def configured(root, *overrides):
    return load_config([*TINY, f"run.root={root}", *overrides])


def stage(root, name):
    """The newest finished stage of this name."""
    found = [path for path in (root / "stages").glob(f"{name}-*") if (path / "stage.json").is_file()]
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def finished(summary):
    return summary["rollouts"] == 2 and 0 <= summary["final_success"] <= 1


def stored(root):
    with TransitionStore(stage(root, "train") / "store") as store:
        return list(store.read_all(frames=False))


def test_features_for_base_and_learner(root):
    run = configured(root, "observation=features")
    assert finished(train(run))
    episodes = stored(root)
    assert len(episodes) == 4 and all(e.features.shape == (len(e) + 1, 128) for e in episodes)
    words = ["observation=features", "base=distilled", f"base.run={run.run.dir}"]
    with pytest.raises(ValueError, match="has no successful rollout to clone"):
        train_base(configured(root, *words))
    with pytest.raises(ValueError, match="saw features of another reward model"):
        train_base(configured(root, *words, "reward.steps=3"))


def test_act_and_what_it_saved_as_a_base_of_its_own(root):
    pytest.importorskip("lerobot")
    trained = train(configured(root, "base=act", "base.hidden=32", "base.steps=5"))
    assert finished(trained)
    ids = {episode.base_id for episode in stored(root)}
    assert len(ids) == 1 and next(iter(ids)).startswith("act-")
    path = stage(root, "train-base")
    again = train(configured(root, "base=lerobot", f"base.path={path}"))
    assert {episode.base_id for episode in stored(root)} == ids
    assert again["base_success"] == trained["base_success"]


def test_a_policy_server_as_base(root, policy_server):
    assert finished(train(configured(root, "base=remote", f"base.url={policy_server}", "base.timeout_s=120")))
    for episode in stored(root):
        brightness = episode.base_action[:, 1]
        assert 0.05 < brightness.min() < brightness.max() < 0.95  # of the front camera, demonstrations' too
        np.testing.assert_allclose(episode.base_action[::8, 0], episode.agent_pos[::8, 0].clip(-1, 1), atol=1e-5)


@pytest.mark.parametrize("path, expected", [
    ("hang", "did not answer within 2 s: see what it does, or raise base.timeout_s"),
    ("shape", "returned a chunk of shape (10, 7), expected (8, 4)"),
])  # fmt: skip
@pytest.mark.parametrize("runtime", ["local", "async"])
def test_a_policy_server_that_hangs_or_answers_another_chunk_ends_the_command(
    root, policy_server, path, expected, runtime, capsys
):
    words = ["base=remote", f"base.url={policy_server}/{path}", "base.timeout_s=2", f"runtime={runtime}"]
    with pytest.raises(SystemExit) as left:
        cli.main(["train", *TINY, f"run.root={root}", *words])
    lines = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and len(lines) == 1 and expected in lines[0], lines


def test_an_improved_policy_is_distilled_into_a_base(root, tmp_path):
    """A store of successes and failures of a run: the successes are what the new base does."""
    config = configured(root)
    demos = read_split(dataset_stage(config).path, "demos", views=())
    with TransitionStore(tmp_path / "store", writable=True) as store:
        sequence = store.append_episode("demonstrations", 0, replace(demos[0], episode_id="d", action=-demos[0].action))
        for number, success in enumerate((True, False)):
            action = np.full_like(demos[number].action, 0.5 if success else -0.5)
            episode = replace(demos[number], episode_id=f"o{number}", success=success, action=action)
            sequence = store.append_episode(ONLINE, sequence, episode)
    words = ["base=distilled", f"base.run={tmp_path}", "base.steps=300"]
    assert train_base(configured(root, *words))["demonstrations"] == 1
    assert finished(train(configured(root, *words)))
    actions = np.concatenate([episode.base_action for episode in stored(root)])
    assert np.abs(actions - 0.5).mean() < 0.1
