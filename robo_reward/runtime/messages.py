"""What actor and learner say to each other: frozen dataclasses here, protobuf on the wire.

The protobuf descriptors are made of the dataclasses, a field's number being its place, so there is one source of truth
and no generated code. The receiver takes nothing but the one canonical encoding of a known message: unknown fields,
wrong types and sizes beyond the limits are refused before anything is made of them.
"""

from __future__ import annotations

import typing
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, TypeVar

MAX_BYTES = 64 << 20
"""Of one message."""
PART_BYTES = 1 << 20
"""Of a file or of records that travel in one message, when more than one record does."""
MAX_TEXT = 1 << 20
M = TypeVar("M")


@dataclass(frozen=True)
class Join:
    """An actor's first word."""

    version: str
    """Of its package."""
    actor: int
    session: str
    """Drawn anew by every process: a replacement takes its forerunner's place."""
    take: bool = True
    """Whether to take that place, or only to ask what the run is."""


@dataclass(frozen=True)
class Welcome:
    """What an actor needs to take part."""

    run: str
    """Id of the run, which a spool belongs to."""
    config: str
    """The run's whole configuration, JSON."""
    about: str
    """`published.About` as JSON: what the agent is made of, and the files of the base policy."""
    next: int
    """Sequence number of the actor's next record."""
    begun: int
    """Rollouts that it has begun so far."""


@dataclass(frozen=True)
class Records:
    """Consecutive records of one actor, or none: a sign of life."""

    actor: int
    session: str
    first: int
    kinds: tuple[int, ...]
    payloads: tuple[bytes, ...]
    crc: int
    """CRC-32 of kinds and payloads."""


@dataclass(frozen=True)
class Receipt:
    """What has become of them."""

    next: int
    """Every record before this sequence number is on the learner's disk."""
    waiting: int
    """Whole rollouts of this actor that are stored and not yet learned from."""
    policy: int
    """Version of the newest weights."""
    done: bool
    """The run is over."""


@dataclass(frozen=True)
class Ask:
    """For the newest weights, or a part of a file of the base policy."""

    actor: int
    session: str
    file: str
    """Empty: the weights."""
    offset: int


@dataclass(frozen=True)
class Part:
    """The answer to `Ask`: weights as safetensors and their version, or bytes of a file."""

    version: int
    sha256: str
    """Of `data`, hex."""
    data: bytes


MESSAGES: tuple[type[Any], ...] = (Join, Welcome, Records, Receipt, Ask, Part)


def records_crc(kinds: Sequence[int], payloads: Sequence[bytes]) -> int:
    """CRC-32 over kinds and payloads."""
    crc = zlib.crc32(repr(list(kinds)).encode())
    for payload in payloads:
        crc = zlib.crc32(payload, crc)
    return crc


def encode(message: Any) -> bytes:
    """The message's bytes. ValueError when it exceeds `MAX_BYTES`."""
    filled = _wire_types()[type(message).__name__]()
    for item in fields(message):
        value = getattr(message, item.name)
        if isinstance(value, tuple):
            getattr(filled, item.name).extend(value)
        else:
            setattr(filled, item.name, value)
    data: bytes = filled.SerializeToString(deterministic=True)
    if len(data) > MAX_BYTES:
        raise ValueError(f"a {type(message).__name__} of {len(data)} bytes exceeds the {MAX_BYTES} that a link carries")
    return data


def decode(kind: type[M], data: bytes) -> M:
    """The message of that kind in these bytes. ValueError when they are not exactly one."""
    from google.protobuf.message import DecodeError

    name = kind.__name__
    if len(data) > MAX_BYTES:
        raise ValueError(f"a {name} of {len(data)} bytes exceeds the {MAX_BYTES} that a link carries")
    found = _wire_types()[name]()
    try:
        found.ParseFromString(data)
    except DecodeError:
        raise ValueError(f"not a {name}") from None
    found.DiscardUnknownFields()
    if found.SerializeToString(deterministic=True) != data:
        raise ValueError(f"not a {name} as this version writes it")
    values = {}
    for item in fields(typing.cast(Any, kind)):
        value = getattr(found, item.name)
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise ValueError(f"{name}.{item.name} has {len(value)} characters, {MAX_TEXT} at most")
        values[item.name] = tuple(value) if _repeated(kind, item.name) else value
    return kind(**values)


_SCALARS = {int: "TYPE_UINT64", bool: "TYPE_BOOL", str: "TYPE_STRING", bytes: "TYPE_BYTES"}


def _repeated(kind: Any, name: str) -> bool:
    return str(_hints(kind)[name]).startswith("tuple")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@cache
def _wire_types() -> dict[str, Any]:
    """Name -> protobuf class, see `MESSAGES`."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    package = "robo_reward"
    file = descriptor_pb2.FileDescriptorProto(name="robo_reward/link.proto", package=package, syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for message in typing.cast(tuple[Any, ...], MESSAGES):
        described = file.message_type.add(name=message.__name__)
        for number, item in enumerate(fields(message), 1):
            hint, many = _hints(message)[item.name], _repeated(message, item.name)
            scalar = typing.get_args(hint)[0] if many else hint
            described.field.add(
                name=item.name, number=number, type=getattr(kinds, _SCALARS[scalar]),
                label=kinds.LABEL_REPEATED if many else kinds.LABEL_OPTIONAL,
            )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.__name__: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"{package}.{message.__name__}")
        )
        for message in MESSAGES
    }  # fmt: skip
