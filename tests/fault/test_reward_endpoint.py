"""Row N2 for serve-reward: mutated and invented messages. None is accepted against the schema, no crash, no hang."""

import json
import struct
import time

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from robo_reward.progress import wire
from robo_reward.progress.wire import decode_query, encode_query
from robo_reward.testing.faults import fault_count, record_fault
from robo_reward.types import HopQuery

pytestmark = pytest.mark.fault
HANG_S = 0.05
ODD = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 0.5, 1e308, "", "uint8", "|O", "x" * 5000, [], [0], [[]], [None], [-2],
    [10**9], {}, {"front": [1]}, {"front": [2**31, 8, 8, 3]}, {"front": [1, 8, 8, 3]}, [0] * 5000,
)  # fmt: skip


def question(rng):
    count, rows = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    frames = {v: rng.integers(0, 256, (count, 8, 8, 3), np.uint8) for v in ("front", "wrist")[: rng.integers(1, 3)]}
    index = rng.integers(0, count, (4, rows))
    return HopQuery(frames, *index, tuple(rng.choice(["do", "undo"], rows)))


def mutated(rng):
    """A question with flipped, cut, doubled or foreign bytes, or with one field of its header replaced."""
    body = encode_query(question(rng))
    size = struct.unpack_from("<4sI", body)[1]
    how = rng.integers(6)
    if how == 0:
        flipped = bytearray(body)
        for at in rng.integers(len(body), size=rng.integers(1, 9)):
            flipped[at] ^= int(rng.integers(1, 256))
        return bytes(flipped)
    if how == 1:
        return body[: rng.integers(len(body))]
    if how == 2:
        at = int(rng.integers(len(body)))
        return body[:at] + rng.bytes(int(rng.integers(1, 99))) + body[at:]
    if how == 3:
        return rng.bytes(int(rng.integers(0, 3000)))
    header = json.loads(body[8 : 8 + size])
    name = str(rng.choice([*header, "more"]))
    header[name] = ODD[rng.integers(len(ODD))]
    if how == 5:
        del header[str(rng.choice(list(header)))]
    head = json.dumps(header).encode()
    return b"RRH1" + struct.pack("<I", len(head)) + head + body[8 + size :]


def breaks_the_schema(query, body):
    """What is wrong with a question that was let in, told without the reader's own checks."""
    count = {len(f) for f in query.frames.values()}
    pixels = sum(f.size for f in query.frames.values())
    size = struct.unpack_from("<4sI", body)[1]
    index = np.stack([query.before_B, query.after_B, query.reference_start_B, query.reference_goal_B])
    return (
        len(count) != 1
        or any(f.dtype != np.uint8 or f.ndim != 4 or f.shape[3] != 3 for f in query.frames.values())
        or pixels != len(body) - 8 - size
        or index.dtype != np.int64
        or index[:2].min() < 0
        or index.min() < -1
        or index.max() >= min(count)
        or len(query.instruction_B) != index.shape[1]
        or not all(type(text) is str and 0 < len(text) <= 1000 for text in query.instruction_B)
    )


def fuzz(count):
    broken, slowest, accepted, rng = [], 0.0, 0, np.random.default_rng(0)
    for case in range(count):
        body, began = mutated(rng), time.thread_time()
        try:
            query = decode_query(body)
            accepted += 1
            if breaks_the_schema(query, body):
                broken.append(f"case {case} was accepted")
        except ValueError as error:
            if "\n" in str(error) or len(str(error)) > 400:
                broken.append(f"case {case}: {str(error)[:50]!r} is no single line")
        except Exception as error:  # noqa: BLE001  (whatever else it raises is what is looked for)
            broken.append(f"case {case}: {type(error).__name__}")
        took = time.thread_time() - began
        slowest = max(slowest, took)
        if took > HANG_S:
            broken.append(f"case {case} took {took:.3f} s")
    return broken, slowest, accepted


def test_no_message_is_accepted_against_the_schema_nor_crashes_or_holds_the_reader(monkeypatch):
    tried = fault_count(10_000, 1_000_000)
    broken, slowest, accepted = fuzz(tried)
    assert accepted > 0, "some mutations leave a question a question"
    monkeypatch.setattr(wire, "_column", lambda header, name, low, end: header[name])  # nobody looks at the indices
    control, _, _ = fuzz(2000)
    record_fault(
        "N2", f"fuzzed messages to serve-reward: slowest {1e3 * slowest:.1f} ms of processor time", injected=tried,
        broken=broken, control_failed=len(control),
    )  # fmt: skip


def test_the_service_itself_answers_fuzzed_messages_with_a_refusal_and_lives(tmp_path):
    """Over HTTP, with a double of a model; the reader alone is tried above."""
    import http.client
    from types import SimpleNamespace

    from robo_reward.config import ServeConfig
    from robo_reward.console.web import Server
    from robo_reward.progress.tracker import TrackerSettings
    from robo_reward.service.server import Service
    from robo_reward.testing.reward_server import constant

    settings = SimpleNamespace(views=("front", "wrist"), image_size=8, stages=4)
    model = SimpleNamespace(model_id="constant", settings=settings, hop=constant(0.25))
    reward = SimpleNamespace(model=model, tracker=TrackerSettings(), references={"do": [0]})
    server, rng, broken, tried = (
        Server(Service(reward, ServeConfig(wait_ms=0), "t"), 0),
        np.random.default_rng(1),
        [],
        300,
    )
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        for case in range(tried):
            connection.request("POST", "/hop", mutated(rng), {"Authorization": "Bearer t"})
            with connection.getresponse() as answer:
                status, text = answer.status, answer.read().decode()
            if status not in (200, 400) or "Traceback" in text:
                broken.append(f"case {case}: {status} {text[:80]}")
        connection.request("POST", "/hop", encode_query(question(rng)), {"Authorization": "Bearer t"})
        with connection.getresponse() as answer:
            assert answer.status == 200 and set(json.loads(answer.read())["hop"]) == {0.25}
    finally:
        connection.close()
        server.close()
    record_fault("N2", "fuzzed messages to serve-reward over HTTP", injected=tried, broken=broken)
