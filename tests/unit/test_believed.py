"""Completion as the task reward: what the learner is told of a rollout, and that demonstrations keep their truth."""

import dataclasses

import numpy as np
import pytest

from robo_reward.config import load_config
from robo_reward.runtime.believed import believed
from robo_reward.testing.episodes import make_episode
from robo_reward.types import PhiTrack


def rollout(steps, success, name="online"):
    long, short = np.zeros((steps + 1, 2), np.float32), np.zeros(steps, np.float32)
    return make_episode(
        steps, name, success=success, agent_pos=long, estimate=long, action=np.zeros((steps, 2), np.float32),
        reward=np.append(short[1:], np.float32(success)), oracle=np.zeros(steps + 1, np.float32),
        frames={"front": np.zeros((steps + 1, 4, 4, 3), np.uint8)}, base_action=long, intervention=short > 0,
        gated=short > 0,
    )  # fmt: skip


def track(steps):
    phi = np.linspace(0, 1, steps + 1).astype(np.float32)
    return PhiTrack("model", phi, phi)


def test_a_failure_that_is_called_done_ends_there_as_a_success():
    told, phi = believed(rollout(6, success=False), track(6), done=4)
    told.validate()
    assert len(told) == 4 and len(phi.phi) == 5 and told.terminated and not told.truncated and told.success
    np.testing.assert_array_equal(told.reward, [0, 0, 0, 1])
    np.testing.assert_array_equal(phi.phi, track(6).phi[:5])


def test_a_success_that_nobody_notices_is_a_time_out_without_reward():
    told, phi = believed(rollout(6, success=True), track(6), done=None)
    assert len(told) == 6 and told.truncated and not told.terminated and not told.success
    assert not told.reward.any() and len(phi.phi) == 7


@pytest.mark.parametrize("words, expected", [
    (["train.task_reward=completion", "reward=oracle"], "use reward=compact or reward=classifier"),
    (["train.task_reward=completion", "reward=vlac"], "use reward=compact or reward=classifier"),
    (["train.task_reward=completion", "shaping=gated"], "train.task_reward=environment"),
    (["train.done_at=0.5"], "train.task_reward=completion"),
    (["agent.gamma=1"], "agent.gamma=1: values are bootstrapped at time-outs"),
    (["agent.residual_scale=0"], "agent.residual_scale=0.0: must be > 0"),
    (["agent=residual_ppo", "env.count=2"], "set 1"),
    (["agent=residual_ppo", "hil=simulated"], "leave hil= out"),
    (["agent=residual_ppo", "shaping=potential", "reward.teacher=there"], "all under one reward model"),
    (["train.task_reward=completion", "reward.teacher=there"], "set train.task_reward=environment"),
    (["train.task_reward=completion", "hil=console"], "set hil.judge= instead"),
])  # fmt: skip
def test_settings_that_cannot_work_are_refused_in_one_line(words, expected):
    with pytest.raises(ValueError, match=".*") as caught:
        load_config(words)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_the_learner_is_told_what_the_judge_says_and_the_store_keeps_the_truth(tmp_path):
    pytest.importorskip("torch")
    from robo_reward.runtime.experience import Experience
    from robo_reward.runtime.local import new_agent

    config, base = experiment(["train.task_reward=completion"])
    demonstration = rollout(5, success=True, name="demo")
    agent = new_agent(config, [demonstration], base)
    judge = {"fooled": 3, "unnoticed": None}
    with Experience(config, agent, tmp_path, annotate, None, lambda episode: judge[episode.episode_id]) as experience:
        experience.add_demonstrations([demonstration])
        experience.add(0, [rollout(6, success=False, name="fooled"), rollout(6, success=True, name="unnoticed")])
        assert experience.demonstrations.transitions == 5  # not judged
        assert experience.online.transitions == 3 + 6
        assert [episode.success for episode, *_ in experience.recent] == [True, False]
        assert [experience.store.read(name).success for name in judge] == [False, True]


@pytest.mark.parametrize("kind, imitated", [("filtered_cloning", 0.99), ("ibrl", 0.0)])
def test_filtered_cloning_imitates_its_own_successes_and_no_failure(tmp_path, kind, imitated):
    pytest.importorskip("torch")
    from robo_reward.runtime.experience import Experience
    from robo_reward.runtime.local import new_agent

    config, base = experiment([f"agent={kind}"])
    demonstration = rollout(5, success=True, name="demo")
    agent = new_agent(config, [demonstration], base)
    with Experience(config, agent, tmp_path, annotate, None) as experience:
        experience.add_demonstrations([demonstration])
        sequence = 0
        for success in (False, True):
            sequence = experience.add(sequence, [rollout(6, success=success, name=str(success))])
            batch = experience.online.sample(100, np.random.default_rng(0))
            assert batch.demonstration_B.max() == pytest.approx(imitated * success)
        assert 0 < np.mean(batch.demonstration_B > 0) < 1 or not imitated


def experiment(words):
    """Settings whose policies see all of the four columns of these rollouts, and a base that does nothing."""
    from robo_reward.policies.simple import ZeroPolicy

    config = load_config([*words, "env=lift", "agent.hidden=8"])
    return dataclasses.replace(config, quiet=True), ZeroPolicy(2)


def annotate(episodes):
    return [dataclasses.replace(track(len(episode))) for episode in episodes]


@pytest.mark.parametrize("done_at, expected", [(None, 3), (0.8, 5), (0.95, None)])
def test_a_classifier_ends_a_rollout_at_the_first_picture_that_it_takes_for_a_success(
    tmp_path, monkeypatch, done_at, expected
):
    pytest.importorskip("torch")
    from robo_reward.progress.models.classifier import Classifier
    from robo_reward.progress.models.compact_net import CompactSettings
    from robo_reward.progress.rivals import RivalReward
    from robo_reward.runtime.believed import make_judge

    def brightness(self, frames, task):
        return frames["front"].mean((1, 2, 3), dtype=np.float32) / 255

    monkeypatch.setattr(Classifier, "values", brightness)
    settings = CompactSettings(views=("front",), image_size=32, stages=1)
    RivalReward(Classifier(settings, ("insert",)), every=1).save(tmp_path)
    shades = np.array([0.1, 0.1, 0.2, 0.6, 0.3, 0.9, 0.9]) * 255
    pictures = np.broadcast_to(shades[:, None, None, None], (7, 32, 32, 3)).astype(np.uint8)
    episode = dataclasses.replace(rollout(6, success=False), frames={"front": pictures})
    assert make_judge(tmp_path, done_at)(episode) == expected
