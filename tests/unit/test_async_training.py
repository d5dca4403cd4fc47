"""runtime=async in one process: what it learns, and how it keeps its ratio of updates to data."""

import shutil
import threading
import time
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("grpc")

from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.learning.weights import load_weights  # noqa: E402
from robo_reward.runtime.actor import run_actor  # noqa: E402
from robo_reward.testing.small_run import learn_locally, learning, small_config, small_school  # noqa: E402

SAME = ("rollouts", "env_steps", "updates", "curve")


def assert_same_weights(first, second):
    wanted, found = (load_weights(folder / "agent")[0] for folder in (first, second))
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name


def play(config, address, number=0):
    """An actor in a thread; what ended it comes back in the list."""
    ended = []

    def run():
        try:
            ended.append(run_actor(config, address, number, ""))
        except ValueError as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, ended


@pytest.fixture
def school(tmp_path):
    return small_school(small_config(tmp_path), tmp_path)


def test_one_actor_one_rollout_ahead_gives_the_numbers_and_weights_of_local(school, tmp_path):
    config = small_config(tmp_path, ahead=1)
    rows = []
    with learning(config, school, tmp_path / "async", log=lambda step, **numbers: rows.append(numbers)) as learner:
        thread, ended = play(config, learner.address)
        summary = learner.wait()
        thread.join(20)
    assert ended == [config.train.rollouts] and len(rows) == config.train.rollouts
    alone = learn_locally(config, school, tmp_path / "local")
    assert {key: summary[key] for key in SAME} == {key: alone[key] for key in SAME}
    assert_same_weights(tmp_path / "async", tmp_path / "local")
    assert not list((tmp_path / "own" / "actors").iterdir()), "the spool of a finished run is left"


def test_learning_from_a_recorded_stream_is_bit_exact(school, tmp_path):
    config = small_config(tmp_path, actors=2, rollouts=6)
    with learning(config, school, tmp_path / "live") as learner:
        threads = [play(config, learner.address, number)[0] for number in range(2)]
        summary = learner.wait()
        for thread in threads:
            thread.join(20)
    stored = [e for e in TransitionStore(tmp_path / "live" / "store").episodes() if e.actor != "demonstrations"]
    assert {entry.actor for entry in stored} == {"online-0", "online-1"}
    assert len({entry.header.seed for entry in stored}) == len(stored) >= 6
    for name in ("store", "tracks"):
        shutil.copytree(tmp_path / "live" / name, tmp_path / "again" / name)
    with learning(config, school, tmp_path / "again") as learner:  # nobody acts: the store has it all
        again = learner.wait()
    assert {key: again[key] for key in SAME} == {key: summary[key] for key in SAME}
    assert_same_weights(tmp_path / "live", tmp_path / "again")


def test_an_actor_waits_for_the_learner_and_goes_on_with_it(school, tmp_path):
    config = small_config(tmp_path, ahead=2)
    held, annotate = threading.Event(), school.annotate

    def slow(episodes):
        if episodes[0].source == "policy":
            assert held.wait(60)
        return annotate(episodes)

    with learning(config, replace(school, annotate=slow), tmp_path / "run") as learner:
        thread, ended = play(config, learner.address)
        store = TransitionStore(tmp_path / "run" / "store")
        until = time.monotonic() + 60
        while (store.refresh(), len(store.episodes()))[1] < 4 and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(1.0)
        store.refresh()
        assert len(store.episodes()) == 2 + config.runtime.ahead, "2 demonstrations, and as many as it may be ahead"
        held.set()
        assert learner.wait()["rollouts"] == config.train.rollouts
        thread.join(20)
    assert ended and isinstance(ended[0], int)
