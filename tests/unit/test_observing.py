"""What learned policies see: frozen features, computed once a step and stored, no estimate; frames for a base."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

torch = pytest.importorskip("torch")

from robo_reward.config import load_config  # noqa: E402
from robo_reward.data.split import iterate_split, store_recorder  # noqa: E402
from robo_reward.envs.seeing import Seeing  # noqa: E402
from robo_reward.evaluation.rollout import PolicyActor, run_episode  # noqa: E402
from robo_reward.policies.chunks import ChunkedPolicy  # noqa: E402
from robo_reward.policies.inputs import policy_input  # noqa: E402
from robo_reward.progress.frame_features import FrameFeatures  # noqa: E402
from robo_reward.progress.models.compact import CompactModel  # noqa: E402
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings  # noqa: E402
from robo_reward.runtime.acting import ResidualRollout  # noqa: E402
from robo_reward.runtime.observing import input_columns, with_base_actions, with_features  # noqa: E402

P, E, F, SIZE, STEPS = 3, 2, 16, 32, 5


class Corridor(gymnasium.Env):
    """Five steps; the picture's brightness, agent_pos and estimate each tell the step in their own way."""

    observation_space = spaces.Dict({
        "agent_pos": spaces.Box(-np.inf, np.inf, (P,), np.float32),
        "estimate": spaces.Box(-np.inf, np.inf, (E,), np.float32),
    })  # fmt: skip
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self):
        self.looks = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return self._observation(), self._info()

    def step(self, action):
        self.at += 1
        return self._observation(), 0.0, False, self.at == STEPS, {**self._info(), "executed_action": action}

    def render_views(self):
        self.looks += 1
        noise = np.random.default_rng(self.at).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        return {"front": noise, "side": noise // 2, "top": noise // 3}

    def _observation(self):
        return {"agent_pos": np.full(P, self.at, np.float32), "estimate": np.full(E, -self.at, np.float32)}

    def _info(self):
        return {"instruction": "go", "stage": 0, "progress_oracle": 0.0, "is_success": False}


@pytest.fixture(scope="module")
def features():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    settings = CompactSettings(views=("front", "side"), image_size=SIZE, features=F, view_features=8, hidden=8)
    return FrameFeatures(CompactModel(CompactNet(settings)))


class Recorder:
    """An actor that keeps what it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, agent_pos, estimate):
        self.given.append(np.concatenate([agent_pos, estimate]))
        return np.zeros(2, np.float32), None


@pytest.fixture
def recorded(features):
    env, actor = Seeing(Corridor(), features), Recorder()
    return env, actor, run_episode(env, actor, seed=0, source="policy", query_every=2)


def test_features_are_computed_once_a_step_given_to_the_actor_and_stored(recorded, features):
    env, actor, episode = recorded
    assert env.unwrapped.looks == STEPS + 1  # the query frames are those that were encoded
    assert episode.features.shape == (STEPS + 1, F) and episode.estimate.shape == (STEPS + 1, E)
    np.testing.assert_array_equal(actor.given, np.concatenate([episode.agent_pos, episode.perceived], 1))
    for step, place in enumerate(episode.frame_steps):
        frames = {view: found[step] for view, found in episode.frames.items()}
        np.testing.assert_array_equal(features(frames, "go"), episode.features[place])
    assert env.observation_space["features"].shape == (F,)


def test_they_are_the_reward_models_own_embedding(features):
    env = Corridor()
    env.reset()
    views = env.render_views()
    wanted = features.model.features({view: frame[None] for view, frame in views.items()}, "go")[0]
    np.testing.assert_allclose(features(views, "go"), wanted, atol=1e-4)
    assert np.abs(features(views, "stop") - wanted).max() > 1e-3  # under this instruction


def test_a_policy_with_features_sees_neither_estimate_nor_anything_privileged(recorded):
    episode = recorded[2]
    columns = input_columns(load_config(["observation=features"]), episode)
    seen = policy_input(episode.agent_pos, episode.perceived, columns)
    np.testing.assert_array_equal(seen, np.concatenate([episode.agent_pos, episode.features], 1))
    assert input_columns(load_config(["experiment=lift"]), episode) is None
    with pytest.raises(ValueError, match="has no features: it was recorded with observation=state"):
        input_columns(load_config(["observation=features"]), dataclasses.replace(episode, features=None))


def test_features_survive_the_store_and_frames_are_thinned_on_reading(features, tmp_path):
    episode = run_episode(Seeing(Corridor(), features), Recorder(), seed=0, source="policy", query_every=1)
    with store_recorder(tmp_path / "split") as (_, append):
        append(episode)
    [read] = iterate_split(tmp_path / "split", query_every=2)
    np.testing.assert_array_equal(read.features, episode.features)
    assert read.frame_steps.tolist() == [0, 2, 4, 5]
    np.testing.assert_array_equal(read.frames["top"], episode.frames["top"][[0, 2, 4, 5]])


def test_demonstrations_get_the_features_that_a_rollout_would_have_had(features):
    plain = run_episode(Corridor(), Recorder(), seed=0, source="expert", query_every=1)
    seen = run_episode(Seeing(Corridor(), features), Recorder(), seed=0, source="expert")
    np.testing.assert_array_equal(with_features(plain, features).features, seen.features)
    sparse = run_episode(Corridor(), Recorder(), seed=0, source="expert", query_every=2)
    with pytest.raises(ValueError, match=r"expert-0 has 4 of 6: set collect\.all_frames=true"):
        with_features(sparse, features)


def test_a_camera_that_shows_nothing_reaches_no_policy_as_a_number(features):
    blank = {view: np.zeros((SIZE, SIZE, 3), np.uint8) for view in ("front", "side")}
    with pytest.raises(ValueError, match="is nan"):
        policy_input(np.zeros(P), features(blank, "go"))


# ---- frames for a base policy that looks ----


def looking():
    """Acts on the mean brightness of its camera."""
    return ChunkedPolicy(
        lambda seen: np.array([[[s[-1].look.views["side"].mean() / 255] * 2] * 2 for s in seen]), "looking", 2, 2,
        views=("side",),
    )  # fmt: skip


def test_a_base_with_cameras_acts_on_the_frames_of_its_own_step():
    env = Seeing(Corridor(), None, show=True)
    episode = run_episode(env, PolicyActor(looking()), seed=0, source="base", query_every=1)
    brightness = episode.frames["side"].mean((1, 2, 3)) / 255
    np.testing.assert_allclose(episode.action[:, 0], brightness[[0, 0, 2, 2, 4]], atol=1e-6)


def test_demonstrations_get_the_base_actions_that_a_rollout_would_have_had():
    class Silent:
        """A residual of nothing."""

        columns, settings, eyes = None, None, None

        def act(self, inputs, base, frames, deployed, rng):
            return base[:2]

    env = Seeing(Corridor(), None, show=True)
    online = run_episode(env, ResidualRollout(looking(), Silent()), seed=0, source="policy", query_every=1)
    again = with_base_actions(dataclasses.replace(online, base_action=None), looking())
    np.testing.assert_array_equal(again.base_action, online.base_action)
    np.testing.assert_array_equal(again.base_phase, online.base_phase)
    with pytest.raises(ValueError, match=r"a base policy with cameras needs the frames of every step.*0 of 6"):
        with_base_actions(dataclasses.replace(online, frames={}), looking())
