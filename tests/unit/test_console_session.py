"""The control loop of a live session: events, taking over, losing the operator, and what is left after a restart."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager

import gymnasium
import numpy as np
import pytest

from robo_reward.console.labels import worlds_word
from robo_reward.console.session import Session
from robo_reward.data.store import TransitionStore
from robo_reward.hil.arbitration import HumanInput
from robo_reward.types import Progress


class World(gymnasium.Env):
    """Counts its steps; succeeds after `length` of them."""

    def __init__(self, length=30):
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self.length, self.seeds, self.actions = length, [], []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.actions, self.now = [], 0
        return self.observe(), self.info()

    def step(self, action):
        self.actions.append(np.asarray(action))
        self.now += 1
        done = self.now >= self.length
        return self.observe(), float(done), done, False, {**self.info(), "executed_action": self.actions[-1]}

    def observe(self):
        return {"agent_pos": np.full(1, self.now, np.float32), "estimate": np.zeros(1, np.float32)}

    def info(self):
        return {"instruction": "<b>count</b>", "stage": 0, "progress_oracle": self.now / self.length,
                "is_success": self.now >= self.length}  # fmt: skip

    def render_views(self):
        return {"front": np.full((8, 8, 3), self.now % 250, np.uint8)}


class Still:
    base_id = "still"

    def __call__(self, agent_pos, estimate):
        return np.zeros(2, np.float32), np.zeros(2, np.float32)

    def flush(self):
        pass


def until(condition, seconds=60.0):
    """Wait for another thread; generous, because it only bounds a failure."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@contextmanager
def live(folder, world=None, **settings):
    """A session whose loop runs in a thread."""
    session = Session(world or World(), Still, folder, fps=100, first_seed=7, stale_s=5.0, **settings)
    thread = threading.Thread(target=session.run)
    thread.start()
    try:
        yield session
    finally:
        session.stop()
        thread.join()


def do(session, *events):
    for event in events:
        state = session.post(event).result(20)
    return state


def at(session, state):
    until(lambda: session.view.state.get("state") == state)


def stored(folder):
    return {episode.episode_id: episode for episode in TransitionStore(folder / "store").read_all()}


def test_an_episode_is_run_kept_and_judged(tmp_path):
    world = World()
    with live(tmp_path, world) as session:
        do(session, "arm", "start")
        at(session, "judging")
        assert session.view.state["oracle"] == pytest.approx([step / 30 for step in range(31)], abs=1e-3)
        do(session, "success")
        at(session, "armed")
        assert session.view.state["labels"] == ["success"] and world.seeds[-1] == 8
    episode = stored(tmp_path)["session-00000"]
    assert len(episode) == 30 and episode.success and episode.terminated and not episode.intervention.any()
    assert episode.seed == 7 and episode.frame_steps.tolist() == [*range(0, 29, 4), 30]


def test_nothing_moves_while_it_is_paused_or_stopped(tmp_path):
    world = World(length=10_000)
    with live(tmp_path, world) as session:
        for stop, go in (("pause", ["resume"]), ("e_stop", ["clear"])):
            if session.protocol.state != "running":
                do(session, "arm", "start")
            until(lambda: world.now > 5)
            do(session, stop)
            before = world.now
            time.sleep(0.1)
            assert world.now == before
            do(session, *go)
        at(session, "armed")
        assert session.view.state["labels"] == ["aborted"]
    episode = stored(tmp_path)["session-00000"]
    assert episode.truncated and not episode.terminated
    assert episode.frame_steps[-1] == len(episode)  # a reward model asks about the last observation too
    assert episode.frames["front"][-1, 0, 0, 0] == len(episode) % 250


def test_an_e_stop_overtakes_what_is_waiting(tmp_path):
    session = Session(World(), Still, tmp_path, fps=100, first_seed=7)
    waiting, stop = session.post("arm"), session.post("e_stop")
    thread = threading.Thread(target=session.run)
    thread.start()
    assert stop.result(20) == "e_stopped"
    with pytest.raises(ValueError, match="'arm' is not possible while e_stopped: choose clear"):
        waiting.result(20)
    session.stop()
    thread.join()


def test_a_person_takes_over_gives_back_and_is_missed_when_lost(tmp_path):
    world = World(length=10_000)
    with live(tmp_path, world) as session:
        do(session, "arm", "start")
        until(lambda: world.now > 0)  # a dead-man that is held from the first step on counts for nothing
        for action, held, state in (([0.6, 0], True, "taken_over"), ([0, 0], False, "running"),
                                    ([0.6, 0], True, "taken_over")):  # fmt: skip
            session.operator.put(HumanInput(np.array(action, np.float32), held, session.clock()), 1)
            at(session, state)
        session.operator.put(None)
        at(session, "paused")
        assert "the operator's input went away" in session.view.state["notice"]
        assert not world.actions[-1].any()  # the step of the pause holds still
        do(session, "failure")
    episode = stored(tmp_path)["session-00000"]
    assert episode.intervention.any() and not episode.intervention.all()
    np.testing.assert_array_equal(episode.human_action[:, 0] > 0, episode.intervention)


def test_going_on_after_a_pause_at_the_console_does_not_repeat_what_a_person_asked_for_before(tmp_path):
    world = World(length=10_000)
    with live(tmp_path, world) as session:
        do(session, "arm", "start")
        session.operator.put(HumanInput(np.zeros(2, np.float32), False, time.monotonic()))
        until(lambda: session.view.state["steps"] > 2)
        session.operator.put(HumanInput(np.ones(2, np.float32), True, time.monotonic()))
        until(lambda: world.actions[-1][0] == 1)
        do(session, "pause")
        session.operator.put(HumanInput(np.zeros(2, np.float32), False, time.monotonic()))
        before = len(world.actions)
        do(session, "resume")
        until(lambda: len(world.actions) > before + 3)
    assert not np.any(world.actions[before:])


def test_the_same_scene_comes_again_after_re_record(tmp_path):
    world = World()
    with live(tmp_path, world) as session:
        do(session, "arm", "start")
        until(lambda: world.now > 1)
        do(session, "re_record")
        at(session, "armed")
        assert world.seeds[-1] == 7
        do(session, "start")
        until(lambda: world.now > 1)
        do(session, "discard")
        at(session, "armed")
        assert world.seeds[-1] == 8


def test_labels_are_written_as_outcomes_and_a_past_one_may_change(tmp_path):
    def outcomes():
        return json.loads((tmp_path / "outcomes.json").read_text())

    with live(tmp_path, World(length=10_000)) as session:
        do(session, "arm")
        for label in ("failure", "discard", "partial"):
            do(session, "start")
            until(lambda: len(session.view.state["oracle"]) > 3)
            do(session, label)
            at(session, "armed")
        assert outcomes() == {"session-00000": "failure", "session-00002": "partial"}
        session.relabel("session-00000", "success").result(20)
        session.relabel("session-00002", "discard").result(20)
        assert outcomes() == {"session-00000": "success"}
        for name, label in (("session-00009", "success"), ("session-00000", "great"),
                            ("session-00000", "suc cess"), ("other", "success")):  # fmt: skip
            with pytest.raises(ValueError, match="is gone|is none for an episode"):
                session.relabel(name, label).result(20)
        do(session, "undo")
        assert session.view.state["labels"] == ["success", "discard"]
    assert json.loads((tmp_path / "curves" / "session-00000.json").read_text())["sources"].startswith("ppp")


def test_after_a_restart_everything_is_there_and_the_count_goes_on(tmp_path):
    with live(tmp_path, World(length=10_000)) as session:
        do(session, "arm", "start")
        until(lambda: len(session.view.state["oracle"]) > 3)
        do(session, "success")
        at(session, "armed")
        do(session, "start")
        until(lambda: len(session.view.state["oracle"]) > 3)
    with live(tmp_path) as session:
        at(session, "idle")  # whoever restarts it arms it anew
        assert session.view.state["labels"] == ["success", "aborted"]
        do(session, "arm", "start")
        at(session, "judging")
    assert sorted(stored(tmp_path)) == ["session-00000", "session-00001", "session-00002"]


def test_the_log_says_what_happened_and_how_much_a_person_drove_also_after_a_restart(tmp_path):
    with live(tmp_path, World(length=10_000)) as session:
        do(session, "arm", "start")
        until(lambda: len(session.view.state["oracle"]) > 2)  # an operator who let go was seen
        session.operator.put(HumanInput(np.full(2, 0.5, np.float32), True, session.clock()))
        until(lambda: session.view.state["sources"].endswith("hhh"))
        session.operator.put(HumanInput(np.zeros(2, np.float32), False, session.clock()))
        at(session, "running")
        do(session, "partial")
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"time": "torn by a power lo')
    with live(tmp_path) as session:
        until(lambda: session.view.state.get("labels") == ["partial"])
        [episode] = TransitionStore(tmp_path / "store").read_all()
        assert session.view.state["by_hand"] == [[int(episode.intervention.sum()), len(episode)]]
        said = [line["what"] for line in session.view.state["log"]]
        assert said == ["arm", "start", "take_over", "release", "partial"]
        do(session, "arm")
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert "torn" in lines[-2] and json.loads(lines[-1])["what"] == "arm"


def test_an_arm_without_anybody_who_could_stop_it_pauses_and_starts_no_episode(tmp_path):
    with live(tmp_path, World(length=10_000), automatic=worlds_word) as session:
        do(session, "arm", "start")
        until(lambda: len(session.view.state["oracle"]) > 2)
        assert session.leave_alone().result(20) == "paused"
        until(lambda: "no page was connected" in session.view.state["notice"])
        do(session, "resume", "failure")
        at(session, "armed")  # the next one is a person's to start
        steps = session.view.number
        do(session, "disarm", "arm")  # two turns of the loop
        assert session.view.state["state"] == "armed" and session.view.number == steps


def test_a_reward_model_sees_every_observation_of_an_episode(tmp_path):
    seen = []

    def watch(instruction):
        assert instruction == "<b>count</b>"
        return lambda views: (
            seen.append(int(views["front"][0, 0, 0])) or Progress(len(seen) / 100, False, 1.0, 0.0, 0.0, 0.0)
        )

    with live(tmp_path, watch=watch) as session:
        do(session, "arm", "start")
        at(session, "judging")
        assert seen == list(range(31))
        assert [row[0] for row in session.view.state["model"]] == [step / 100 for step in range(1, 32)]


def test_an_episode_without_a_step_cannot_be_judged(tmp_path):
    session = Session(World(), Still, tmp_path, fps=1, first_seed=7)
    for event in ("arm", "start", "pause"):
        session.post(event)
    judged = session.post("success")
    thread = threading.Thread(target=session.run)
    thread.start()
    with pytest.raises(ValueError, match="the episode has no step yet"):
        judged.result(20)
    session.stop()
    thread.join()


class Faulty(World):
    """A robot that has a fault in its fifth step, or from the first on."""

    def __init__(self, at=5):
        super().__init__(length=100)
        self.at = at

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        fault = self.now >= self.at
        return observation, reward, False, fault, {**info, **({"fault": "camera front: black"} if fault else {})}


def test_a_step_in_which_the_robot_had_a_fault_is_left_out(tmp_path):
    with live(tmp_path, Faulty()) as session:
        do(session, "arm", "start")
        at(session, "judging")
        assert "camera front: black" in session.view.state["notice"]
        assert len(session.view.state["oracle"]) == 5
        do(session, "failure")
    (episode,) = stored(tmp_path).values()
    assert len(episode) == 4 and episode.truncated


def test_an_episode_that_a_fault_ended_before_its_first_step_is_run_again(tmp_path):
    world = Faulty(at=1)
    with live(tmp_path, world) as session:
        do(session, "arm", "start")
        at(session, "armed")
        assert session.view.state["labels"] == ["re_record"] and session.view.state["scene"] == 0
        world.at = 5
        do(session, "start")
        at(session, "judging")
        do(session, "success")
    assert list(stored(tmp_path)) == ["session-00001"]


def test_events_that_only_the_loop_may_tell_are_refused(tmp_path):
    with live(tmp_path) as session:
        do(session, "arm", "start")
        with pytest.raises(ValueError, match="'finish' is no command"):
            do(session, "finish")


def test_what_is_asked_of_a_session_that_ends_is_refused_and_not_left_waiting(tmp_path):
    with live(tmp_path) as session:
        do(session, "arm")
        session.stop()
        replies = [session.post("disarm") for _ in range(20)]  # some of them after the last step
    replies.append(session.post("arm"))
    until(lambda: all(reply.done() for reply in replies), 5.0)
    with pytest.raises(ValueError, match="the session has ended"):
        replies[-1].result(0)


def test_a_disk_that_fails_ends_the_session_and_moves_nothing_more(tmp_path):
    world, failed = World(length=10_000), []

    def run(session):
        try:
            session.run()
        except OSError as error:
            failed.append(error)

    session = Session(world, Still, tmp_path, fps=100, first_seed=7)
    thread = threading.Thread(target=run, args=(session,))
    thread.start()
    do(session, "arm", "start")
    until(lambda: world.now > 3)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    session.store.append_episode = full
    with pytest.raises(OSError, match="No space left"):
        do(session, "e_stop")
    thread.join()
    assert failed and session.protocol.state == "e_stopped"
