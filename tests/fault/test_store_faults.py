"""The transition store under kills, power loss, full disks and flipped bits (rows S1 to S4), each with its control.

A control runs the same faults with the protection taken away, and must fail: otherwise the test shows nothing.
"""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from robo_reward.data import record_log
from robo_reward.data.episode_records import encode_episode
from robo_reward.data.store import TransitionStore, verify
from robo_reward.testing.episodes import make_episode as blank_episode
from robo_reward.testing.faults import fault_count, record_fault
from robo_reward.testing.faulty_disk import FaultyDisk, PowerLost

pytestmark = pytest.mark.fault
ACTORS = ("left", "right")


def make_episode(name, steps=4, frames=True):
    rng = np.random.default_rng(abs(hash_of(name)))
    return blank_episode(
        steps, name, seed=1, agent_pos=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        estimate=rng.normal(size=(steps + 1, 2)).astype(np.float32),
        action=rng.uniform(-1, 1, (steps, 2)).astype(np.float32), reward=np.ones(steps, np.float32),
        stage=np.arange(steps + 1), oracle=np.ones(steps + 1, np.float32),
        frame_steps=np.array([0, steps]) if frames else np.zeros(0, np.int64),
        frames={"front": rng.integers(0, 256, (2, 6, 6, 3)).astype(np.uint8)} if frames else {},
    )  # fmt: skip


def hash_of(name):
    """The same in every process, unlike hash()."""
    return int.from_bytes(name.encode(), "little") % 2**32


def same(ours, theirs):
    arrays = ("agent_pos", "estimate", "action", "reward", "stage", "oracle", "frame_steps")
    return all(np.array_equal(getattr(ours, name), getattr(theirs, name)) for name in arrays) and all(
        np.array_equal(ours.frames[view], theirs.frames[view]) for view in theirs.frames
    )


def batches(seed, episodes=4):
    """What two actors send: (actor, its records), in random pieces and a random interleaving."""
    rng = random.Random(seed)
    queues = {}
    for actor in ACTORS:
        records = [record for i in range(episodes) for record in encode_episode(make_episode(f"{actor}-{seed}-{i}"))]
        queues[actor] = [(number, *record) for number, record in enumerate(records)]
    while any(queues.values()):
        actor = rng.choice([name for name in ACTORS if queues[name]])
        size = rng.randint(1, 9)
        yield actor, queues[actor][:size]
        queues[actor] = queues[actor][size:]


def losses(folder, acknowledged):
    """What is wrong with a store that had acknowledged so much, in words; empty when nothing is."""
    try:
        with TransitionStore(folder, writable=True) as store:
            for actor, number in acknowledged.items():
                known = store.index.actors.get(actor)
                if number >= 0 and (known is None or known.acknowledged < number):
                    return f"{actor}: {number} acknowledged, {known and known.acknowledged} there"
            if store.index.broken:
                return f"episode {store.index.broken[0]} lost a record"
            for entry in store.episodes():
                if not same(store.read(entry.episode_id), make_episode(entry.episode_id)):
                    return f"episode {entry.episode_id} differs"
    except (FileNotFoundError, ValueError) as error:
        return str(error) if any(number >= 0 for number in acknowledged.values()) else ""
    return ""


# ---- S2: the power goes ----


def lose_power(folder, seed, ignores_sync):
    """Fill a store until the power goes at a random operation; returns what was acknowledged until then."""
    rng = np.random.default_rng(seed)
    disk = FaultyDisk(folder, stop_at=int(rng.integers(1, 60)), ignores_sync=ignores_sync)
    acknowledged = dict.fromkeys(ACTORS, -1)
    try:
        store = TransitionStore(folder / "store", writable=True, disk=disk, segment_bytes=int(rng.integers(500, 8000)))
        for actor, records in batches(seed):
            acknowledged[actor] = store.append(actor, records)
    except PowerLost:
        pass
    if "store" in locals():
        store.close()
    disk.lose_power(rng)
    return acknowledged


def test_power_loss_costs_nothing_that_was_acknowledged(tmp_path):
    broken, injected, control = [], fault_count(500, 10_000), 0
    for seed in range(injected):
        folder = tmp_path / "machine"
        if wrong := losses(folder / "store", lose_power(folder, seed, ignores_sync=False)):
            broken.append(f"seed {seed}: {wrong}")
        shutil.rmtree(folder)
        if seed < 50:  # the control: the same with syncs that do nothing
            control += bool(losses(folder / "store", lose_power(folder, seed, ignores_sync=True)))
            shutil.rmtree(folder)
    record_fault(
        "S2", "power loss during appends to the store", injected=injected, broken=broken, control_failed=control
    )


# ---- S3: the disk is full or fails ----


def fill(folder, seed, **fault):
    """Append everything, each batch up to three times; returns what was acknowledged and whether an error was seen."""
    disk = FaultyDisk(folder, **fault)
    acknowledged, errors, store = dict.fromkeys(ACTORS, -1), 0, None
    pending = list(batches(seed, episodes=2))
    for _ in range(len(pending) * 3):
        if not pending:
            break
        try:
            store = store or TransitionStore(folder / "store", writable=True, disk=disk, segment_bytes=1500)
            acknowledged[pending[0][0]] = store.append(*pending[0])
            pending.pop(0)
        except OSError:
            errors += 1
    if store is not None:
        store.close()
    return acknowledged, errors, len(pending), len(disk.operations)


@pytest.mark.parametrize("short_write", [False, True])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_never_leads_to_a_false_acknowledgement(tmp_path, error, short_write):
    operations = fill(tmp_path / "count", 0)[3]
    broken, injected = [], 0
    for lasting in (False, True):
        for number in range(1, operations + 1):
            folder = tmp_path / f"{lasting}-{number}"
            acknowledged, errors, left, _ = fill(
                folder, 0, fail_at=number, error=error, short_write=short_write, lasting=lasting
            )
            injected += 1
            wrong = losses(folder / "store", acknowledged)
            if wrong or not errors or (left and not lasting):
                broken.append(
                    f"operation {number}, lasting {lasting}: {wrong or 'no error seen, or it never recovered'}"
                )
            shutil.rmtree(folder)
    what = f"{os.strerror(error)}{', half written' if short_write else ''}, at every operation of the store"
    record_fault("S3", what, injected=injected, broken=broken, control_failed=control_of_s3(tmp_path))


def control_of_s3(tmp_path):
    """The same sweep over a store that acknowledges what it could not sync."""
    original, failed = record_log.RecordLog.append, 0

    def careless(self, records):
        try:
            return original(self, records)
        except OSError:
            return [(record_log.Position(0, 0), record_log.Position(0, 0))] * len(records)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_log.RecordLog, "append", careless)
        runs = [(n, fill(tmp_path / f"control-{n}", 0, fail_at=n)[0]) for n in range(1, 40)]
    for number, acknowledged in runs:
        failed += bool(losses(tmp_path / f"control-{number}" / "store", acknowledged))
    return failed


# ---- S4: bits flip ----


def flipped(folder, rng, original):
    """Write the files of a store with one byte of one of them changed."""
    name = rng.choice([name for name, data in original.items() if data])
    data = bytearray(original[name])
    data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    for other, content in original.items():
        (folder / other).write_bytes(bytes(data) if other == name else content)


def wrong_values(folder, episodes):
    """What a reader of a damaged store got wrong, in words; a refusal in one line is right."""
    try:
        for store in (TransitionStore(folder), TransitionStore(folder, writable=True)):
            with store:
                for entry in store.episodes():
                    if entry.episode_id not in episodes:
                        return f"invented episode {entry.episode_id!r}"
                    if not same(store.read(entry.episode_id), episodes[entry.episode_id]):
                        return f"episode {entry.episode_id} differs"
        verify(folder)
    except ValueError:
        return ""
    except Exception as error:  # noqa: BLE001 - any other is the failure that is looked for
        return f"{type(error).__name__}: {error}"
    return ""


def flips(folder, original, episodes, seeds):
    found = []
    for seed in seeds:
        flipped(folder, random.Random(seed), original)
        if wrong := wrong_values(folder, episodes):
            found.append(f"seed {seed}: {wrong}")
    return found


def test_a_flipped_byte_never_gives_a_wrong_value(tmp_path, monkeypatch):
    episodes = {name: make_episode(name, 6) for name in ("a", "b", "c")}
    with TransitionStore(tmp_path, writable=True) as store:
        number = 0
        for episode in episodes.values():
            number = store.append_episode("arm", number, episode)
    original = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    injected = fault_count(1000, 10_000)
    broken = flips(tmp_path, original, episodes, range(injected))
    monkeypatch.setattr(record_log, "intact", lambda body, checksum: True)
    control = len(flips(tmp_path, original, episodes, range(100)))
    record_fault("S4", "one byte of the store changed", injected=injected, broken=broken, control_failed=control)


# ---- S1: kill -9 ----

LEARNER = """
import sys
sys.path.insert(0, {tests!r})
from test_store_faults import ACTORS, batches
from pathlib import Path
from robo_reward.data.store import TransitionStore

with TransitionStore(Path({folder!r}), writable=True) as store:
    # The actors go on with what was not acknowledged, from the beginning of its seed: some of it is there already.
    known = [store.index.actors[name].acknowledged if name in store.index.actors else 0 for name in ACTORS]
    for seed in range(min(known) // 10_000, 10**6):
        for actor, records in batches(seed + 1):
            # The actors' numbers go on from seed to seed.
            base = seed * 10_000
            last = store.append(actor, [(base + n, kind, payload) for n, kind, payload in records])
            print(actor, last, flush=True)
"""


def kill_writers(folder, kills, write_through=True):
    """Kill writing processes at random moments; returns (what was lost, slowest restart [s])."""
    rng, acknowledged, wrong, slowest = random.Random(0), dict.fromkeys(ACTORS, -1), [], 0.0
    code = LEARNER.format(tests=os.path.dirname(__file__), folder=str(folder))
    if not write_through:  # the control: acknowledged while the records are still in the process's memory
        code = code.replace("with Trans", CARELESS + "\nwith Trans")
    for kill in range(kills):
        started = time.monotonic()
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, bufsize=1)
        lines, wanted = 0, rng.randint(1, 60)
        for line in child.stdout:
            if lines == 0:
                slowest = max(slowest, time.monotonic() - started)
            if not line.endswith("\n"):
                break  # the kill cut it short
            actor, number = line.split()
            acknowledged[actor] = max(acknowledged[actor], int(number))
            lines += 1
            if lines == wanted:
                time.sleep(rng.random() * 0.01)
                child.send_signal(signal.SIGKILL)
        child.wait()
        if child.returncode != -signal.SIGKILL:
            wrong.append(f"kill {kill}: the writer did not start again")
        elif lost := losses(folder, acknowledged):
            wrong.append(f"kill {kill}: {lost}")
    return wrong, slowest


CARELESS = """
from robo_reward.data import disk, record_log
held = []
def write(self, data):
    held.append((self, data))
    if len(held) > 40:
        for file, piece in held:
            original(file, piece)
        held.clear()
original, disk.AppendFile.write = disk.AppendFile.write, write
"""


def test_a_killed_writer_loses_nothing_that_was_acknowledged_and_keeps_nothing_twice(tmp_path):
    injected = fault_count(20, 200)
    broken, slowest = kill_writers(tmp_path / "store", injected)
    with TransitionStore(tmp_path / "store") as store:
        ids = [entry.episode_id for entry in store.episodes()]
        assert len(ids) == len(set(ids)) > injected  # so they wrote, and did not only send again
    assert slowest < 30
    control = len(kill_writers(tmp_path / "control", 3, write_through=False)[0])
    record_fault("S1", "kill -9 of the process that writes the store", injected=injected, broken=broken,
                 control_failed=control)  # fmt: skip
