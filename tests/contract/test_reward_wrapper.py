"""The live shaped reward is the offline one: task reward + gamma Phi' (1 - terminated) - Phi as annotated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: F401 - registers the ids
from robo_reward.envs.reward_wrapper import ProgressReward
from robo_reward.evaluation.rollout import run_episode
from robo_reward.progress.annotate import annotate
from robo_reward.progress.references import Reference, References
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.types import Episode, HopEstimate, HopQuery

SIZE, HORIZON, GAMMA = 32, 14, 0.9
INSTRUCTIONS = [f"insert the peg into the {colour} socket" for colour in ("orange", "blue")]


class PixelModel:
    """A hop is how much redder a picture is: arbitrary, but it moves with the scene."""

    model_id = "pixels"

    def hop(self, query: HopQuery) -> HopEstimate:
        red = {view: frames[..., 0].mean((1, 2)) for view, frames in query.frames.items()}
        hop = sum(red[v][query.after_B] - red[v][query.before_B] for v in red)
        hop = np.clip(np.asarray(hop) * 2.0, -1, 1).astype(np.float32)
        return HopEstimate(hop, np.full(len(hop), 0.7, np.float32), np.ones(len(hop), bool))


@dataclass(frozen=True)
class Stub:
    """A loaded reward model."""

    references: References
    model: PixelModel = field(default_factory=PixelModel)
    tracker: TrackerSettings = TrackerSettings(every=4)


@pytest.fixture(scope="module")
def world():
    env = gymnasium.make("robo_reward/PegInsert-v0", image_size=SIZE, horizon=HORIZON)
    yield env
    env.close()


@pytest.fixture(scope="module")
def stub(world) -> Stub:
    world.reset(seed=99)
    views = world.get_wrapper_attr("render_views")()
    goal = {view: np.minimum(frame.astype(int) + 3, 255).astype(np.uint8) for view, frame in views.items()}
    one = Reference({v: f[None] for v, f in views.items()}, {v: f[None] for v, f in goal.items()})
    return Stub(References(dict.fromkeys(INSTRUCTIONS, one)))


class Push:
    """Acts at random, the same way every time, and remembers what the environment answered."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, agent_pos: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, None]:
        return self._rng.uniform(-1, 1, 4).astype(np.float32), None


class Ends(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Success after so many steps."""

    def __init__(self, env: gymnasium.Env[Any, Any], after: int) -> None:
        super().__init__(env)
        self._after, self._steps = after, 0

    def reset(self, **options: Any) -> Any:
        self._steps = 0
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = self.env.step(action)
        self._steps += 1
        done = self._steps == self._after
        return observation, float(done), done, truncated and not done, info


def recorded(env: ProgressReward, seed: int, every: int = 4) -> tuple[Episode, list[dict[str, Any]]]:
    """An episode in the wrapped world: its reward is the shaped one, the infos hold the task's."""
    infos: list[dict[str, Any]] = []

    class Watch(gymnasium.Wrapper[Any, Any, Any, Any]):
        def reset(self, **options: Any) -> Any:
            observation, info = self.env.reset(**options)
            infos.append(info)
            return observation, info

        def step(self, action: Any) -> Any:
            answer = self.env.step(action)
            infos.append(answer[4])
            return answer

    return run_episode(Watch(env), Push(seed), seed=seed, source="test", query_every=every), infos


def expected(episode: Episode, task: np.ndarray, stub: Stub, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The offline potentials of the recorded episode and the shaped rewards they give."""
    phi = annotate(episode, stub.model, stub.tracker, stub.references).phi.astype(float)
    alive = np.ones(len(episode))
    alive[-1] = not episode.terminated
    return phi, task + scale * (GAMMA * phi[1:] * alive - phi[:-1])


@pytest.mark.parametrize(("ends", "every"), [(None, 4), (10, 4), (8, 4), (None, 1), (5, 3)])
def test_live_rewards_are_the_offline_ones_step_for_step(world, stub, ends, every):
    reward = replace(stub, tracker=TrackerSettings(every=every))
    inner = world if ends is None else Ends(world, ends)
    episode, infos = recorded(ProgressReward(inner, reward, GAMMA, scale=2.0), seed=3, every=every)
    assert (episode.terminated, len(episode)) == ((False, HORIZON) if ends is None else (True, ends))
    task = np.array([info["task_reward"] for info in infos[1:]])
    assert task.tolist() == [0.0] * (len(episode) - 1) + [float(ends is not None)]
    phi, shaped = expected(episode, task, reward, 2.0)
    assert [info["progress"] for info in infos] == pytest.approx(phi, abs=1e-6)
    assert episode.reward == pytest.approx(shaped, abs=1e-6)
    assert np.ptp(phi) > 0.05, "the potential must move for this to be a test"


def test_a_return_telescopes_to_the_potentials_at_its_ends(world, stub):
    for inner in (world, Ends(world, 9)):
        episode, infos = recorded(ProgressReward(inner, stub, GAMMA), seed=5)
        discount = GAMMA ** np.arange(len(episode))
        task = np.array([info["task_reward"] for info in infos[1:]])
        last = 0.0 if episode.terminated else infos[-1]["progress"]
        difference = discount @ (episode.reward.astype(float) - task)
        assert difference == pytest.approx(GAMMA ** len(episode) * last - infos[0]["progress"], abs=1e-5)


def test_views_are_rendered_only_where_the_tracker_asks(world, stub, monkeypatch):
    env = ProgressReward(world, stub, GAMMA)
    looks, step = [], 0
    views = env._views
    monkeypatch.setattr(env, "_views", lambda: looks.append(step) or views())
    env.reset(seed=1)
    for step in range(1, HORIZON + 1):  # noqa: B007 - read by the lambda
        env.step(np.zeros(4, np.float32))
    assert looks == [0, 4, 8, 12, HORIZON]


def test_an_episode_begins_afresh(world, stub):
    env = ProgressReward(world, stub, GAMMA)
    first = recorded(env, seed=3)[0].reward
    env.reset(seed=8)
    for _ in range(3):  # given up in the middle
        env.step(np.ones(4, np.float32))
    assert np.array_equal(recorded(env, seed=3)[0].reward, first)


def test_controls_are_the_task_reward_and_undiscounted_differences(world, stub):
    episode, infos = recorded(ProgressReward(world, stub, GAMMA, shaping="none"), seed=3)
    assert not episode.reward.any() and len({info["progress"] for info in infos}) > 1
    episode, infos = recorded(ProgressReward(world, stub, GAMMA, shaping="naive"), seed=3)
    assert episode.reward == pytest.approx(np.diff([info["progress"] for info in infos]), abs=1e-6)


def test_gymnasium_accepts_the_wrapped_world(world, stub):
    with pytest.warns() as caught:
        check_env(ProgressReward(world.unwrapped, stub, GAMMA), skip_render_check=True)
    assert not [w for w in caught if "infinity" not in str(w.message) and "wrapped" not in str(w.message)]


def test_a_trained_folder_is_loaded(world, stub, tmp_path):
    pytest.importorskip("torch")
    from robo_reward.progress.models.compact import CompactModel
    from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
    from robo_reward.progress.reward_model import RewardModel

    settings = CompactSettings(image_size=SIZE, channels=(4,), kernels=(4,), strides=(4,), hidden=16)
    trained = RewardModel(CompactModel(CompactNet(settings)), stub.references, TrackerSettings(every=5))
    trained.save(tmp_path)
    env = ProgressReward(world, tmp_path, GAMMA)
    episode, infos = recorded(env, seed=2, every=5)
    phi = annotate(episode, trained.model, trained.tracker, trained.references).phi
    assert [info["progress"] for info in infos] == pytest.approx(phi, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"gamma": 0.0}, r"gamma=0.0 outside \(0, 1\]"),
        ({"gamma": 1.1}, "gamma=1.1 outside"),
        ({"scale": -1.0}, "scale=-1.0: expected"),
        ({"scale": float("nan")}, "scale=nan: expected"),
        ({"shaping": "potental"}, "did you mean 'potential'"),
        ({"shaping": "contrast"}, "needs whole episodes and cannot be paid live"),
    ],
)
def test_wrong_arguments_are_told(world, stub, arguments, words):
    with pytest.raises(ValueError, match=words):
        ProgressReward(world, stub, **arguments)


def test_a_world_that_does_not_fit_is_told(world, stub, tmp_path):
    with pytest.raises(ValueError, match=r"has no render_views\(\)"):
        ProgressReward(gymnasium.make("CartPole-v1"), stub)
    with pytest.raises(FileNotFoundError, match="no trained reward model here"):
        ProgressReward(world, tmp_path)
    other = Stub(References({"fold the towel": stub.references[INSTRUCTIONS[0]]}))
    with pytest.raises(ValueError, match="no reference demonstration for instruction 'insert the peg"):
        ProgressReward(world, other).reset(seed=0)
