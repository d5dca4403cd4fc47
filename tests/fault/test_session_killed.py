"""A session that loses power or is killed keeps every label that it acknowledged, and the episodes behind them."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from robo_reward.data.store import TransitionStore, verify
from robo_reward.hil.protocol import ABORTED, Protocol
from robo_reward.testing.faults import fault_count
from robo_reward.testing.faulty_disk import FaultyDisk, PowerLost

pytestmark = pytest.mark.fault

EVENTS = ["arm", "start", "success", "reset_done", "start", "finish", "failure", "undo", "partial", "reset_done"]
LABELS = [[], [], ["success"], ["success"], ["success"], ["success"], ["success", "failure"], ["success"],
          ["success", "partial"], ["success", "partial"]]  # fmt: skip
"""After each event."""


def labels_after_power_loss(root, stop_at, seed, **options):
    """(labels acknowledged, what the next event would have made of them, labels found) of a power loss there."""
    disk = FaultyDisk(root, stop_at=stop_at, **options)
    done = 0
    try:
        protocol = Protocol(root / "protocol.json", disk)
        for event in EVENTS:
            protocol.apply(event)
            done += 1
    except PowerLost:
        pass
    disk.lose_power(np.random.default_rng(seed))
    try:
        found = Protocol(root / "protocol.json").labels
    except ValueError as torn:
        found = [str(torn)]
    acknowledged = LABELS[done - 1] if done else []
    return acknowledged, LABELS[min(done, len(EVENTS) - 1)], found


def lost(tmp_path, **options):
    """The power losses after which an acknowledged label was gone."""
    whole, broken, cases = FaultyDisk(tmp_path / "whole"), [], 0
    protocol = Protocol(tmp_path / "whole" / "protocol.json", whole)
    for event in EVENTS:
        protocol.apply(event)
    for stop_at in range(1, len(whole.operations) + 1):
        for seed in range(fault_count(2, 20)):
            acknowledged, following, found = labels_after_power_loss(
                tmp_path / f"{stop_at}-{seed}", stop_at, seed, **options
            )
            cases += 1
            if [label for label in found if label != ABORTED] not in (acknowledged, following):
                broken.append(f"operation {stop_at}: {acknowledged} became {found}")
    assert cases > 20
    return broken


def test_a_power_loss_at_any_operation_loses_no_acknowledged_label(tmp_path):
    assert not lost(tmp_path / "real")
    assert lost(tmp_path / "control", ignores_sync=True)


PROGRAM = """
import sys, threading
from pathlib import Path
import gymnasium, numpy as np
from robo_reward.console.session import Session

class World(gymnasium.Env):
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    def reset(self, *, seed=None, options=None):
        self.now = 0
        return self.seen()[0], self.seen()[4]
    def step(self, action):
        self.now += 1
        return self.seen(action)
    def seen(self, action=None):
        rows = {"agent_pos": np.zeros(3, np.float32), "estimate": np.zeros(1, np.float32)}
        return rows, 0.0, False, self.now >= 40, {"instruction": "go", "stage": 0, "progress_oracle": 0.0,
                                                  "is_success": False, "executed_action": action}
    def render_views(self):
        return {"front": np.zeros((32, 32, 3), np.uint8)}

class Still:
    base_id = "still"
    def __call__(self, agent_pos, estimate):
        return np.zeros(2, np.float32), np.zeros(2, np.float32)
    def flush(self):
        pass

session = Session(World(), Still, Path(sys.argv[1]), fps=500, first_seed=0)
threading.Thread(target=session.run, daemon=True).start()
while True:
    for event in ("arm", "start", "success", "failure", "undo", "partial", "clear"):
        try:
            session.post(event).result()
            print(event, len(session.protocol.labels), flush=True)
        except ValueError:
            pass
"""


def test_a_killed_session_has_every_label_it_told_of_and_the_episodes_behind_them(tmp_path):
    rng = random.Random(0)
    for _ in range(fault_count(3, 30)):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True)
        lines = [process.stdout.readline() for _ in range(rng.randint(5, 60))]
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait()
        told = [line.split() for line in lines if line.endswith("\n")]
        labels = Protocol(tmp_path / "protocol.json").labels
        # The one event after the last line may have been kept without being told of; a cut episode adds a mark.
        assert abs(len(labels) - int(told[-1][1])) <= 2, (told[-3:], labels[-3:])
        assert not verify(tmp_path / "store").broken
        stored = {entry.episode_id for entry in TransitionStore(tmp_path / "store").episodes()}
        judged = {f"session-{number:05d}" for number, label in enumerate(labels) if label != ABORTED}
        assert judged <= stored, sorted(judged - stored)
