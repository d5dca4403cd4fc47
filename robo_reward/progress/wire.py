"""Hop questions and answers as bytes: a JSON header that says what follows, then the pixels.

Whatever a peer sent is checked against the schema before an array is made of it: exact keys, one dtype, exact shapes,
every index in range, exactly as many bytes as the shapes say. ValueError says in one line what is wrong.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from robo_reward.types import HopEstimate, HopQuery

MAGIC = b"RRH1"
BODY_BYTES = 32 << 20
"""Largest question; clients ask in parts."""
HEADER_BYTES = 1 << 18
FRAMES, ROWS, VIEWS, INSTRUCTIONS = 4096, 4096, 8, 64
LETTERS = 1000
"""Of one instruction."""
SIDE = (8, 1024)
"""[px] of a picture, least and most"""
_HEAD = struct.Struct("<4sI")
_COLUMNS = {"before": 0, "after": 0, "start": -1, "goal": -1}
"""Index columns of a header, and the lowest index in each: -1 is a missing reference."""


def encode_query(query: HopQuery) -> bytes:
    """A question as `decode_query` takes it; what tells its frames apart (`keys_N`) stays here."""
    texts = sorted(set(query.instruction_B))
    header = {
        "dtype": "uint8",
        "views": {view: list(frames.shape) for view, frames in query.frames.items()},
        "before": query.before_B.tolist(),
        "after": query.after_B.tolist(),
        "start": query.reference_start_B.tolist(),
        "goal": query.reference_goal_B.tolist(),
        "instructions": texts,
        "text": [texts.index(text) for text in query.instruction_B],
    }
    head = json.dumps(header).encode()
    pixels = [np.ascontiguousarray(frames, np.uint8).tobytes() for frames in query.frames.values()]
    return b"".join([_HEAD.pack(MAGIC, len(head)), head, *pixels])


def decode_query(body: bytes) -> HopQuery:
    """The question in a message; its frames are views into `body`. ValueError for what breaks the schema."""
    if len(body) < _HEAD.size:
        raise ValueError(f"{len(body)} bytes are no hop question: a head of {_HEAD.size} comes first")
    magic, size = _HEAD.unpack_from(body)
    if magic != MAGIC or size > min(HEADER_BYTES, len(body) - _HEAD.size):
        raise ValueError(f"this is no hop question: it begins with {MAGIC.decode()} and the length of its header")
    header = parse(body[_HEAD.size : _HEAD.size + size], ("dtype", "views", *_COLUMNS, "instructions", "text"))
    if header["dtype"] != "uint8":
        raise ValueError("dtype: pictures are uint8")
    shapes = _shapes(header["views"])
    count = next(iter(shapes.values()))[0]
    columns = {name: _column(header, name, low, count) for name, low in _COLUMNS.items()}
    texts = header["instructions"]
    if not _is_list(texts, 1, INSTRUCTIONS) or not all(type(t) is str and 0 < len(t) <= LETTERS for t in texts):
        raise ValueError(f"instructions: 1 to {INSTRUCTIONS} texts of 1 to {LETTERS} letters are expected")
    text = _column(header, "text", 0, len(texts))
    if len({len(column) for column in (*columns.values(), text)}) > 1:
        raise ValueError("before, after, start, goal and text differ in length")
    expected, at = sum(map(math.prod, shapes.values())), _HEAD.size + size
    if len(body) - at != expected:
        raise ValueError(f"{len(body) - at} bytes of pixels follow, the shapes say {expected}")
    frames = {}
    for view, shape in shapes.items():
        frames[view] = np.frombuffer(body, np.uint8, math.prod(shape), at).reshape(shape)
        at += math.prod(shape)
    before, after, start, goal = (np.array(column, np.int64) for column in columns.values())
    return HopQuery(frames, before, after, start, goal, tuple(texts[i] for i in text))


def encode_answer(model_id: str, estimate: HopEstimate) -> bytes:
    """An answer as `decode_answer` takes it: null where there is none."""

    def column(values: np.ndarray) -> list[float | None]:
        return [float(x) if valid else None for x, valid in zip(values, estimate.valid_B, strict=True)]

    answer = {"model_id": model_id, "hop": column(estimate.hop_B), "confidence": column(estimate.confidence_B)}
    return json.dumps(answer, allow_nan=False).encode()


def decode_answer(body: bytes, rows: int) -> tuple[str, HopEstimate]:
    """Model id and answers of a message about `rows` questions. ValueError for what breaks the schema."""
    answer = parse(body, ("model_id", "hop", "confidence"))
    if type(answer["model_id"]) is not str:
        raise ValueError("model_id has to be a text")
    hop = _numbers(answer["hop"], "hop", -1.0, rows)
    confidence = _numbers(answer["confidence"], "confidence", 0.0, rows)
    valid = np.array([x is not None for x in hop], bool)
    if [x is not None for x in confidence] != valid.tolist():
        raise ValueError("hop and confidence are null in different places")
    filled = [np.array([x or 0.0 for x in column], np.float32) for column in (hop, confidence)]
    return answer["model_id"], HopEstimate(filled[0], filled[1], valid)


def parse(text: bytes, keys: Iterable[str]) -> dict[str, Any]:
    """The JSON object with exactly these keys; NaN and infinities are refused."""
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON that is understood here ({str(error)[:80]})") from None
    if not isinstance(found, dict) or set(found) != set(keys):
        raise ValueError(f"expected a JSON object with {', '.join(keys)}")
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _is_list(value: Any, low: int, high: int) -> bool:
    return type(value) is list and low <= len(value) <= high


def _shapes(views: Any) -> dict[str, tuple[int, int, int, int]]:
    if type(views) is not dict or not 1 <= len(views) <= VIEWS:
        raise ValueError(f"views: 1 to {VIEWS} cameras are expected")
    for view, shape in views.items():
        if not re.fullmatch(r"[\w.\-]{1,64}", view):
            raise ValueError("views: a camera's name has 1 to 64 letters, digits, '.', '_' or '-'")
        if not _is_list(shape, 4, 4) or not all(type(n) is int for n in shape) or shape[3] != 3:
            raise ValueError(f"views.{view}: expected [frames, height, width, 3]")
        if not 1 <= shape[0] <= FRAMES or not all(SIDE[0] <= n <= SIDE[1] for n in shape[1:3]):
            raise ValueError(
                f"views.{view}: {shape} is outside 1 to {FRAMES} frames of {SIDE[0]} to {SIDE[1]} px: scale the "
                "pictures, or ask in parts"
            )
    if len({shape[0] for shape in views.values()}) > 1:
        raise ValueError("views: all cameras have the same number of frames")
    return {view: (shape[0], shape[1], shape[2], 3) for view, shape in views.items()}


def _column(header: dict[str, Any], name: str, low: int, end: int) -> list[int]:
    values = header[name]
    if not _is_list(values, 1, ROWS) or not all(type(n) is int and low <= n < end for n in values):
        raise ValueError(f"{name}: 1 to {ROWS} whole numbers from {low} to {end - 1} are expected")
    return list(values)


def _numbers(values: Any, name: str, low: float, rows: int) -> Sequence[float | None]:
    if not _is_list(values, rows, rows):
        raise ValueError(f"{name}: {rows} answers are expected")
    for x in values:
        if x is not None and (type(x) not in (int, float) or not low <= x <= 1):
            raise ValueError(f"{name}: an answer is null or a number from {low:g} to 1")
    return values
