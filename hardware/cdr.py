"""Messages to bytes and back: CDR version 1, little-endian, as ROS 2 sends it, from the wire types of the fields.

Alignment counts from the end of the four bytes that name the encoding. Numbers are read without copying, so a decoded
array is read-only and shares the memory of the received bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from robo_reward.hardware.messages import MESSAGES, NUMBERS, Message

LITTLE_ENDIAN = b"\x00\x01\x00\x00"
_SCALARS = {name: struct.Struct("<" + code.char) for name, code in NUMBERS.items()}
M = TypeVar("M", bound=Message)

Write = Callable[[bytearray, Any], None]
Read = Callable[[memoryview, int], tuple[Any, int]]
"""A buffer without its encoding bytes (when writing, with them), offset -> value and the offset behind it."""


def encode(message: Message) -> bytearray:
    """The message as it goes over the wire, encoding bytes first. ValueError names the field that does not fit."""
    body = bytearray(LITTLE_ENDIAN)
    _CODECS[type(message).__name__][0](body, message)
    return body


def decode(kind: type[M], data: bytes | bytearray | memoryview) -> M:
    """The message in `data`, or ValueError: cut short, another encoding, lengths that cannot be.

    Bytes behind the message are ignored: some senders pad.
    """
    view = memoryview(data).toreadonly().cast("B")
    if bytes(view[:2]) != LITTLE_ENDIAN[:2]:
        raise ValueError(
            f"{kind.ros}: encoding {bytes(view[:2]).hex() or 'missing'}; only little-endian CDR 1 (0001) is read"
        )
    try:
        return _CODECS[kind.__name__][1](view[4:], 0)[0]
    except (struct.error, ValueError) as error:
        raise ValueError(f"{kind.ros}: {len(view)} bytes that are no such message: {error}") from None


def _codec(kind: str) -> tuple[Write, Read]:
    """How one wire type is written and read."""
    base, _, count = kind.partition("[")
    if base in NUMBERS:
        return _numbers(base, count) if count else _scalar(base)
    write, read = _element(base)
    return _sequence(write, read) if count else (write, read)


def _element(base: str) -> tuple[Write, Read]:
    if base == "string":
        return _write_string, _read_string
    if base == "bool":
        return _write_bool, _read_bool
    return _CODECS[base]


def _message(kind: type[Message]) -> tuple[Write, Read]:
    table = [(field.name, *_codec(field.metadata["wire"])) for field in fields(kind)]

    def write(body: bytearray, message: Any) -> None:
        if not isinstance(message, kind):
            raise ValueError(f"{type(message).__name__} where {kind.__name__} is expected")
        for name, write_field, _ in table:
            try:
                write_field(body, getattr(message, name))
            except (struct.error, TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"{kind.__name__}.{name}: {error}") from None

    def read(view: memoryview, at: int) -> tuple[Any, int]:
        values = {}
        for name, _, read_field in table:
            values[name], at = read_field(view, at)
        return kind(**values), at

    return write, read


def _pad(body: bytearray, size: int) -> None:
    body.extend(bytes((len(LITTLE_ENDIAN) - len(body)) % size))


def _scalar(base: str) -> tuple[Write, Read]:
    packer = _SCALARS[base]
    size = packer.size

    def write(body: bytearray, value: Any) -> None:
        _pad(body, size)
        body.extend(packer.pack(value))

    def read(view: memoryview, at: int) -> tuple[Any, int]:
        at += -at % size
        return packer.unpack_from(view, at)[0], at + size

    return write, read


def _numbers(base: str, count: str) -> tuple[Write, Read]:
    """Arrays of numbers: of a fixed length, or led by their length."""
    dtype, fixed = NUMBERS[base], None if count == "]" else int(count[:-1])

    def write(body: bytearray, value: Any) -> None:
        array = np.asarray(value)
        if array.ndim != 1 or (fixed is not None and len(array) != fixed):
            raise ValueError(f"shape {array.shape}, expected ({'N' if fixed is None else fixed},)")
        if len(array) and not np.can_cast(array.dtype, dtype, "same_kind"):
            raise ValueError(f"dtype {array.dtype}, expected {base}")
        if fixed is None:
            _write_count(body, len(array))
        if len(array):
            _pad(body, dtype.itemsize)
            body.extend(np.ascontiguousarray(array, dtype).data.cast("B"))

    def read(view: memoryview, at: int) -> tuple[np.ndarray, int]:
        number, at = (fixed, at) if fixed is not None else _read_count(view, at)
        if not number:
            return np.zeros(0, dtype), at
        at += -at % dtype.itemsize
        if number * dtype.itemsize > len(view) - at:
            raise ValueError(f"{number} numbers of {dtype.itemsize} bytes announced, {len(view) - at} bytes left")
        return np.frombuffer(view, dtype, number, at), at + number * dtype.itemsize

    return write, read


def _sequence(write_one: Write, read_one: Read) -> tuple[Write, Read]:
    def write(body: bytearray, value: Any) -> None:
        if isinstance(value, str):
            raise ValueError("one text where several are expected")
        _write_count(body, len(value))
        for item in value:
            write_one(body, item)

    def read(view: memoryview, at: int) -> tuple[tuple[Any, ...], int]:
        number, at = _read_count(view, at)
        if number > len(view) - at:
            raise ValueError(f"{number} entries announced, {len(view) - at} bytes left")
        items = []
        for _ in range(number):
            item, at = read_one(view, at)
            items.append(item)
        return tuple(items), at

    return write, read


_write_count, _read_count = _scalar("uint32")
_write_byte, _read_byte = _scalar("uint8")


def _write_bool(body: bytearray, value: bool) -> None:
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{value!r}, expected True or False")
    _write_byte(body, int(value))


def _read_bool(view: memoryview, at: int) -> tuple[bool, int]:
    value, at = _read_byte(view, at)
    return bool(value), at


def _write_string(body: bytearray, value: str) -> None:
    data = value.encode()
    if b"\0" in data:
        raise ValueError("a text with a zero byte")
    _write_count(body, len(data) + 1)
    body.extend(data)
    body.append(0)


def _read_string(view: memoryview, at: int) -> tuple[str, int]:
    number, at = _read_count(view, at)
    if number > len(view) - at:
        raise ValueError(f"a text of {number} bytes announced, {len(view) - at} left")
    return bytes(view[at : at + max(number - 1, 0)]).decode(), at + number


_CODECS: dict[str, tuple[Write, Read]] = {}
for _kind in MESSAGES.values():  # in the order of definition: what a message holds comes before it
    _CODECS[_kind.__name__] = _message(_kind)
