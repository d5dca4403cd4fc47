"""Row R1: the reward server answers nonsense, too late or not at all, is killed or stopped, in the middle of a run.

Training goes on, the episodes wait, and every one of them gets the annotation that it would have had.
"""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("aiohttp")

import robo_reward.envs  # noqa: F401  (registers the environments)
from robo_reward.config import AgentConfig, Config, RewardConfig, TrainConfig
from robo_reward.data.store import TransitionStore
from robo_reward.data.tracks import TrackStore
from robo_reward.evaluation.rollout import run_policy
from robo_reward.interfaces import Unanswered
from robo_reward.learning.replay import EpisodeReplay
from robo_reward.policies.scripted import ScriptedPeg
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.progress import calls, wire
from robo_reward.progress.calls import Caller, CallSettings
from robo_reward.progress.models.chat import ChatModel
from robo_reward.progress.models.remote import RemoteModel, ask_served
from robo_reward.progress.wire import decode_answer
from robo_reward.runtime.local import train_residual
from robo_reward.testing.faults import fault_count, record_fault
from robo_reward.testing.reward_server import BadServer, about, constant
from robo_reward.types import HopQuery, PhiTrack

pytestmark = pytest.mark.fault
SWAPS = 10
FAULTS = ("nan", "html", "short", "other", "crash", "hang", "busy")
PATIENT = CallSettings(deadline_s=60.0, attempts=1, cool_down_s=0.0)  # this machine may be slow
HURRIED = replace(PATIENT, deadline_s=0.1)


def annotator(model):
    """The potential of a whole episode is the server's answer to one question."""
    frame = {"front": np.zeros((1, 8, 8, 3), np.uint8)}

    def annotate(episodes):
        rows = np.zeros(len(episodes), np.int64)
        answer = model.hop(HopQuery(frame, rows, rows, rows, rows, tuple(e.instruction for e in episodes)))
        return [
            PhiTrack(model.model_id, np.full(len(e) + 1, hop), np.ones(len(e) + 1, np.float32))
            for e, hop in zip(episodes, answer.hop_B, strict=True)
        ]

    return annotate


def run(folder, annotate, rollouts, on_rollout):
    """Train on PegInsert; returns the summary and the potentials in every batch that was learned from."""
    config = Config(
        quiet=True,
        reward=RewardConfig(kind="oracle"),
        agent=AgentConfig(hidden=8, heads=2, batch=16, updates_per_step=1),
        train=TrainConfig(rollouts=rollouts, warmup_rollouts=1, warmup_updates=4, evaluate_every=10_000,
                          evaluate_episodes=1),
    )  # fmt: skip
    env, seen, sample = gymnasium.make("robo_reward/PegInsert-v0", horizon=6), [], EpisodeReplay.sample
    demonstrations = list(run_policy(env, ScriptedPeg("weak", 0), [1, 2], source="expert"))

    def watched(self, *arguments):
        batch = sample(self, *arguments)
        seen.append(set(batch.phi_BW.round(4).flat))
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpisodeReplay, "sample", watched)
        patch.setattr(calls, "PAUSE_S", 0.0)
        summary = train_residual(config, env, ZeroPolicy(4), demonstrations, annotate, annotator, folder, on_rollout)
    return summary, seen


def broken_promises(folder, summary, rollouts, seen):
    """What is wrong with a run whose server was back in the end, and whose potential is 0.25 everywhere."""
    stored = [entry.episode_id for entry in TransitionStore(folder / "store").episodes()]
    tracks = TrackStore(folder / "tracks").read("constant")
    found = [f"{name} was never annotated" for name in set(stored) - set(tracks)]
    found += [f"{name} has the potentials {t.phi}" for name, t in tracks.items() if not np.allclose(t.phi, 0.25)]
    found += [f"a batch holds the potentials {sorted(batch)}" for batch in seen if batch != {0.25}]
    if summary["rollouts"] != rollouts or len(stored) != rollouts + 2 or not summary["updates"]:
        found.append(f"{summary}, {len(stored)} episodes stored")
    return found


def ask_in_every_way(each):
    """Ask both clients so often while the server fails in each way; returns what they took for an answer."""
    frames = {"front": np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)}
    rows, taken = np.zeros(1, np.int64), []
    query = HopQuery(frames, rows, rows + 1, rows, rows + 1, ("do",))
    chat = {"message": {"content": "<score>+25%</score>"}}
    with BadServer(constant(0.25), about("constant", 32), chat=lambda asked: chat) as server:
        caller = Caller(server.url, PATIENT, token="")
        for model in (RemoteModel(caller, ask_served(caller)), ChatModel(caller, ask_served(caller), "constant")):
            for way in FAULTS:
                server.way = way
                caller.settings = replace(PATIENT, deadline_s=0.02) if way == "hang" else PATIENT
                for _ in range(each):
                    try:
                        taken.append(f"{type(model).__name__}, {way}: {model.hop(query).hop_B}")
                    except Unanswered:
                        pass
            server.way = "well"
            assert model.hop(query).hop_B == pytest.approx(0.25)
    return taken


def test_nothing_that_a_failing_server_says_is_taken_for_an_answer(monkeypatch):
    each = fault_count(100, 1000)
    broken = ask_in_every_way(each)
    monkeypatch.setattr(wire, "_refuse", lambda word: 0.0)  # NaN is taken for a hop of 0
    control = ask_in_every_way(3)
    record_fault("R1", f"reward server answers {', '.join(FAULTS)}, each to both clients", injected=2 * 7 * each,
                 broken=broken, control_failed=len(control))  # fmt: skip


def test_training_goes_on_while_the_server_answers_nonsense_and_its_episodes_are_annotated_later(tmp_path):
    faults, rng = fault_count(100, 1000), np.random.default_rng(0)

    def trained(folder, patch, count):
        with BadServer(constant(0.25), about("constant")) as server:
            model = RemoteModel(caller := Caller(server.url, PATIENT, token=""), ask_served(caller))
            waited = []

            def on_rollout(step, rollout, **numbers):
                tracks = TrackStore(folder / "tracks").read("constant")
                waited.append(len(TransitionStore(folder / "store").episodes()) - len(tracks))
                last = rollout >= rollouts - 2
                server.way = "well" if last or rng.random() < 0.2 else str(rng.choice(FAULTS))
                caller.settings = HURRIED if server.way == "hang" else PATIENT

            patch(model)
            rollouts = round(1.4 * count)
            summary, seen = run(folder, annotator(model), rollouts, on_rollout)
            injected = [way for way in server.requests if way != "well"]
        return injected, waited, broken_promises(folder, summary, rollouts, seen)

    injected, waited, broken = trained(tmp_path / "run", lambda model: None, faults)
    assert max(waited) > 2 and waited[-1] == 0, "episodes waited, and none does in the end"

    def careless(model):
        hop = model.hop

        def answered(query):
            try:
                return hop(query)
            except Unanswered:
                zeros = np.zeros(len(query), np.float32)
                return SimpleNamespace(hop_B=zeros, confidence_B=zeros, valid_B=zeros > 0)

        model.hop = answered

    _, _, control = trained(tmp_path / "control", careless, 20)
    assert len(injected) >= faults and set(injected) == set(FAULTS)
    record_fault("R1", "reward server answers so in the middle of a run", injected=len(injected),
                 broken=broken, control_failed=len(control))  # fmt: skip


def test_a_server_that_serves_another_model_for_a_while_never_mixes_it_into_a_batch(tmp_path, monkeypatch):
    """Row R3: one id per batch, whatever is behind the address; the run's own model is back in the end."""

    def swapped(folder):
        with BadServer(constant(0.25), about("constant")) as server:
            model = RemoteModel(caller := Caller(server.url, PATIENT, token=""), ask_served(caller))

            def on_rollout(step, rollout, **numbers):
                other = rollout % 2 == 1 and rollout < 2 * SWAPS
                server.hop, server.about = (
                    (constant(0.75), about("x")) if other else (constant(0.25), about("constant"))
                )

            summary, seen = run(folder, annotator(model), rollouts := 2 * SWAPS + 2, on_rollout)
        return broken_promises(folder, summary, rollouts, seen)

    broken = swapped(tmp_path / "run")

    def careless(self, rows, body):
        return decode_answer(body, rows)[1]  # whoever it is that answers

    monkeypatch.setattr(RemoteModel, "_read", careless)
    control = swapped(tmp_path / "control")
    record_fault("R3", "another model is served at the address for a rollout", injected=SWAPS, broken=broken,
                 control_failed=len(control))  # fmt: skip


class Process:
    """A reward server as a process of its own, always at the same port."""

    def __init__(self):
        self.port = 0
        self.start()

    def start(self):
        command = [sys.executable, "-m", "robo_reward.testing.reward_server", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def end(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait()
        self.process.stdout.close()


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_training_goes_on_while_the_server_process_is_gone(tmp_path, how):
    faults, server, away, injected = fault_count(10, 100), Process(), [], []
    try:
        caller = Caller(f"http://127.0.0.1:{server.port}", PATIENT, token="")
        model = RemoteModel(caller, ask_served(caller))

        def on_rollout(step, rollout, **numbers):
            if away:  # for one rollout
                away.clear()
                server.start() if how == "killed" else os.kill(server.process.pid, signal.SIGCONT)
                caller.settings = PATIENT
            elif len(injected) < faults:
                away.append(True)
                injected.append(rollout)
                server.end() if how == "killed" else os.kill(server.process.pid, signal.SIGSTOP)
                caller.settings = HURRIED

        summary, seen = run(tmp_path, annotator(model), rollouts := 2 * faults + 3, on_rollout)
    finally:
        server.process.kill()
        server.end()
    broken = broken_promises(tmp_path, summary, rollouts, seen)
    record_fault("R1", f"reward server's process {how} for a rollout", injected=len(injected), broken=broken)
