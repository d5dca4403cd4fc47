"""`train hil=console`: what the person at the console judged is what the learner learns from, also after a restart."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("aiohttp")

import robo_reward.envs  # noqa: F401  (registers the environments)
from robo_reward.config import (
    AgentConfig,
    Config,
    ConsoleConfig,
    EnvConfig,
    HilConfig,
    RewardConfig,
    TrainConfig,
)
from robo_reward.console.session import Session
from robo_reward.console.training import train_attended
from robo_reward.data.store import TransitionStore
from robo_reward.envs.seeing import Seeing
from robo_reward.evaluation.rollout import run_policy
from robo_reward.hil.arbitration import HumanInput
from robo_reward.hil.judging import judged
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.runtime.experience import Experience
from robo_reward.testing.episodes import oracle
from robo_reward.types import Progress

CONFIG = Config(
    quiet=True,
    env=EnvConfig(horizon=8, cameras=("front",)),
    reward=RewardConfig(kind="oracle"),
    agent=AgentConfig(hidden=16, heads=3, batch=8, updates_per_step=1),
    hil=HilConfig(kind="console"),
    console=ConsoleConfig(port=0),
    train=TrainConfig(rollouts=3, warmup_rollouts=1, warmup_updates=2, evaluate_every=3, evaluate_episodes=1),
)


class Blind(gymnasium.Wrapper):
    """PegInsert without its cameras, which no test here looks at."""

    def render_views(self):
        return {"front": np.zeros((32, 32, 3), np.uint8)}


@pytest.fixture(scope="module")
def world():
    env = Seeing(Blind(gymnasium.make("robo_reward/PegInsert-v0", horizon=8)), None, show=True)
    return env, list(run_policy(env, ZeroPolicy(4), [1], source="expert", query_every=1))


@pytest.fixture
def train(world, monkeypatch):
    """Train in a folder beside a person, `act(session)` in a thread of its own; returns (summary, learned labels)."""
    env, demonstrations = world

    def run(folder, act, hil=CONFIG.hil, evaluate_episodes=1, watch=None, **changes):
        people, taken, begun, failed = [], [], Session.__enter__, []

        def person(session):
            try:
                act(session)
            except (AssertionError, ValueError) as error:
                failed.append(error)
                session.stop()

        def attended(session):
            begun(session)
            people.append(threading.Thread(target=person, args=(session,)))
            people[0].start()
            return session

        def take(experience, episodes):
            taken.extend((episode.episode_id, episode.success) for episode in episodes)
            return took(experience, episodes)

        took, settings = Experience.take, replace(CONFIG.train, evaluate_episodes=evaluate_episodes)
        with monkeypatch.context() as patch:
            patch.setattr(Session, "__enter__", attended)
            patch.setattr(Experience, "take", take)
            try:
                summary = train_attended(
                    replace(CONFIG, hil=hil, train=settings, **changes), env, ZeroPolicy(4), demonstrations, oracle,
                    None, watch, folder, lambda *args, **numbers: None,
                )  # fmt: skip
            except KeyboardInterrupt:
                summary = None
            people[0].join()
        assert not failed, failed
        return summary, taken

    return run


def until(condition):
    deadline = time.monotonic() + 40  # bounds a failure
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


def do(session, event):
    """Post the event as soon as the console offers it."""
    until(lambda: event in session.view.state.get("possible", ()))
    session.post(event).result(60)


def play(session, *labels):
    for label in labels:
        do(session, "start")
        until(lambda: session.view.state["state"] == "judging")
        do(session, label)


def test_episodes_are_learned_from_as_they_were_judged(train, tmp_path):
    def person(session):
        do(session, "arm")
        do(session, "start")
        until(lambda: len(session.view.state["oracle"]) > 2)
        session.operator.put(HumanInput(np.full(4, 0.5, np.float32), True, session.clock() + 0.1))
        until(lambda: session.view.state["state"] == "judging")
        do(session, "success")
        play(session, "discard", "failure", "partial")

    summary, learned = train(tmp_path, person)
    assert learned == [("session-00000", True), ("session-00002", False), ("session-00003", False)]
    assert summary["rollouts"] == 3 and summary["updates"] == 2 + 8 + 8 and len(summary["curve"]) == 1
    store = TransitionStore(tmp_path / "store")
    online = [entry.episode_id for entry in store.episodes() if entry.actor == "online"]
    assert len(online) == 4 and not any(store.read(name).success for name in online)  # the world's own word is kept
    assert summary["hil_operator_minutes"] == store.read("session-00000").intervention.sum() / 20 / 60


def test_a_learner_that_sees_keeps_every_frame_of_what_was_judged(train, tmp_path, monkeypatch):
    seeing = replace(CONFIG, observation="pixels", env=replace(CONFIG.env, image_size=32))
    monkeypatch.setitem(globals(), "CONFIG", seeing)

    def person(session):
        do(session, "arm")
        play(session, "success", "failure", "partial")

    summary, learned = train(tmp_path, person)
    assert len(learned) == summary["rollouts"] == 3 and summary["updates"] == 2 + 8 + 8
    for episode in TransitionStore(tmp_path / "store").read_all():
        assert episode.frame_steps.tolist() == list(range(len(episode) + 1))


def test_a_label_that_is_taken_back_is_unlearned(train, tmp_path):
    def person(session):
        do(session, "arm")
        play(session, "success", "failure")
        do(session, "undo")
        do(session, "success")
        until(lambda: session.figures["rollouts"] == 2)
        session.relabel("session-00000", "partial").result(60)  # on the review page
        play(session, "failure")

    summary, learned = train(tmp_path, person)
    relearned = learned.index(("session-00001", True))
    assert learned[relearned - 1 : relearned + 1] == [("session-00000", True), ("session-00001", True)]
    assert learned[-3:] == [("session-00000", False), ("session-00001", True), ("session-00002", False)]
    assert summary["rollouts"] == 3


def test_nothing_is_lost_when_it_is_stopped_and_started_again(train, tmp_path):
    def first(session):
        do(session, "arm")
        play(session, "success")
        until(lambda: session.figures["rollouts"] == 1)
        play(session, "failure")
        session.stop()  # before, while or after it was learned from

    def second(session):
        until(lambda: {"arm", "start"} & {*session.view.state.get("possible", ())})
        if session.view.state["state"] == "idle":  # it was armed when it stopped
            do(session, "arm")
        play(session, "partial")

    assert train(tmp_path, first)[0] is None
    summary, learned = train(tmp_path, second)
    names = ["session-00000", "session-00001", "session-00002"]
    assert learned == list(zip(names, [True, False, False], strict=True)) and summary["rollouts"] == 3


def test_with_the_world_as_judge_one_start_is_enough(train, tmp_path):
    def person(session):
        do(session, "arm")
        do(session, "start")

    summary, learned = train(tmp_path, person, replace(CONFIG.hil, judge="env"))
    assert [success for _, success in learned] == [False] * 3 and summary["rollouts"] == 3


def test_the_reward_model_judges_what_nobody_did(train, tmp_path):
    def begin(instruction):
        seen = []

        def watch(frames):  # it calls the second episode done
            seen.append(frames)
            return Progress(0.5, len(begun) == 2, 1.0, 0.5, 0.5, 0.5)

        begun.append(seen)
        return watch

    def person(session):
        do(session, "arm")
        do(session, "start")
        until(lambda: len(session.protocol.unattended) == 3)

    begun, hil = [], replace(CONFIG.hil, judge="reward")
    _, learned = train(tmp_path, person, hil, watch=begin, reward=RewardConfig())
    assert [success for _, success in learned] == [False, True, False]
    with pytest.raises(ValueError, match="needs a reward model that follows an episode"):
        replace(CONFIG, hil=hil)


def test_what_a_person_judged_teaches_a_classifier_to_judge_the_rest(train, tmp_path, monkeypatch):
    from robo_reward.hil import classifier

    taught = []

    class Stub:
        def __init__(self, settings):
            assert settings.steps == 7

        def learn(self, episodes, breathe):
            taught.append([episode.success for episode in episodes if episode.source == "policy"])
            return False in taught[-1]

        def success(self, episode):
            return True if taught and False in taught[-1] else None

    monkeypatch.setattr(classifier, "SuccessClassifier", Stub)

    def person(session):
        do(session, "arm")
        play(session, "success")
        until(lambda: session.view.state["state"] == "judging")  # nobody can tell yet
        do(session, "failure")
        until(lambda: session.protocol.unattended == [2])

    hil = replace(CONFIG.hil, judge="classifier", classifier_steps=7)
    _, learned = train(tmp_path, person, hil)
    assert [success for _, success in learned] == [True, False, True]
    assert taught[0] == [True] and taught[-1] == [True, False]


def test_an_episode_begins_where_another_got_stuck(train, tmp_path):
    def person(session):
        do(session, "arm")
        play(session, "failure")
        until(lambda: session.figures.get("places") and "start" in session.view.state["possible"])
        [place] = session.figures["places"]
        assert place["number"] == 0 and place["reason"] == "stalls"
        assert session.figures["advice"] == {"grade": "return", "place": 0, "minutes": 10.0}
        with pytest.raises(ValueError, match="place 7 is gone"):
            session.post("place 7").result(60)
        session.post("place 0").result(60)
        do(session, "start")
        with pytest.raises(ValueError, match="an episode begins at a place before it is started, not while running"):
            session.post("place 0").result(60)
        until(lambda: session.view.state["state"] == "judging")
        do(session, "re_record")  # at the same place again
        play(session, "failure", "failure")

    graded = replace(CONFIG.hil, patience_s=0.1, protocol="graded", demonstrations=0)
    summary = train(tmp_path, person, graded)[0]
    assert (summary["hil_rollouts_free"], summary["hil_rollouts_return"]) == (2, 1)
    store, place = TransitionStore(tmp_path / "store"), json.loads((tmp_path / "places" / "00000.json").read_text())
    first, again, third, other = (store.read(f"session-{number:05d}") for number in range(4))
    for episode in (again, third):
        np.testing.assert_array_equal(episode.agent_pos[0], first.agent_pos[place["step"]])
        assert len(episode) == 8 - place["step"]
    assert len(other) == 8 and not np.array_equal(other.agent_pos[0], again.agent_pos[0])
    found = sorted(path.name for path in (tmp_path / "places").iterdir())
    assert found == ["00000.json", "00000.png", "00003.json", "00003.png"]  # one that began at a place finds none


def test_an_e_stop_stops_the_evaluation_too(train, tmp_path, monkeypatch, world):
    moved, step = [], world[0].env.step

    def slow(action):
        moved.append(action)
        time.sleep(0.01)  # else the evaluation may be over before the person's thread has had a turn
        return step(action)

    monkeypatch.setattr(world[0].env, "step", slow)

    def person(session):
        do(session, "arm")
        play(session, "failure", "failure", "failure")
        until(lambda: session.view.state["busy"].startswith("evaluating"))
        session.post("e_stop").result(60)
        before = len(moved)
        time.sleep(0.1)
        still.append(len(moved) == before)
        do(session, "clear")

    still = []
    summary, _ = train(tmp_path, person, evaluate_episodes=60)
    assert still == [True] and summary["rollouts"] == 3


def test_a_label_rewards_the_end_alone(world):
    [episode] = world[1]
    success, failure = judged(episode, "success"), judged(episode, "partial")
    assert success.terminated and success.success and success.reward.tolist() == [0] * 7 + [1]
    assert failure.truncated and not failure.success and not failure.reward.any()
    with pytest.raises(ValueError, match="'discard' says nothing of an outcome: choose success, failure, partial"):
        judged(episode, "discard")
