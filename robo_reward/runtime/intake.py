"""The learner's end of the link: takes actors in, stores what they send, hands out weights.

Everything is checked before it is stored, stored and synced before it is acknowledged, and what comes twice counts
once. The learner's own thread waits here for the next whole rollout.
"""

from __future__ import annotations

import json
import os
import re
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from robo_reward import __version__
from robo_reward.config import Config
from robo_reward.data.disk import replace_file
from robo_reward.data.episode_records import BEGIN, FRAMES, EpisodeHeader, decode_header, split_frames
from robo_reward.data.store import StoredEpisode
from robo_reward.runtime.experience import ONLINE
from robo_reward.runtime.link import Handler, Lost, Unknown
from robo_reward.runtime.local import Learner
from robo_reward.runtime.messages import Ask, Join, Part, Receipt, Records, Welcome, records_crc
from robo_reward.runtime.published import About, file_part, pack_weights
from robo_reward.runtime.role_log import RoleLog
from robo_reward.runtime.tasks import first_seed
from robo_reward.types import Episode

_RUN = "run_id"
_SIZE = struct.Struct(">II")
_WIDTHS = ("agent_pos", "estimate", "action", "base_action", "base_phase", "features")


class Intake:
    """Actors of one run, as its learner knows them.

    Args:
        learner: whose store takes the records.
        folder: of the training stage: keeps the run's id.
        files: first part of a file's path -> folder of what actors load base policy and encoder from.
        log: the learner's.
    """

    def __init__(self, config: Config, learner: Learner, folder: Path, files: Mapping[str, Path], log: RoleLog) -> None:
        self.config, self._log = config, log
        self._experience, self._store = learner.experience, learner.experience.store
        self._agent, self._base_id = learner.agent, learner.base.policy_id
        self._files, self._about = files, About.of(learner.agent, files)
        self._widths = self._store.episodes()[0].header.widths
        self._first_seed, self.run = first_seed(config.seed, "online"), run_id(folder)
        self._changed = threading.Condition()
        self._sessions: dict[int, str] = {}
        self._heard: dict[int, float] = {}
        self._done = False
        self._learned = learner.counters.rollouts
        self._online, self._episodes = self._experience.stored_online(), len(self._store.index.episodes)
        self._weights = pack_weights(self._learned, self._agent)

    @property
    def methods(self) -> dict[str, Handler]:
        """For `link.Server`."""
        return {"Join": (Join, self.join), "Send": (Records, self.send), "Get": (Ask, self.get)}

    def join(self, joining: Join) -> Welcome:
        """Tell an actor what the run is, and take it in; one of the same number that was there is replaced."""
        if joining.version != __version__:
            raise ValueError(
                f"the actor has robo_reward {joining.version[:40]}, the learner {__version__}: install the same on both"
            )
        if joining.actor >= self.config.runtime.actors:
            raise ValueError(
                f"runtime.actor={joining.actor}: this run has runtime.actors={self.config.runtime.actors}, "
                "numbered from 0"
            )
        if not re.fullmatch(r"[0-9a-f]{8,64}", joining.session):
            raise ValueError("a session is 8 to 64 hex digits")
        with self._changed:
            if joining.take:
                self._sessions[joining.actor] = joining.session
                self._heard[joining.actor] = time.monotonic()
            known = self._store.index.actors.get(_name(joining.actor))
            seeds = [entry.header.seed for entry in self._online if entry.actor == _name(joining.actor)]
            if known is not None and known.open is not None:
                seeds.append(known.open.header.seed)
            begun = max(((seed - self._first_seed) // self.config.runtime.actors + 1 for seed in seeds), default=0)
            following = 0 if known is None else known.acknowledged + 1
        if joining.take:
            self._log.tell("joined", actor=joining.actor, session=joining.session, next=following)
        settings = json.dumps(asdict(self.config))
        return Welcome(self.run, settings, self._about.to_json(), following, begun)

    def send(self, records: Records) -> Receipt:
        """Store records and acknowledge them."""
        self._know(records.actor, records.session)
        if records.crc != records_crc(records.kinds, records.payloads):
            raise Lost("records were damaged on the way")
        if len(records.kinds) != len(records.payloads):
            raise ValueError("as many kinds as payloads are wanted")
        for kind, payload in zip(records.kinds, records.payloads, strict=True):
            if kind == BEGIN:
                self._check_header(records.actor, decode_header(payload))
            elif kind == FRAMES:
                self._check_frames(payload)
        name = _name(records.actor)
        numbered = [
            (records.first + n, kind, payload)
            for n, (kind, payload) in enumerate(zip(records.kinds, records.payloads, strict=True))
        ]
        with self._changed:
            self._know(records.actor, records.session)  # it may have been replaced meanwhile
            safe = self._store.append(name, numbered)
            if len(self._store.index.episodes) > self._episodes:
                self._episodes = len(self._store.index.episodes)
                self._online = self._experience.stored_online()
                self._changed.notify_all()
            waiting = sum(entry.actor == name for entry in self._online[self._learned :])
            return Receipt(safe + 1, waiting, self._weights.version, self._done)

    def get(self, ask: Ask) -> Part:
        """The newest weights, or a part of a file."""
        if not ask.file:
            self._know(ask.actor, ask.session)
            return self._weights
        return Part(0, "", file_part(self._files, self._about, ask.file, ask.offset))

    def wait(self, number: int, timeout_s: float) -> Episode | None:
        """The online episode of this number, in the order of the store; None when it has not come in time."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._online) > number, timeout_s)
            entry: StoredEpisode | None = self._online[number] if len(self._online) > number else None
        return None if entry is None else self._store.read(entry.episode_id)

    def publish(self, learned: int) -> None:
        """Hand out the agent's weights from now on, which have learned from so many rollouts; durable ones."""
        weights = pack_weights(learned, self._agent)
        with self._changed:
            self._weights, self._learned = weights, learned

    def end(self) -> None:
        """Tell every actor that the run is over; returns once they know, or after a few seconds."""
        with self._changed:
            self._done, told = True, time.monotonic()
        while time.monotonic() < told + 3:
            with self._changed:
                if all(heard > told or heard < told - 5 for heard in self._heard.values()):
                    return
            time.sleep(0.05)

    def write_health(self, path: Path, state: str) -> None:
        """What is known of every role, for `robo-reward runs`."""
        with self._changed:
            stored, learned, heard = len(self._online), self._learned, dict(self._heard)
            count = {actor: sum(entry.actor == _name(actor) for entry in self._online) for actor in heard}
        now = time.monotonic()
        actors = {
            f"actor-{actor}": {"heard_s": round(now - at, 1), "rollouts": count[actor]} for actor, at in heard.items()
        }
        about = {"pid": os.getpid(), "state": state, "rollouts": learned, "stored": stored}
        roles = {"time": time.time(), "run": self.run, "roles": {"learner": about, **actors}}
        replace_file(path, json.dumps(roles).encode())

    def _know(self, actor: int, session: str) -> None:
        known = self._sessions.get(actor)
        if known is None:
            raise Unknown("join first")
        if known != session:
            raise ValueError(
                f"actor {actor} was replaced by another process: stop one of the two, or give it another number with "
                "runtime.actor="
            )
        self._heard[actor] = time.monotonic()

    def _check_header(self, actor: int, header: EpisodeHeader) -> None:
        for name in _WIDTHS:
            own, wanted = header.widths.get(name), self._widths.get(name)
            if own != wanted:
                raise ValueError(
                    f"actor {actor} has {own} numbers of {name}, this run {wanted}: it needs a world like the learner's"
                )
        number = header.seed - self._first_seed
        if number < 0 or number % self.config.runtime.actors != actor or header.episode_id != f"policy-{header.seed}":
            raise ValueError(f"episode {header.episode_id[:80]!r} is not one that actor {actor} may add to this run")
        if header.base_id != self._base_id:
            raise ValueError(f"actor {actor} acts on another base policy than the learner's: start it again")

    def _check_frames(self, payload: bytes) -> None:
        size = self.config.env.image_size
        for view, png in split_frames(payload)[1].items():
            if view not in self.config.env.cameras or len(png) < 24 or _SIZE.unpack_from(png, 16) != (size, size):
                raise ValueError(f"a picture of view {view[:80]!r} is not one of {size} x {size} pixels of this run")


def run_id(folder: Path) -> str:
    """The id of the run that learns in this folder: made once, as long as its store."""
    path = folder / _RUN
    if not path.is_file():
        replace_file(path, os.urandom(8).hex().encode())
    return path.read_text(encoding="utf-8")


def _name(actor: int) -> str:
    """Under which the store keeps an actor's records."""
    return f"{ONLINE}-{actor}"
