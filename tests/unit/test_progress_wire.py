"""Hop questions and answers as bytes: what comes out is what went in, and nothing else is let in."""

import json
import struct

import numpy as np
import pytest

from robo_reward.progress import wire
from robo_reward.types import HopEstimate, HopQuery

rng = np.random.default_rng(0)


def query(rows=5, count=4, size=12, views=("front", "wrist")):
    frames = {v: rng.integers(0, 256, (count, size, size + 4, 3), np.uint8) for v in views}
    before, after = rng.integers(0, count, (2, rows))
    start, goal = rng.integers(-1, count, (2, rows))
    return HopQuery(frames, before, after, start, goal, tuple(rng.choice(["do", "do not", "träum"], rows)))


def header_of(body):
    size = struct.unpack_from("<4sI", body)[1]
    return json.loads(body[8 : 8 + size]), body[8 + size :]


def message(header, pixels):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return b"RRH1" + struct.pack("<I", len(head)) + head + pixels


def test_a_question_survives_the_wire():
    asked = query()
    found = wire.decode_query(wire.encode_query(asked))
    assert found.instruction_B == asked.instruction_B and list(found.frames) == list(asked.frames)
    for view in asked.frames:
        np.testing.assert_array_equal(found.frames[view], asked.frames[view])
    for name in ("before_B", "after_B", "reference_start_B", "reference_goal_B"):
        np.testing.assert_array_equal(getattr(found, name), getattr(asked, name))


def test_an_answer_survives_the_wire_and_a_missing_one_stays_missing():
    said = HopEstimate(np.float32([0.5, -1, 0]), np.float32([0.1, 1, 0]), np.array([True, True, False]))
    name, found = wire.decode_answer(wire.encode_answer("m", said), 3)
    assert name == "m"
    for field in ("hop_B", "confidence_B", "valid_B"):
        np.testing.assert_array_equal(getattr(found, field), getattr(said, field))


def change(**fields):
    return lambda header: {**header, **fields}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (change(dtype="|O"), "dtype: pictures are uint8"),
        (change(dtype="float32"), "dtype"),
        (change(extra=1), "expected a JSON object with dtype, views"),
        (lambda header: {k: v for k, v in header.items() if k != "goal"}, "expected a JSON object"),
        (lambda header: [1], "expected a JSON object"),
        (lambda header: b"\xff\xfe", "no JSON"),
        (lambda header: b"[" * 9000, "no JSON"),
        (change(views={}), "1 to 8 cameras"),
        (change(views={"../x": [4, 12, 16, 3]}), "a camera's name"),
        (change(views={"front": [4, 12, 16, 4]}), r"expected \[frames, height, width, 3\]"),
        (change(views={"front": [4, 12.0, 16, 3]}), r"expected \[frames"),
        (change(views={"front": [4, True, 16, 3]}), r"expected \[frames"),
        (change(views={"front": [4, 12, 8192, 3]}), "outside 1 to 4096 frames of 8 to 1024 px"),
        (change(views={"front": [4, 1, 1, 3]}), "8 to 1024 px"),
        (change(views={"front": [10**30, 12, 16, 3]}), "1 to 4096 frames"),
        (change(views={"front": [-4, 12, 16, 3]}), "1 to 4096 frames"),
        (change(views={"front": [4, 12, 16, 3], "wrist": [3, 12, 16, 3]}), "same number of frames"),
        (change(views={"front": [4, 12, 16, 3]}), "bytes of pixels follow"),
        (change(before=[0, 1, 2, 3, 4]), "before: 1 to 4096 whole numbers from 0 to 3"),
        (change(before=[0, 1, 2, 3, -1]), "before"),
        (change(goal=[0, 1, 2, 3, -2]), "goal"),
        (change(after=[0, 1, 2, 3, 0.0]), "after"),
        (change(after=[0] * 5000), "after"),
        (change(after="00000"), "after"),
        (change(start=[0]), "differ in length"),
        (change(text=[0, 0, 0, 0, 9]), "text"),
        (change(instructions=[]), "1 to 64 texts"),
        (change(instructions=[""]), "1 to 64 texts"),
        (change(instructions=["x" * 1001]), "1 to 64 texts"),
        (change(instructions=[7]), "1 to 64 texts"),
    ],
)
def test_what_breaks_the_schema_is_told_in_one_line(changed, says):
    header, pixels = header_of(wire.encode_query(query()))
    with pytest.raises(ValueError, match=says) as told:
        wire.decode_query(message(changed(header), pixels))
    assert "\n" not in str(told.value) and len(str(told.value)) < 300


@pytest.mark.parametrize(
    "body", [b"", b"RRH1", b"<html>no</html>", b"RRH1\xff\xff\xff\xff{}", b"GRM1\x02\x00\x00\x00{}"]
)
def test_other_bytes_are_no_question(body):
    with pytest.raises(ValueError, match="no hop question"):
        wire.decode_query(body)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html></html>",
        b'{"model_id": "m", "hop": [NaN, 0], "confidence": [1, 1]}',
        b'{"model_id": "m", "hop": [Infinity, 0], "confidence": [1, 1]}',
        b'{"model_id": "m", "hop": [1e999, 0], "confidence": [1, 1]}',
        b'{"model_id": "m", "hop": [1.01, 0], "confidence": [1, 1]}',
        b'{"model_id": "m", "hop": [0, 0], "confidence": [1, -0.5]}',
        b'{"model_id": "m", "hop": [0, null], "confidence": [1, 1]}',
        b'{"model_id": "m", "hop": [0], "confidence": [1]}',
        b'{"model_id": "m", "hop": [true, 0], "confidence": [1, 1]}',
        b'{"model_id": 1, "hop": [0, 0], "confidence": [1, 1]}',
        b'{"hop": [0, 0], "confidence": [1, 1]}',
    ],
)
def test_no_wrong_answer_is_taken_for_one(answer):
    with pytest.raises(ValueError):
        wire.decode_answer(answer, 2)
