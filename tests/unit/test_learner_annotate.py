"""Schemes that need whole episodes get tracks of their own, and are refused where they cannot work."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.config import load_config
from robo_reward.data.tracks import Choice
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.runtime.experience import Experience
from robo_reward.runtime.local import new_agent
from robo_reward.runtime.steps import learner_annotate
from robo_reward.testing.episodes import make_episode
from robo_reward.types import PhiTrack

GOALS = {"into the red": 0.2, "into the blue": 0.6}
ORACLE = load_config(["reward=oracle"])


def rollout(success=True, goal="into the red", name="e"):
    long = np.zeros((3, 2), np.float32)
    return make_episode(
        2, name, success=success, instruction=goal, agent_pos=long, estimate=long,
        action=np.full((2, 2), 0.5, np.float32), reward=np.float32([0, success]), oracle=np.float32([0.0, 0.5, 1.0]),
        base_action=long,
    )  # fmt: skip


class Scorer:
    """Says of every frame how near each goal is."""

    instructions = tuple(GOALS)

    def annotate(self, episodes, instruction=None):
        values = [np.full(len(e) + 1, GOALS[instruction or e.instruction], np.float32) for e in episodes]
        return [PhiTrack("scorer", value, np.ones_like(value)) for value in values]


def test_contrast_compares_every_episode_s_goal_with_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr("robo_reward.progress.scorer.load_scorer", lambda folder: Scorer())
    annotate = learner_annotate(load_config(["shaping=contrast"]), SimpleNamespace(path=tmp_path))
    red, blue = annotate([rollout(), rollout(goal="into the blue")])
    np.testing.assert_allclose(red.phi, 0.3, atol=1e-6)
    np.testing.assert_allclose(blue.phi, 0.7, atol=1e-6)


def test_contrast_without_a_second_goal_is_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="reward=oracle knows a single one"):
        learner_annotate(load_config(["shaping=contrast", "reward=oracle"]), None)
    monkeypatch.setattr(Scorer, "instructions", ("into the red",))
    monkeypatch.setattr("robo_reward.progress.scorer.load_scorer", lambda folder: Scorer())
    with pytest.raises(ValueError, match="this reward model knows a single one"):
        learner_annotate(load_config(["shaping=contrast"]), SimpleNamespace(path=tmp_path))


def test_a_gate_needs_nothing_but_the_outcome():
    annotate = learner_annotate(load_config(["shaping=gated", "reward=oracle"]), None)
    won, lost = annotate([rollout(), rollout(success=False)])
    np.testing.assert_array_equal(won.phi, [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(lost.phi, 0.0)


@pytest.mark.parametrize(
    "words, taken",
    [
        ([], True),
        (["shaping=gated"], False),
        (["reward=compact", "train.task_reward=completion"], False),
        (["agent=residual_ppo"], False),
    ],
)
def test_a_reward_model_that_is_proposed_in_mid_run_is_taken_up_unless_the_run_stands_on_its_first(
    words, taken, tmp_path, capsys
):
    """Its own tracks, episodes that end where the first model called them done, rollouts of one update: each would
    mix potentials of two models."""
    config = load_config(["reward=oracle", "env=lift", "agent.hidden=8", *words])
    agent = new_agent(config, [rollout()], ZeroPolicy(2))
    annotate = learner_annotate(config if config.reward.kind == "oracle" else ORACLE, None)
    judge = (lambda episode: 1) if config.train.task_reward == "completion" else None
    with Experience(config, agent, tmp_path, annotate, lambda source: Scorer().annotate, judge) as found:
        found.add_demonstrations([rollout()])
        found.add(0, [rollout(name="own")])
        found.tracks.propose(Choice("scorer", "somewhere"))
        found.swap_if_proposed()
        assert (found.model_id == "scorer") == taken
    assert ("is not taken up" in capsys.readouterr().out) != taken
