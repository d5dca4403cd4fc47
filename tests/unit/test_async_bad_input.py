"""What actors and learner refuse of each other, and the one line that says so."""

import json
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("grpc")

from robo_reward import __version__  # noqa: E402
from robo_reward.config import Config, RuntimeConfig, load_config  # noqa: E402
from robo_reward.data.episode_records import encode_episode, encode_frames  # noqa: E402
from robo_reward.runtime import actor, intake  # noqa: E402
from robo_reward.runtime.actor import run_actor  # noqa: E402
from robo_reward.runtime.intake import Intake  # noqa: E402
from robo_reward.runtime.link import Lost, Server, Unknown  # noqa: E402
from robo_reward.runtime.local import open_learner  # noqa: E402
from robo_reward.runtime.messages import Ask, Join, Records, records_crc  # noqa: E402
from robo_reward.runtime.role_log import RoleLog  # noqa: E402
from robo_reward.runtime.tasks import first_seed  # noqa: E402
from robo_reward.testing.small_run import learning, small_config, small_school  # noqa: E402

SESSION = "ab" * 8


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    folder = tmp_path_factory.mktemp("school")
    return small_school(small_config(folder), folder)


@pytest.fixture
def desk(school, tmp_path):
    """The learner's end, with nobody learning."""
    config, s = small_config(tmp_path, actors=2), school
    opened = open_learner(config, s.base, s.demonstrations, s.annotate, s.load_annotate, tmp_path / "run", print)
    with opened as learner, closing(RoleLog(tmp_path, "learner", "r")) as log:
        yield Intake(config, learner, tmp_path / "run", s.files, log)


def records_of(episode, number=0, first=0, session=SESSION):
    kinds, payloads = zip(*encode_episode(episode), strict=True)
    return Records(number, session, first, kinds, payloads, records_crc(kinds, payloads))


def rollout(school, number=0, **changes):
    """A demonstration as if it were that rollout of the run."""
    seed = first_seed(0, "online") + number
    demonstration = school.demonstrations[0]
    base = np.zeros((len(demonstration) + 1, 4), np.float32)
    return replace(
        demonstration, seed=seed, episode_id=f"policy-{seed}", source="policy", base_id=school.base.policy_id,
        base_action=base, base_phase=np.zeros((len(base), school.base.phase(school.base.initial_state(1)).shape[1]),
        np.float32), **changes,
    )  # fmt: skip


def test_records_are_stored_acknowledged_and_counted_once(desk, school):
    assert desk.join(Join(__version__, 0, SESSION)).next == 0
    sent = records_of(rollout(school))
    receipt = desk.send(sent)
    assert (receipt.next, receipt.waiting, receipt.done) == (len(sent.kinds), 1, False)
    assert desk.send(sent) == receipt, "what comes twice counts once"
    desk.publish(1)
    assert desk.send(replace(sent, first=receipt.next, kinds=(), payloads=(), crc=records_crc((), ()))).waiting == 0
    again = desk.join(Join(__version__, 0, SESSION))
    assert (again.next, again.begun) == (receipt.next, 1)
    assert desk.join(Join(__version__, 1, SESSION)).next == 0


@pytest.mark.parametrize(
    "joining, words",
    [
        (Join("0.0.1", 0, SESSION), f"the actor has robo_reward 0.0.1, the learner {__version__}: install the same"),
        (Join(__version__, 2, SESSION), "runtime.actor=2: this run has runtime.actors=2"),
        (Join(__version__, 0, "../x"), "hex digits"),
    ],
)
def test_an_actor_that_does_not_fit_is_not_taken_in(desk, joining, words):
    with pytest.raises(ValueError, match=words):
        desk.join(joining)


def narrow(school):
    e = rollout(school)
    return replace(e, action=e.action[:, :3], base_action=e.base_action[:, :3])


@pytest.mark.parametrize(
    "make, words",
    [
        (narrow, "actor 0 has 3 numbers of action, this run 4"),
        (lambda s: replace(rollout(s), base_id="other"), "another base policy"),
        (lambda s: rollout(s, 1), "not one that actor 0 may add"),
        (lambda s: rollout(s, -1), "not one that actor 0 may add"),
        (lambda s: replace(rollout(s), episode_id="../policy"), "not one that actor 0 may add"),
        (lambda s: replace(rollout(s), action=rollout(s).action + 3), "outside"),
    ],
    ids=["another action space", "another base", "another's rollout", "a demonstration's seed", "an id", "an action"],
)
def test_an_episode_that_does_not_fit_is_refused_and_nothing_is_stored(desk, school, make, words):
    desk.join(Join(__version__, 0, SESSION))
    with pytest.raises(ValueError, match=words):
        desk.send(records_of(make(school)))
    assert desk.join(Join(__version__, 0, SESSION)).next == 0


def test_pictures_of_another_size_or_camera_are_refused(desk, school):
    desk.join(Join(__version__, 0, SESSION))
    kinds, payloads = zip(*encode_episode(rollout(school)), strict=True)
    for views in ({"front": np.zeros((8, 8, 3), np.uint8)}, {"roof": np.zeros((84, 84, 3), np.uint8)}):
        with_frames = (kinds[0], 3), (payloads[0], encode_frames(0, views))
        with pytest.raises(ValueError, match="84 x 84 pixels"):
            desk.send(Records(0, SESSION, 0, *with_frames, records_crc(*with_frames)))
    fitting = (kinds[0], 3), (payloads[0], encode_frames(0, {"front": np.zeros((84, 84, 3), np.uint8)}))
    assert desk.send(Records(0, SESSION, 0, *fitting, records_crc(*fitting))).next == 2


def test_damaged_records_are_asked_for_again_and_strangers_must_join(desk, school):
    sent = records_of(rollout(school))
    with pytest.raises(Unknown):
        desk.send(sent)
    desk.join(Join(__version__, 0, SESSION))
    with pytest.raises(Lost):
        desk.send(replace(sent, crc=sent.crc ^ 1))
    desk.join(Join(__version__, 0, "cd" * 8, take=False))
    assert desk.send(sent).waiting == 1, "one that only asks takes no place"
    desk.join(Join(__version__, 0, "cd" * 8))
    with pytest.raises(ValueError, match="actor 0 was replaced by another process: stop one of the two"):
        desk.send(sent)


@pytest.mark.parametrize("name", ["base/../run_id", "/etc/passwd", "store/000001.log", "base/none"])
def test_no_file_but_the_offered_ones_is_handed_out(desk, name):
    desk.join(Join(__version__, 0, SESSION))
    assert desk.get(Ask(0, SESSION, "base/policy.safetensors", 0)).data
    with pytest.raises(ValueError, match="no file"):
        desk.get(Ask(0, SESSION, name, 0))


def test_an_actor_ends_in_one_line_when_it_is_refused(school, tmp_path, monkeypatch):
    config = small_config(tmp_path)
    with learning(config, school, tmp_path / "run", token="right") as learner:
        with pytest.raises(ValueError, match="wrong token"):
            run_actor(config, learner.address, 0, "wrong")
        with monkeypatch.context() as patch:
            patch.setattr(intake, "__version__", "9.9")
            with pytest.raises(ValueError, match="the learner 9.9: install the same on both"):
                run_actor(config, learner.address, 0, "right")
        with monkeypatch.context() as patch:
            about = actor.read_about
            patch.setattr(actor, "read_about", lambda text: replace(about(text), action_size=7))
            with pytest.raises(ValueError, match="takes 4 numbers an action, the learner's 7"):
                run_actor(config, learner.address, 0, "right")
        with pytest.raises(ValueError, match="another process writes the store"):  # a second learner of this folder
            with learning(config, school, tmp_path / "run"):
                pass
        with (
            pytest.raises(ValueError, match="cannot be had"),
            learning(config, school, tmp_path / "other", address=learner.address, token="right"),
        ):
            pass
        assert run_actor(config, learner.address, 0, "right") >= config.train.rollouts
        assert learner.wait()["rollouts"] == config.train.rollouts


def test_a_learner_that_never_comes_is_one_line(tmp_path):
    config = small_config(tmp_path, patience_s=0.5)
    with pytest.raises(ValueError, match="has not answered for 0.5 s .*: is it running"):
        run_actor(config, "127.0.0.1:9", 0, "")


def test_a_learner_that_never_comes_back_is_one_line_and_nothing_is_lost(school, tmp_path, monkeypatch):
    monkeypatch.setattr("robo_reward.runtime.uplink.CALL_S", 1.0)
    config, s = small_config(tmp_path, patience_s=2.0, ahead=2), school
    opened = open_learner(config, s.base, s.demonstrations, s.annotate, s.load_annotate, tmp_path / "run", print)
    with opened as learner, closing(RoleLog(tmp_path, "learner", "r")) as log:
        desk = Intake(config, learner, tmp_path / "run", s.files, log)
        server = Server("127.0.0.1:0", desk.methods, "", print)
        send, count = desk.send, []

        def send_once(records):
            count.append(len(records.kinds))
            if sum(count) > 3:
                server.close()  # in the middle of the first rollout, for good
            return send(records)

        server.close()
        server = Server("127.0.0.1:0", {**desk.methods, "Send": (Records, send_once)}, "", lambda words: None)
        with pytest.raises(ValueError, match=r"has not answered for 2 s.*(\d+) records wait in the spool"):
            run_actor(config, server.address, 0, "")
    [spool] = Path(config.run.root).glob("actors/*-0")
    assert list(spool.glob("*.log"))


@pytest.mark.parametrize(
    "settings, words",
    [
        (["runtime=async", "hil=simulated"], "hil=simulated with runtime=async"),
        (["runtime=async", "agent=residual_ppo"], "agent=residual_ppo with runtime=async"),
        (["runtime=async", "env.count=4"], "set runtime.actors=4 instead"),
        (["runtime.actor=1"], "runtime.actor=1 with runtime.actors=1"),
    ],
)
def test_what_takes_one_process_is_refused_before_anything_runs(settings, words):
    with pytest.raises(ValueError, match=words):
        load_config(settings)


def test_actor_needs_an_address():
    with pytest.raises(ValueError, match="runtime.connect=HOST:PORT"):
        actor.actor(Config(runtime=RuntimeConfig()))


def test_settings_that_no_config_has_are_refused(tmp_path, desk):
    welcome = desk.join(Join(__version__, 0, SESSION))
    wrong = {**asdict(small_config(tmp_path)), "shell": "rm"}
    with pytest.raises(ValueError, match="the learner's settings cannot be used here: unknown setting 'shell'"):
        actor._settings(Config(), replace(welcome, config=json.dumps(wrong)))
