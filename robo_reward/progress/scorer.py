"""What any trained reward model can do, whatever it asks: annotate whole episodes, causally."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from robo_reward.progress.reward_model import load_reward, reward_folder
from robo_reward.progress.rivals import DESCRIPTION, load_rival
from robo_reward.types import Episode, PhiTrack


class EpisodeScorer(Protocol):
    """Whole episodes in, potentials out; a later frame never changes an earlier value.

    The compact model with its tracker is one, and so is each rival. Only the compact model also answers hop queries,
    which live use, videos and datasets' columns need.
    """

    @property
    def name(self) -> str:
        """What it is called in tables."""

    @property
    def track_id(self) -> str:
        """Names all that its potentials depend on: equal ids give equal potentials."""

    @property
    def instructions(self) -> tuple[str, ...]:
        """Those that it knows, in alphabetical order."""

    @property
    def reads(self) -> str:
        """What its values depend on, in words."""

    def annotate(self, episodes: Sequence[Episode], instruction: str | None = None) -> list[PhiTrack]:
        """The potential of every observation; `instruction` overrides the episodes' own."""


def load_scorer(folder: str | Path) -> EpisodeScorer:
    """The reward model of any kind in this folder, or of the run in it. Raises as `load_reward` and `load_rival`."""
    folder = reward_folder(folder)
    return load_rival(folder) if (folder / DESCRIPTION).is_file() else load_reward(folder)
