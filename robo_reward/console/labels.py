"""The labels of a session's episodes: their names, what the store has of them, the file that others read."""

from __future__ import annotations

import json
from pathlib import Path

from robo_reward.data.disk import replace_file
from robo_reward.data.store import TransitionStore
from robo_reward.hil.protocol import VERDICTS, Protocol
from robo_reward.types import Episode

ACTOR = "session"
"""Under which the store keeps the episodes, and what their ids begin with."""


def episode_name(number: int) -> str:
    """Id of a session's n-th episode."""
    return f"{ACTOR}-{number:05d}"


def worlds_word(episode: Episode) -> bool:
    """What the world says of an episode."""
    return episode.success


class Labels:
    """The labels of a protocol beside the episodes of a store.

    Arguments:
        protocol: whose labels they are.
        store: of the episodes.
        folder: takes outcomes.json, the labels by episode (what `bench-reward outcomes=` reads).
    """

    def __init__(self, protocol: Protocol, store: TransitionStore, folder: Path) -> None:
        self._protocol, self._store, self._folder = protocol, store, folder

    def judged(self, by_person: bool = False) -> list[list[str]]:
        """Id and label of every stored episode that was judged a success, a failure or partial, in order.

        Args:
            by_person: leave those out that nobody but a machine judged.
        """
        out = self._protocol.unattended if by_person else ()
        named = [[episode_name(n), label] for n, label in enumerate(self._protocol.labels) if n not in out]
        return [pair for pair in named if pair[1] in VERDICTS and pair[0] in self._store.index.episodes]

    def relabel(self, name: str, label: str) -> None:
        """Judge a past episode anew. ValueError for one that is gone or a label that it cannot have."""
        if name not in self._store.index.episodes:
            raise ValueError(f"episode {name} is gone: it keeps what it has")
        self._protocol.relabel(int(name.removeprefix(f"{ACTOR}-")), label)
        self.write()

    def write(self) -> None:
        """Bring outcomes.json up to date."""
        replace_file(self._folder / "outcomes.json", (json.dumps(dict(self.judged())) + "\n").encode())
