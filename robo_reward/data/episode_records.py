"""An episode as log records: BEGIN, one STEP per action, FRAMES of the queried observations, END.

Rows have the layout that BEGIN announces: float32 fields in the order of `_FLOATS`, then the integer fields. Both ends
check sizes and values, so that what comes over a wire is validated before any array is made of it. Frames are PNG:
lossless, because a reward model that annotates an episode again must see the same pixels.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from robo_reward.types import Episode

BEGIN, STEP, FRAMES, END = 1, 2, 3, 4
_OBSERVED = ("agent_pos", "estimate", "base_action", "base_phase", "features", "oracle")
"""Known at all T+1 observations."""
_ACTED = ("action", "human_action", "reward")
"""Known at the T actions."""
_SCALARS = ("oracle", "reward")
"""One number a row."""
_FLAGS = ("stage", "intervention", "gated")
_MAX_WIDTH, _MAX_STEPS = 65_536, 1_000_000
_STEP_HEAD = struct.Struct("<I")
_END_HEAD = struct.Struct("<I???x")
_VIEW_HEAD = struct.Struct("<BI")


@dataclass(frozen=True)
class EpisodeHeader:
    """What BEGIN says: who acts on what, and how wide the rows are."""

    episode_id: str
    instruction: str
    source: str
    seed: int
    base_id: str | None
    widths: dict[str, int]
    """float32 values of each field in a row; fields that are not there are not known."""
    flags: tuple[str, ...]
    """Integer fields that are known."""

    def layout(self, names: Iterable[str], flags: Iterable[str]) -> np.dtype[Any]:
        """The structured type of a row with these of the fields, those that are known."""
        floats = [(name, "<f4", (self.widths[name],)) for name in names if name in self.widths]
        return np.dtype([*floats, *((name, "<i4") for name in flags if name in self.flags)])

    @property
    def step_row(self) -> np.dtype[Any]:
        """Of an action and the observation before it."""
        return self.layout((*_OBSERVED, *_ACTED), _FLAGS)

    @property
    def final_row(self) -> np.dtype[Any]:
        """Of the observation after the last action."""
        return self.layout(_OBSERVED, ("stage",))


@dataclass(frozen=True)
class Ending:
    """What END says beside the final observation."""

    steps: int
    terminated: bool
    truncated: bool
    success: bool


def encode_episode(episode: Episode) -> list[tuple[int, bytes]]:
    """(kind, payload) of all its records, in order: the frames of an observation precede its step."""
    values: dict[str, np.ndarray] = {}
    for name in (*_OBSERVED, *_ACTED):
        array = getattr(episode, name)
        if array is not None:
            values[name] = np.asarray(array, np.float32).reshape(len(array), -1)
    flags = tuple(name for name in _FLAGS if getattr(episode, name) is not None)
    header = EpisodeHeader(
        episode.episode_id, episode.instruction, episode.source, episode.seed, episode.base_id,
        {name: array.shape[1] for name, array in values.items()}, flags,
    )  # fmt: skip
    steps = len(episode)
    rows = np.zeros(steps, header.step_row)
    final = np.zeros(1, header.final_row)
    for name, array in values.items():
        rows[name] = array[:steps]
        if name in _OBSERVED:
            final[name] = array[steps]
    for name in flags:
        rows[name] = getattr(episode, name)[:steps]
    if "stage" in flags:
        final["stage"] = episode.stage[steps]
    stored = {int(step): index for index, step in enumerate(episode.frame_steps)}
    records = [(BEGIN, json.dumps(asdict(header)).encode())]
    for step in range(steps + 1):
        if step in stored:
            views = {view: frames[stored[step]] for view, frames in episode.frames.items()}
            records.append((FRAMES, encode_frames(step, views)))
        if step < steps:
            records.append((STEP, _STEP_HEAD.pack(step) + rows[step].tobytes()))
    ending = _END_HEAD.pack(steps, episode.terminated, episode.truncated, episode.success)
    return [*records, (END, ending + final.tobytes())]


def encode_frames(step: int, views: dict[str, np.ndarray]) -> bytes:
    """A FRAMES payload: every view of one observation, uint8 (H, W, 3)."""
    import cv2

    parts = [_STEP_HEAD.pack(step)]
    for view, image in views.items():
        name = view.encode()
        png = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        parts += [_VIEW_HEAD.pack(len(name), len(png)), name, png]
    return b"".join(parts)


def decode_frames(payload: bytes) -> tuple[int, dict[str, np.ndarray]]:
    """Step and views of a FRAMES payload. ValueError when it is not one."""
    import cv2

    step, views = split_frames(payload)
    images = {}
    for view, png in views.items():
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"the picture of view {view} at step {step} cannot be decoded")
        images[view] = np.ascontiguousarray(image[..., ::-1])
    return step, images


def split_frames(payload: bytes) -> tuple[int, dict[str, bytes]]:
    """Step and the encoded pictures of a FRAMES payload. ValueError when it is not one."""
    try:
        (step,), at, views = _STEP_HEAD.unpack_from(payload), _STEP_HEAD.size, {}
        while at < len(payload):
            name_size, size = _VIEW_HEAD.unpack_from(payload, at)
            at += _VIEW_HEAD.size
            name, png = payload[at : at + name_size], payload[at + name_size : at + name_size + size]
            at += name_size + size
            if at > len(payload) or not png.startswith(b"\x89PNG\r\n\x1a\n"):
                raise ValueError("a picture is cut short or no PNG")
            views[name.decode()] = png
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"not the frames of an observation ({error})") from None
    return step, views


def decode_header(payload: bytes) -> EpisodeHeader:
    """A BEGIN payload. ValueError naming what is wrong with it."""
    try:
        fields = json.loads(payload)
        header = EpisodeHeader(**{**fields, "flags": tuple(fields["flags"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"not the beginning of an episode ({error})") from None
    texts = (header.episode_id, header.instruction, header.source)
    if not all(isinstance(text, str) and len(text) < 4096 for text in texts) or not header.episode_id:
        raise ValueError("an episode's id, instruction and source must be texts below 4096 characters")
    if type(header.seed) is not int or not (header.base_id is None or isinstance(header.base_id, str)):
        raise ValueError("an episode's seed must be a whole number, its base_id a text or null")
    known = {*_OBSERVED, *_ACTED}
    if not isinstance(header.widths, dict) or not {"agent_pos", "estimate", "action", "reward"} <= set(header.widths):
        raise ValueError("an episode needs the widths of agent_pos, estimate, action and reward")
    for name, width in header.widths.items():
        if name not in known or type(width) is not int or not 0 <= width <= _MAX_WIDTH:
            raise ValueError(f"field {name!r} with width {width!r}: known are {sorted(known)}, 0 to {_MAX_WIDTH} wide")
        if name in _SCALARS and width != 1:
            raise ValueError(f"field {name!r} with width {width}: it is one number a row")
    if not all(flag in _FLAGS for flag in header.flags) or "stage" not in header.flags:
        raise ValueError(f"flags {header.flags}: known are {_FLAGS}, the first is needed")
    return header


def decode_step(header: EpisodeHeader, payload: bytes) -> int:
    """The step number of a STEP payload after checking its size and values. ValueError when they are wrong."""
    row = header.step_row
    if len(payload) != _STEP_HEAD.size + row.itemsize:
        raise ValueError(f"a step of {len(payload)} bytes, expected {_STEP_HEAD.size + row.itemsize}")
    (step,) = _STEP_HEAD.unpack_from(payload)
    _check_finite(payload[_STEP_HEAD.size :], row, f"step {step}")
    action = np.frombuffer(payload, row, 1, _STEP_HEAD.size)["action"]
    if action.size and np.abs(action).max() > 1 + 1e-5:
        raise ValueError(f"step {step}: an action lies outside [-1, 1]")
    if step >= _MAX_STEPS:
        raise ValueError(f"step {step}: an episode has at most {_MAX_STEPS} steps")
    return int(step)


def decode_ending(header: EpisodeHeader, payload: bytes) -> Ending:
    """An END payload after checking its size and values. ValueError when they are wrong."""
    row = header.final_row
    if len(payload) != _END_HEAD.size + row.itemsize:
        raise ValueError(f"an ending of {len(payload)} bytes, expected {_END_HEAD.size + row.itemsize}")
    ending = Ending(*_END_HEAD.unpack_from(payload))
    _check_finite(payload[_END_HEAD.size :], row, "the final observation")
    if ending.terminated == ending.truncated or not 0 < ending.steps <= _MAX_STEPS:
        raise ValueError("an episode ends terminated or truncated, after one step at least")
    return ending


def _check_finite(row: bytes, layout: np.dtype[Any], where: str) -> None:
    floats = sum(layout[name].shape[0] for name in layout.names or () if layout[name].subdtype)
    if not np.isfinite(np.frombuffer(row, "<f4", floats)).all():
        raise ValueError(f"{where}: a value is not finite")


def decode_episode(header: EpisodeHeader, steps: list[bytes], frames: list[bytes], ending: bytes) -> Episode:
    """The episode of checked payloads; `frames` may be empty where nobody needs pictures."""
    rows = np.frombuffer(b"".join(payload[_STEP_HEAD.size :] for payload in steps), header.step_row)
    final = np.frombuffer(ending, header.final_row, 1, _END_HEAD.size)
    end = decode_ending(header, ending)
    fields: dict[str, Any] = {"oracle": None}
    for name in _OBSERVED:
        if name in header.widths:
            fields[name] = np.concatenate([rows[name], final[name]])
    for name in _ACTED:
        if name in header.widths:
            fields[name] = rows[name].copy()
    for name in _SCALARS:
        if fields[name] is not None:
            fields[name] = fields[name].reshape(-1)
    fields["stage"] = np.concatenate([rows["stage"], final["stage"]]).astype(np.int64)
    for name in ("intervention", "gated"):
        if name in header.flags:
            fields[name] = rows[name].astype(bool)
    pictures = [decode_frames(payload) for payload in frames]
    views = pictures[0][1].keys() if pictures else ()
    return Episode(
        episode_id=header.episode_id, instruction=header.instruction, source=header.source, seed=header.seed,
        base_id=header.base_id, terminated=end.terminated, truncated=end.truncated, success=end.success,
        frame_steps=np.array([step for step, _ in pictures], np.int64),
        frames={view: np.stack([images[view] for _, images in pictures]) for view in views}, **fields,
    ).validate()  # fmt: skip
