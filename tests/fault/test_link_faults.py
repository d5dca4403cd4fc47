"""Rows N1, N2, N3 and X1: the line fails, messages and weights are damaged, and what comes over it is hostile."""

import json
import math
import random
import threading
import time
from contextlib import closing
from dataclasses import asdict, replace
from hashlib import sha256

import grpc
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("mujoco")

import torch
from safetensors.torch import load, save

from robo_reward import __version__
from robo_reward.config import Config
from robo_reward.data.episode_records import encode_episode, encode_frames
from robo_reward.data.store import TransitionStore, verify
from robo_reward.learning.weights import digest_of
from robo_reward.runtime import actor, messages
from robo_reward.runtime.actor import run_actor
from robo_reward.runtime.intake import Intake
from robo_reward.runtime.link import Lost, Server, Unknown
from robo_reward.runtime.local import open_learner
from robo_reward.runtime.messages import Ask, Join, Records, decode, encode, records_crc
from robo_reward.runtime.published import (
    About,
    acting_weights,
    fetch_files,
    new_actor_agent,
    pack_weights,
    read_about,
    take_weights,
    unpack_weights,
)
from robo_reward.runtime.role_log import RoleLog
from robo_reward.runtime.spool import Spool
from robo_reward.runtime.tasks import first_seed
from robo_reward.testing.chaos_proxy import ChaosProxy
from robo_reward.testing.faults import fault_count, record_fault
from robo_reward.testing.small_run import learning, small_config, small_school

pytestmark = pytest.mark.fault
SESSION = "ab" * 8
PATIENT_S = 300.0


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    folder = tmp_path_factory.mktemp("school")
    return small_school(small_config(folder), folder)


@pytest.fixture
def desk(school, tmp_path):
    """The learner's end, with nobody learning."""
    config, s = small_config(tmp_path), school
    opened = open_learner(config, s.base, s.demonstrations, s.annotate, s.load_annotate, tmp_path / "run", print)
    with opened as learner, closing(RoleLog(tmp_path, "learner", "r")) as log:
        yield Intake(config, learner, tmp_path / "run", s.files, log)


def rollout(school):
    seed, demonstration = first_seed(0, "online"), school.demonstrations[0]
    base = np.zeros((len(demonstration) + 1, 4), np.float32)
    phase = np.zeros((len(base), school.base.phase(school.base.initial_state(1)).shape[1]), np.float32)
    return replace(
        demonstration, seed=seed, episode_id=f"policy-{seed}", source="policy", base_id=school.base.policy_id,
        base_action=base, base_phase=phase,
    )  # fmt: skip


def records_of(episode):
    kinds, payloads = zip(*encode_episode(episode), strict=True)
    return Records(0, SESSION, 0, kinds, payloads, records_crc(kinds, payloads))


def break_the_line(school, folder, faults, seed, heal_s, longest_s=3.0):
    """What did not hold, as sentences; the longest time from the line's repair to the next word [s]."""
    rng, broken, slowest = random.Random(seed), [], 0.0
    config = small_config(folder, rollouts=10**6, evaluate_every=10**6, patience_s=PATIENT_S, ahead=20)
    with learning(config, school, folder / "stage") as learner, TransitionStore(folder / "stage" / "store") as store:
        proxy, ended = ChaosProxy(learner.address), []

        def play():
            try:
                ended.append(run_actor(config, proxy.address, 0, ""))
            except ValueError as error:
                ended.append(str(error))

        def acknowledged():
            store.refresh()
            known = store.index.actors.get("online-0")
            return -1 if known is None else known.acknowledged

        def come(wanted, within_s):
            until = time.monotonic() + within_s
            while acknowledged() < wanted and not ended and time.monotonic() < until:
                time.sleep(0.01)
            return acknowledged() >= wanted

        threading.Thread(target=play, daemon=True).start()
        assert come(0, PATIENT_S), f"the actor never began: {ended}"
        for fault in range(faults):
            how = rng.choice([proxy.drop, proxy.freeze])
            how()
            time.sleep(math.exp(rng.uniform(math.log(0.1), math.log(longest_s))))
            before = acknowledged()
            proxy.mend()
            mended = time.monotonic()
            if not come(before + 1, heal_s):
                broken.append(f"fault {fault}: nothing came {heal_s:g} s after the line was sound")
                break
            slowest = max(slowest, time.monotonic() - mended)
            come(before + 20, PATIENT_S)
        proxy.close()
        index = verify(folder / "stage" / "store")
        broken += [f"episode {name} is broken" for name in (*index.broken, *index.abandoned)]
        broken += [f"the actor ended: {why}" for why in ended]
    return broken, slowest


@pytest.mark.timeout(7200)
def test_an_actor_comes_back_after_the_line_was_cut_or_dead(school, tmp_path, monkeypatch):
    faults, longest_s = fault_count(10, 50), fault_count(3, 120)
    broken, slowest = break_the_line(school, tmp_path / "run", faults, 0, PATIENT_S, longest_s)
    monkeypatch.setattr("robo_reward.runtime.uplink.CALL_S", 3600.0)  # the control: no deadline
    control, _ = break_the_line(school, tmp_path / "control", faults, 0, 20.0)
    what = (
        f"line dropped or half open for 0.1 to {longest_s} s; sending again {slowest:.1f} s after it was sound at most"
    )
    record_fault("N1", what, injected=faults, broken=broken, control_failed=len(control))


def mutated(data, rng):
    """The bytes with some changed, cut, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 9))
        elif kind == 3:
            data = data + data[at : at + 40]
        elif data:
            data[at % len(data)] = rng.randrange(256)
    return bytes(data)


def messages_of(school):
    """A sound message for every method."""
    return {"Join": Join(__version__, 0, SESSION), "Send": records_of(rollout(school)),
            "Get": Ask(0, SESSION, "base/x", 0)}  # fmt: skip


class Refusal(Exception):
    """What gRPC would tell the peer."""


class Context:
    """A call without the wire."""

    def invocation_metadata(self):
        return [("token", "")]

    def abort(self, code, words):
        raise Refusal(code, words)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["Join", "Send", "Get"])
def test_no_fuzzed_message_is_taken_by_what_answers_a_call(school, desk, name):
    """All that a call meets but gRPC itself, which is most of its time: many more than over the wire."""
    rng, sound, trouble, broken = random.Random(name), encode(messages_of(school)[name]), [], []
    count, slowest_s, lax, kind = fault_count(10_000, 1_000_000), 0.0, 0, desk.methods[name][0]
    desk.join(Join(__version__, 0, SESSION))
    with closing(Server("127.0.0.1:0", desk.methods, "", trouble.append)) as server:
        answer = server._answer(*desk.methods[name])
        for number in range(count):
            if (data := mutated(sound, rng)) == sound:
                continue
            begun = time.thread_time()
            try:
                answer(data, Context())
                taken = decode(kind, data)  # raises where it should not have been taken
                if kind is Records and records_crc(taken.kinds, taken.payloads) != taken.crc:
                    broken.append(f"{name} {number} was taken")
            except ValueError:
                broken.append(f"{name} {number} was taken against the schema")
            except Refusal as refusal:
                if refusal.args[0] is grpc.StatusCode.UNAVAILABLE:
                    broken.append(f"{name} {number}: {trouble[-1]}")
            slowest_s = max(slowest_s, time.thread_time() - begun)
            if number < 10_000:
                try:
                    messages._wire_types()[kind.__name__]().ParseFromString(data)
                    lax += 1  # the control: what protobuf itself takes
                except Exception:  # noqa: BLE001
                    pass
    if slowest_s > 0.05:
        broken.append(f"{name} took {slowest_s:.3f} s of processor time")
    if verify(desk._store.folder).broken:
        broken.append("the store is broken")
    what = f"mutated messages to {name}, without the wire; slowest {slowest_s * 1e3:.1f} ms of processor time"
    record_fault("N2", what, injected=count, broken=broken, control_failed=lax)


def test_no_fuzzed_message_is_taken_and_the_learner_answers_on(school, desk, tmp_path):
    from robo_reward.runtime.messages import _wire_types

    rng, whole = random.Random(0), messages_of(school)
    episode, sound = whole["Send"], {name: encode(message) for name, message in whole.items()}
    trouble, broken, count, lax, slowest = [], [], 10_000, 0, 0.0
    with closing(Server("127.0.0.1:0", desk.methods, "", trouble.append)) as server:
        channel = grpc.insecure_channel(server.address)
        calls = {name: channel.unary_unary(f"/robo_reward.Link/{name}") for name in whole}
        calls["Join"](encode(whole["Join"]), timeout=30)
        for number in range(count):
            name = ("Join", "Send", "Get")[number % 3]
            data, begun = mutated(sound[name], rng), time.monotonic()
            if data == sound[name]:
                continue
            kind = desk.methods[name][0]
            try:
                _wire_types()[kind.__name__]().ParseFromString(data)
                lax += 1  # the control: what protobuf itself takes
            except Exception:  # noqa: BLE001
                pass
            try:
                calls[name](data, timeout=30)
                taken = decode(kind, data)  # raises where it should not have been taken
                fits = kind is not Records or records_crc(taken.kinds, taken.payloads) == taken.crc
                if not fits or (kind is Join and taken.version != __version__):
                    broken.append(f"{name} {number} was taken")
            except ValueError:
                broken.append(f"{name} {number} was taken against the schema")
            except grpc.RpcError as error:
                codes = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS
                if error.code() not in codes:
                    broken.append(f"{name} {number}: {error.code()}")
            slowest = max(slowest, time.monotonic() - begun)
        calls["Join"](encode(whole["Join"]), timeout=30)
        calls["Send"](encode(episode), timeout=30)  # it still works
        channel.close()
    broken += trouble
    if desk.wait(1, 0.0) is not None or desk.wait(0, 0.0) is None:
        broken.append("not exactly the sound episode is in the store")
    what = f"mutated messages at every method of the link; slowest answer {slowest * 1e3:.0f} ms"
    record_fault("N2", what, injected=count, broken=broken, control_failed=lax)


def bad_weights(part, agent, rng):
    """A message of weights with one thing wrong with it, and what it is."""
    weights, data = load(part.data), bytearray(part.data)
    name, kind = rng.choice(sorted(weights)), rng.randrange(7)
    if kind == 0:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return replace(part, data=bytes(data)), "a flipped bit"
    if kind == 1:
        return replace(part, data=bytes(data[: rng.randrange(len(data))])), "cut short"
    if kind == 2:
        cut = bytes(data[: rng.randrange(len(data))])
        return replace(part, data=cut, sha256=sha256(cut).hexdigest()), "cut short, checksum made to fit"
    if kind == 3:
        weights[name].view(-1)[rng.randrange(weights[name].numel())] = rng.choice([float("nan"), float("inf")])
    elif kind == 4:
        weights[name] = torch.zeros((*weights[name].shape, 2))
    elif kind == 5:
        weights[name] = weights[name].double()
    else:
        weights[f"{name}x"] = weights.pop(name)
    changed = save(weights)
    return replace(part, data=changed, sha256=sha256(changed).hexdigest()), ("", "", "", "not finite", "another shape",
        "another type", "another name")[kind]  # fmt: skip


def test_bad_weights_leave_the_old_policy(school, desk):
    rng, broken, control, count = random.Random(0), [], 0, fault_count(1000, 1000)
    agent = new_actor_agent(desk.config, read_about(desk._about.to_json()))
    good = pack_weights(1, desk._agent)
    take_weights(agent, unpack_weights(good, agent))
    before = digest_of(acting_weights(agent))
    assert before == digest_of(acting_weights(desk._agent))
    for number in range(count):
        part, what = bad_weights(good, agent, rng)
        if part.data == good.data:
            continue
        try:
            take_weights(agent, unpack_weights(part, agent))
            broken.append(f"{number}: {what} was taken")
        except ValueError:
            pass
        try:  # the control: safetensors alone
            loaded = load(part.data)
            control += digest_of(loaded) != before
        except Exception:  # noqa: BLE001
            pass
    if digest_of(acting_weights(agent)) != before:
        broken.append("the policy has changed")
    with torch.no_grad():
        next(iter(desk._agent.actor.parameters())).view(-1)[0] = float("nan")
    with pytest.raises(FloatingPointError, match="not published"):
        desk.publish(2)
    assert desk._weights.version == 0, "the learner hands out what is not finite"
    record_fault("N3", "bad weights for an actor", injected=count, broken=broken, control_failed=control)


def hostile_abouts(about):
    """Descriptions of an agent that no actor may follow."""
    sound = asdict(about)
    size = {name: 3 for name in about.files}
    for name in ("base/../../evil", "/etc/cron.d/evil", "base/.hidden", "base//x", "base/x\n", "b" * 5000, ""):
        yield json.dumps({**sound, "files": {name: "0" * 64}, "sizes": {name: 3}})
    yield json.dumps({**sound, "files": {f"base/{n}": "0" * 64 for n in range(2000)}, "sizes": {}})
    yield json.dumps({**sound, "sizes": dict.fromkeys(size, 1 << 60)})
    yield json.dumps({**sound, "std": [0.0] * len(about.std)})
    yield json.dumps({**sound, "mean": [1e999] * len(about.mean)})
    yield json.dumps({**sound, "action_size": 1 << 40})
    yield json.dumps({**sound, "_target_": "os.system"})
    yield "[" * 100_000
    yield "!!python/object/apply:os.system ['touch evil']"


def test_hostile_artefacts_have_no_effect(school, desk, tmp_path):
    desk.join(Join(__version__, 0, SESSION))
    welcome, broken, tried = desk.join(Join(__version__, 0, SESSION)), [], 0

    def refused(what, act, kind=ValueError):
        nonlocal tried
        tried += 1
        try:
            act()
            broken.append(f"{what} was taken")
        except kind:
            pass

    for text in hostile_abouts(desk._about):
        refused(f"description {text[-40:]}", lambda text=text: read_about(text))
    settings = json.loads(welcome.config)
    for wrong in (
        {**settings, "hydra": {"_target_": "os.system"}},
        {**settings, "env": {**settings["env"], "count": "import os"}},
        {**settings, "agent": {**settings["agent"], "hidden": -1}},
        [settings],
        "x",
    ):
        config = replace(welcome, config=json.dumps(wrong))
        refused("settings", lambda config=config: actor._settings(Config(), config))
    refused("nested settings", lambda: actor._settings(Config(), replace(welcome, config="[" * 100_000)))
    for run in ("../evil", "", "a/b", "x" * 65):
        refused(f"run {run[:9]}", lambda run=run: actor._word(run))
    kinds, payloads = zip(*encode_episode(rollout(school)), strict=True)
    bomb = bytearray(encode_frames(0, {"front": np.zeros((84, 84, 3), np.uint8)}))
    at = bomb.index(b"IHDR") + 4
    bomb[at : at + 8] = (60_000).to_bytes(4, "big") * 2
    header = json.loads(payloads[0])
    for extra in (
        (3, bytes(bomb)),
        (1, json.dumps({**header, "widths": {**header["widths"], "action": 1 << 31}}).encode()),
        (1, b"[" * 100_000),
        (9, b""),
    ):
        parts = ((kinds[0], extra[0]), (payloads[0], extra[1])) if extra[0] != 1 else ((1,), (extra[1],))
        refused(f"record {extra[0]}", lambda p=parts: desk.send(Records(0, SESSION, 0, *p, records_crc(*p))))
    refused("a huge message", lambda: decode(Join, encode(Join("1", 0, "a")) + bytes(messages.MAX_BYTES)))
    refused("a foreign session", lambda: desk.send(Records(1, SESSION, 0, (), (), records_crc((), ()))), Unknown)
    refused("a false checksum", lambda: desk.send(Records(0, SESSION, 0, (1,), (b"",), 7)), Lost)
    offered = replace(desk._about, files={"base/x": "0" * 64}, sizes={"base/x": 3})
    refused("another file than announced", lambda: fetch_files(offered, tmp_path / "files", lambda *_: b"abc"))
    endless = replace(offered, sizes={"base/x": 10})
    refused("an endless file", lambda: fetch_files(endless, tmp_path / "files", lambda *_: b"x" * 4096))
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "000001.log").write_bytes(random.Random(0).randbytes(100_000))
    with closing(Spool(spool)) as found:
        tried += 1
        if found.records:
            broken.append("garbage in a spool was taken for records")
    index = verify(tmp_path / "run" / "store")
    if "online-0" in index.actors and index.actors["online-0"].acknowledged >= 0:
        broken.append("something hostile is in the store")
    if (tmp_path / "files").exists() and any(path.is_file() for path in (tmp_path / "files").rglob("*")):
        broken.append("a file that was refused is on the disk")
    outside = {"base/../../evil": sha256(b"abc").hexdigest()}
    unchecked = About(**{**asdict(desk._about), "files": outside, "sizes": dict.fromkeys(outside, 3)})
    (tmp_path / "deep" / "files" / "base").mkdir(parents=True)
    fetch_files(unchecked, tmp_path / "deep" / "files", lambda *_: b"abc")  # the control: a name that is not checked
    escaped = int((tmp_path / "deep" / "evil").exists())
    record_fault("X1", "hostile artefacts over the link", injected=tried, broken=broken, control_failed=escaped)
