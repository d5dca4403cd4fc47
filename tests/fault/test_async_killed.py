"""Rows S1 and S7: the learner or an actor is killed at random moments, and started again."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("torch")
pytest.importorskip("mujoco")
pytest.importorskip("grpc")

from robo_reward.data.store import TransitionStore, verify
from robo_reward.learning.weights import digest_of, load_weights
from robo_reward.runtime.actor import run_actor
from robo_reward.runtime.spool import Spool
from robo_reward.testing.faults import fault_count, record_fault
from robo_reward.testing.forks import Forks, alive
from robo_reward.testing.small_run import learning, small_config, small_school

pytestmark = pytest.mark.fault

LEARNER = """
from pathlib import Path
from robo_reward.testing.small_run import small_config, small_school
from robo_reward.runtime.learner import run_learner

def work(folder, address, rollouts):
    import torch
    torch.set_num_threads(1)
    config = small_config(Path(folder), rollouts=rollouts, evaluate_every=10**6)
    run_learner(config, small_school(config, Path(folder)), Path(folder) / "stage", lambda *_, **n: None,
                address=address, token="", ready=lambda at: None)
"""
HASTY = """
import threading, time
from robo_reward.data.store import TransitionStore
def hasty(self, actor, records):
    if actor == "demonstrations" or not records:
        return append(self, actor, records)
    def later():
        time.sleep(0.03)
        append(self, actor, records)
    threading.Thread(target=later).start()
    return records[-1][0]
append, TransitionStore.append = TransitionStore.append, hasty
"""
"""The control: acknowledged first, written afterwards."""
ACTOR = """
import os
from pathlib import Path
import gymnasium
from robo_reward.runtime import actor
from robo_reward.testing.small_run import small_config

class Told(gymnasium.Wrapper):
    def reset(self, *, seed=None, options=None):
        self.about = [os.getpid(), seed, 0]
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        answer = self.env.step(action)
        self.about[2] += 1
        os.write(told, (" ".join(map(str, self.about)) + "\\n").encode())  # this transition has happened
        return answer

def work(folder, address):
    global told
    told = os.open(Path(folder) / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    opened = actor.open_world
    actor.open_world = lambda *arguments: Told(opened(*arguments))
    actor.run_actor(small_config(Path(folder)), address, 0, "")
"""
CARELESS = """
from robo_reward.runtime.spool import Spool
follow = Spool.follow
Spool.follow = lambda self, recorder: follow(self, recorder) if recorder.ended else None
"""
"""The control: an episode is written when it has ended."""
PATIENT_S = 300.0
"""Beyond which a test is stuck [s]."""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_until(reached, what):
    until = time.monotonic() + PATIENT_S
    while not reached():
        assert time.monotonic() < until, f"never came: {what}"
        time.sleep(0.005)


def kill_the_learner(folder, kills, seed, before=""):
    """Lost and doubled records, as sentences, and the longest time until one was acknowledged again [s]."""
    rng, address = random.Random(seed), f"127.0.0.1:{free_port()}"
    sent, acknowledged = {}, 0

    class Watched(Spool):
        def batch(self, size):
            found = super().batch(size)
            sent.update({number: (kind, payload) for number, kind, payload in found})
            return found

        def acknowledge(self, following):
            nonlocal acknowledged
            acknowledged = max(acknowledged, following)
            super().acknowledge(following)

    ended = []

    def play():
        try:
            ended.append(run_actor(small_config(folder, patience_s=PATIENT_S), address, 0, ""))
        except ValueError as error:
            ended.append(str(error))

    forks, slowest = Forks(before + LEARNER), 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robo_reward.runtime.actor.Spool", Watched)
        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        for _ in range(kills):
            known, begun = acknowledged, time.monotonic()
            process = forks.start(str(folder), address, 10**6)
            wait_until(lambda known=known: acknowledged > known or ended, "an acknowledgement")
            slowest = max(slowest, time.monotonic() - begun)
            wanted = acknowledged + rng.randint(0, 12)
            wait_until(lambda wanted=wanted: acknowledged >= wanted or ended, "some more")
            time.sleep(rng.random() * 0.05)
            forks.kill(process)
            if ended:
                break
        with TransitionStore(folder / "stage" / "store") as store:
            rollouts = len(store.episodes())
        if not ended:
            forks.start(str(folder), address, rollouts)  # to its end
            thread.join(PATIENT_S)
    forks.close()
    broken = [] if ended and isinstance(ended[0], int) else [f"the actor ended with {ended}"]
    index = verify(folder / "stage" / "store")
    broken += [f"episode {name} is broken" for name in (*index.broken, *index.abandoned)]
    with TransitionStore(folder / "stage" / "store") as store:
        online = [entry for entry in store.episodes() if entry.actor == "online-0"]
        known = store.index.actors.get("online-0")
        stored = 0 if known is None else known.acknowledged + 1
        if stored < acknowledged:
            broken.append(f"{acknowledged - stored} acknowledged records are lost")
        seeds = [entry.header.seed for entry in online]
        if seeds != list(range(min(seeds, default=0), min(seeds, default=0) + len(seeds))):
            broken.append("a rollout is lost or there twice")
        for entry in online:
            if any(sent.get(r.sequence) != (r.kind, r.payload) for r in store.records(entry)):
                broken.append(f"episode {entry.episode_id} is not what was sent")
    return broken, slowest


@pytest.mark.timeout(7200)
def test_nothing_acknowledged_is_lost_when_the_learner_is_killed(tmp_path):
    kills = fault_count(20, 200)
    broken, slowest = kill_the_learner(tmp_path / "run", kills, 0)
    control, _ = kill_the_learner(tmp_path / "control", 20, 0, before=HASTY)
    what = f"kill -9 of the learner; acknowledging again took {slowest:.1f} s at most, its start included"
    record_fault("S1", what, injected=kills, broken=broken, control_failed=len(control))


def kill_the_actor(folder, kills, seed, before=""):
    """Episodes that lost more than the transition under way, as sentences."""
    rng, told = random.Random(seed), folder / "told"
    config = small_config(folder, rollouts=10**6, evaluate_every=10**6, horizon=25)
    school, forks = small_school(config, folder), Forks(before + ACTOR)

    def steps():
        return told.read_bytes().count(b"\n") if told.exists() else 0

    with learning(config, school, folder / "stage") as learner:
        for _ in range(kills):
            wanted = steps() + rng.randint(1, 60)
            process = forks.start(str(folder), learner.address)
            wait_until(lambda wanted=wanted, process=process: steps() >= wanted or not alive(process), "steps")
            time.sleep(rng.random() * 0.01)
            forks.kill(process)
        after = steps() + 60
        last = forks.start(str(folder), learner.address)  # a replacement closes what was left open
        wait_until(lambda: steps() >= after or not alive(last), "the replacement")
        forks.kill(last)
        time.sleep(0.5)
        done = {}
        for line in told.read_text().splitlines():
            pid, number, step = map(int, line.split())
            done[number, pid] = step
        with TransitionStore(folder / "stage" / "store") as store:
            length = {entry.header.seed: entry.ending.steps for entry in store.episodes()}
    forks.close()
    newest = {number: pid for number, pid in done}
    broken = []
    for (number, pid), steps_done in done.items():
        kept = length.get(number, 0) if newest[number] == pid else 0
        if pid != last and steps_done - kept > 1:
            broken.append(f"rollout {number}: {steps_done} steps were done, {kept} are there")
    return broken


@pytest.mark.timeout(7200)
def test_a_killed_actor_loses_the_transition_under_way_and_no_other(tmp_path):
    kills = fault_count(20, 200)
    (tmp_path / "run").mkdir()
    (tmp_path / "control").mkdir()
    broken = kill_the_actor(tmp_path / "run", kills, 0)
    control = kill_the_actor(tmp_path / "control", 5, 0, before=CARELESS)
    record_fault("S7", "kill -9 of an actor, its episode closed by a replacement", injected=kills, broken=broken,
                 control_failed=len(control))  # fmt: skip


def roles_of(folder):
    """Name -> process id of every role's newest process, as the supervisor tells."""
    log, found = folder / "run" / "logs" / "supervisor.jsonl", {}
    for line in log.read_text().splitlines() if log.exists() else ():
        told = json.loads(line)
        if told["event"] == "started":
            found[told["name"]] = told["pid"]
    return found


def stored(folder):
    try:
        with TransitionStore(folder / "stage" / "store") as store:
            return [entry for entry in store.episodes() if entry.actor != "demonstrations"]
    except FileNotFoundError:
        return []


SUPERVISOR = """
import json, sys
from functools import partial
from pathlib import Path
from robo_reward.runtime.supervisor import supervise
from robo_reward.testing.small_run import learn_small, small_config

if __name__ == "__main__":
    folder, rollouts = Path(sys.argv[1]), int(sys.argv[2])
    config = small_config(folder, rollouts=rollouts, evaluate_every=10**6, patience_s=300.0)
    with open(folder / "rows", "a") as rows:
        def log(step, **row):
            rows.write(json.dumps(row) + "\\n")
            rows.flush()
        summary = supervise(config, partial(learn_small, config, folder), log)
    (folder / "summary").write_text(json.dumps(summary))
"""


@pytest.mark.timeout(7200)
def test_a_run_goes_on_to_its_end_whichever_role_is_killed(tmp_path):
    """Learner, actor, and the supervisor, which takes both with it and is started again by the same command."""
    kills, broken = fault_count(1, 5), []
    rollouts = 12 * (kills + 1)
    config = small_config(tmp_path, rollouts=rollouts, evaluate_every=10**6, patience_s=PATIENT_S)
    (tmp_path / "program.py").write_text(SUPERVISOR)

    def start():
        return subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(tmp_path), str(rollouts)])

    def wait_for(reached, what):
        wait_until(lambda: run.poll() is not None or reached(), what)

    run = start()
    try:
        for number in range(kills):
            for name in ("learner", "actor-0", "supervisor"):
                wanted = len(stored(tmp_path)) + 2
                wait_for(lambda wanted=wanted: len(stored(tmp_path)) >= wanted, "rollouts")
                if run.poll() is not None:
                    broken.append(f"the run ended before kill {number} of {name}")
                    break
                roles = roles_of(tmp_path)
                if name == "supervisor":
                    run.kill()
                    run.wait()
                    wait_until(lambda roles=roles: not any(map(alive, roles.values())), "the end of the roles")
                    run = start()
                else:
                    os.kill(roles[name], signal.SIGKILL)
                newer = "learner" if name == "supervisor" else name
                wait_for(lambda n=newer, p=roles[newer]: roles_of(tmp_path)[n] != p, "the next process")
        if run.wait(PATIENT_S) != 0:
            broken.append(f"the run ended with exit code {run.returncode}")
    finally:
        run.kill()
    if json.loads((tmp_path / "summary").read_text())["rollouts"] != rollouts:
        broken.append("the run ended too soon")
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    told = [row["rollout"] for row in rows]
    if sorted(set(told)) != list(range(1, rollouts + 1)):
        broken.append(f"rollouts {told} were learned from")
    index = verify(tmp_path / "stage" / "store")
    broken += [f"episode {name} is broken" for name in (*index.broken, *index.abandoned)]
    # What it learned is what the store says: a learner that nobody killed ends with the same weights.
    shutil.copytree(tmp_path / "stage" / "store", tmp_path / "again" / "store")
    with learning(config, small_school(config, tmp_path), tmp_path / "again") as learner:
        learner.wait()
    if digest_of(load_weights(tmp_path / "again" / "agent")[0]) != digest_of(
        load_weights(tmp_path / "stage" / "agent")[0]
    ):
        broken.append("a learner that was killed ends with other weights than one that was not")
    record_fault("S1", "each role of runtime=async killed, the run to its end", injected=3 * kills, broken=broken)
