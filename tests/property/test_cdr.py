"""The wire codec against another project's: every message, both directions, Humble's and Jazzy's definitions."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_reward.hardware.cdr import decode, encode
from robo_reward.hardware.messages import MESSAGES, NUMBERS, Image, JointState, Message, PoseStamped

typesys = pytest.importorskip("rosbags.typesys")

JOINT_JOG = """
std_msgs/Header header
string[] joint_names
float64[] displacements
float64[] velocities
float64 duration
"""
ALPHABET = [*"abz_/ 09", "é", "機", "\U0001f916"]
TOP = [name for name in MESSAGES if name not in ("Header", "JointTrajectoryPoint", "MultiArrayDimension")]


@pytest.fixture(scope="module", params=["ROS2_HUMBLE", "ROS2_JAZZY"])
def theirs(request):
    store = typesys.get_typestore(typesys.Stores[request.param])
    store.register(typesys.get_types_from_msg(JOINT_JOG, "control_msgs/msg/JointJog"))
    return store


def value(kind: str, rng: np.random.Generator) -> Any:
    """A random value of a wire type, extremes and empty ones among them."""
    base, _, count = kind.partition("[")
    size = int(rng.integers(0, 5)) if count == "]" else int(count[:-1] or 1) if count else 1
    if base in MESSAGES:
        drawn: Any = tuple(message(MESSAGES[base], rng) for _ in range(size))
    elif base == "string":
        drawn = tuple("".join(rng.choice(ALPHABET, rng.integers(0, 9))) for _ in range(size))
    elif base == "bool":
        drawn = tuple(bool(rng.integers(2)) for _ in range(size))
    else:
        drawn = np.frombuffer(rng.bytes(size * NUMBERS[base].itemsize), NUMBERS[base])
        if base.startswith("float"):
            drawn = np.where(np.isfinite(drawn), drawn, rng.choice([0.0, np.inf, np.nan], size)).astype(NUMBERS[base])
    if count:
        return drawn
    return drawn[0].item() if base in NUMBERS else drawn[0]


def message(kind: type[Message], rng: np.random.Generator) -> Message:
    return kind(**{field.name: value(field.metadata["wire"], rng) for field in fields(kind)})


def flat(value: Any) -> list[Any]:
    """Every number and text in a message, ours or theirs, in the order of the wire."""
    if isinstance(value, np.ndarray):
        return [value.tobytes()] if value.dtype == np.uint8 else [np.float64(item).tobytes() for item in value]
    if isinstance(value, (str, bool)):
        return [value]
    if isinstance(value, (int, float)):
        return [np.float64(value).tobytes()]
    if isinstance(value, (list, tuple)):
        return [len(value), *(part for item in value for part in flat(item))]
    names = [field.name for field in fields(value) if not field.name.startswith("__")]
    return [part for name in names for part in flat(getattr(value, name))]


@pytest.mark.parametrize("name", TOP)
def test_their_decoder_reads_what_we_write_and_ours_reads_what_they_write(theirs, name):
    kind, rng = MESSAGES[name], np.random.default_rng(0)
    for _ in range(50):
        sent = message(kind, rng)
        ours = bytes(encode(sent))
        read = theirs.deserialize_cdr(ours, kind.ros)
        assert flat(read) == flat(sent)
        written = bytes(theirs.serialize_cdr(read, kind.ros))
        assert ours == written
        assert flat(decode(kind, written)) == flat(sent)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_starts_out_encodable(name):
    kind = MESSAGES[name]
    assert bytes(encode(decode(kind, encode(kind())))) == bytes(encode(kind()))


@settings(deadline=None, max_examples=200)
@given(data=st.data(), name=st.sampled_from(TOP), seed=st.integers(0, 99))
def test_damaged_bytes_are_refused_or_read_but_never_crash(data, name, seed):
    kind = MESSAGES[name]
    good = bytearray(encode(message(kind, np.random.default_rng(seed))))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(good)))
    try:
        decode(kind, bytes(good[:cut]))
    except ValueError as error:
        assert kind.ros in str(error) and "\n" not in str(error)


@pytest.mark.parametrize(
    "sent,words",
    [
        (JointState(position=np.zeros((2, 2))), r"JointState.position: shape \(2, 2\), expected \(N,\)"),
        (Image(data=np.zeros(3)), "Image.data: dtype float64, expected uint8"),
        (Image(height=-1), "Image.height: "),
        (PoseStamped(position=np.zeros(2)), r"PoseStamped.position: shape \(2,\), expected \(3,\)"),
        (JointState(name="joint1"), "JointState.name: one text"),  # type: ignore[arg-type]
        (JointState(name=(3,)), "JointState.name: "),  # type: ignore[arg-type]
        (JointState(header="now"), "JointState.header: str where Header"),  # type: ignore[arg-type]
    ],
)
def test_a_field_that_does_not_fit_is_named(sent, words):
    with pytest.raises(ValueError, match=words):
        encode(sent)


def test_another_encoding_is_refused_by_name():
    data = bytearray(encode(JointState()))
    for head in (b"\x00\x00", b"\x00\x07", b"\x00\x03"):
        data[:2] = head
        with pytest.raises(ValueError, match=re.escape(f"encoding {head.hex()}; only little-endian")):
            decode(JointState, data)
    with pytest.raises(ValueError, match="encoding missing"):
        decode(JointState, b"")


def test_padding_behind_a_message_is_ignored_and_a_decoded_array_cannot_be_written():
    read = decode(JointState, bytes(encode(JointState(position=np.arange(3.0)))) + b"\xaa\xbb\xcc")
    np.testing.assert_array_equal(read.position, np.arange(3.0))
    with pytest.raises(ValueError):
        read.position[0] = 1.0
