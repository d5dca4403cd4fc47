"""Annotation tracks: the potential of stored episodes, one folder a reward model, and which of them is in force.

A track is named by reward model and tracker settings. Tracks of another model are gathered while the old ones stay in
use; `put_in_force` then replaces the name in one step, and only when every episode is there. A missing potential is
missing, never 0.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from robo_reward.data.disk import DISK, Disk, replace_file
from robo_reward.data.record_log import Record, RecordLog, read_batches
from robo_reward.types import PhiTrack

_CURRENT, _NEXT = "current.json", "next.json"
_KIND, _ACTOR = 1, "annotator"
_HEAD = struct.Struct("<HI")


@dataclass(frozen=True)
class Choice:
    """A reward model: its id, and the folder that it is loaded from."""

    model_id: str
    source: str


class TrackStore:
    """The tracks of one transition store; one process writes a model's tracks, any number read.

    Args:
        folder: made if need be.
    """

    def __init__(self, folder: Path, disk: Disk = DISK) -> None:
        self.folder, self.disk = folder, disk
        disk.make_folder(folder)
        disk.sync_folder(folder.parent)
        self._logs: dict[str, tuple[RecordLog, int]] = {}

    @property
    def in_force(self) -> Choice | None:
        """The reward model whose tracks shape the reward; None while that is the run's own."""
        return self._chosen(_CURRENT)

    @property
    def proposal(self) -> Choice | None:
        """The reward model that is to take over, if any."""
        return self._chosen(_NEXT)

    def propose(self, choice: Choice) -> None:
        """Ask the learner to go over to this model as soon as every episode is annotated by it."""
        self._folder(choice.model_id)  # refuses a bad id
        replace_file(self.folder / _NEXT, json.dumps(asdict(choice)).encode(), self.disk)

    def _chosen(self, name: str) -> Choice | None:
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            fields = json.loads(path.read_bytes())
            return Choice(str(fields["model_id"]), str(fields["source"]))
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is damaged: delete it, and annotate the store again") from None

    def write(self, model_id: str, tracks: Mapping[str, PhiTrack]) -> None:
        """Add tracks (episode id -> track) of one model; synced on return. A later track of an episode counts.

        Raises:
            ValueError: a track of another model, or a value outside [0, 1].
        """
        payloads = [_encode(model_id, episode_id, track) for episode_id, track in tracks.items()]
        if model_id not in self._logs:
            folder = self._folder(model_id)
            self.disk.make_folder(folder)
            self.disk.sync_folder(self.folder)
            self._logs[model_id] = RecordLog(folder, self.disk), 0
        log, number = self._logs[model_id]
        log.append([Record(_KIND, _ACTOR, number + i, payload) for i, payload in enumerate(payloads)])
        self._logs[model_id] = log, number + len(payloads)

    def read(self, model_id: str) -> dict[str, PhiTrack]:
        """Episode id -> track; what was damaged is missing."""
        folder, tracks = self._folder(model_id), {}
        if folder.is_dir():
            for batch in read_batches(folder):
                for _, _, record in batch if isinstance(batch, list) else ():
                    episode_id, track = _decode(model_id, record.payload)
                    tracks[episode_id] = track
        return tracks

    def put_in_force(self, choice: Choice, episode_ids: Iterable[str]) -> dict[str, PhiTrack]:
        """Make this model's tracks the ones that count, in one step; returns them.

        Raises:
            ValueError: an episode has no track of this model; the former model stays in force.
        """
        tracks = self.read(choice.model_id)
        missing = [name for name in episode_ids if name not in tracks]
        if missing:
            raise ValueError(
                f"{len(missing)} episodes lack a track of {choice.model_id}, such as {missing[0]}: annotate them first"
            )
        replace_file(self.folder / _CURRENT, json.dumps(asdict(choice)).encode(), self.disk)
        return tracks

    def close(self) -> None:
        """Let the files go; harmless when repeated."""
        for log, _ in self._logs.values():
            log.close()
        self._logs = {}

    def _folder(self, model_id: str) -> Path:
        if not re.fullmatch(r"[\w.\-]{1,200}", model_id) or model_id.startswith("."):
            raise ValueError(f"reward model id {model_id!r} must consist of letters, digits, '.', '_' and '-'")
        return self.folder / model_id


def _encode(model_id: str, episode_id: str, track: PhiTrack) -> bytes:
    if track.model_id != model_id:
        raise ValueError(f"episode {episode_id}: its track is of {track.model_id}, not of {model_id}")
    values = np.stack([track.phi, track.confidence]).astype("<f4")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"episode {episode_id}: a potential or confidence of {model_id} lies outside [0, 1]")
    name = episode_id.encode()
    return _HEAD.pack(len(name), values.shape[1]) + name + values.tobytes()


def _decode(model_id: str, payload: bytes) -> tuple[str, PhiTrack]:
    name_size, steps = _HEAD.unpack_from(payload)
    at = _HEAD.size + name_size
    values = np.frombuffer(payload, "<f4", 2 * steps, at).reshape(2, steps)
    return payload[_HEAD.size : at].decode(), PhiTrack(model_id, values[0].copy(), values[1].copy())
