"""A trained reward model: what answers hops, its references and its tracker, kept together in a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from robo_reward.interfaces import ProcessRewardModel
from robo_reward.progress.annotate import annotate_many, track_id
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.feature_cache import FeatureCache
from robo_reward.progress.references import References
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.types import Episode, PhiTrack


class HopModel(ProcessRewardModel, Protocol):
    """A reward model that a tracker can follow episodes with, and that is kept in a folder."""

    kind: str
    settings: Any
    """With the `views` it knows, the `image_size` that data are read at, and the number of `stages`."""

    def save(self, folder: Path) -> None:
        """Write what loading it again takes."""


@dataclass(frozen=True)
class RewardModel:
    """What training leaves and annotation needs; an `EpisodeScorer`."""

    model: HopModel
    references: References
    tracker: TrackerSettings

    @property
    def name(self) -> str:
        """The model's kind."""
        return self.model.kind

    @property
    def compact(self) -> CompactModel:
        """The model, where its network itself is wanted. Raises ValueError if it is another than the compact one."""
        if not isinstance(self.model, CompactModel):
            raise ValueError(f"this works on the compact model's network, and this is reward={self.name}")
        return self.model

    @property
    def track_id(self) -> str:
        """As of `annotate.track_id`."""
        return track_id(self.model, self.tracker, self.references)

    @property
    def instructions(self) -> tuple[str, ...]:
        """Those that it has references of."""
        return tuple(sorted(self.references))

    @property
    def reads(self) -> str:
        """What a value depends on."""
        count = max(len(reference) for reference in self.references.values())
        views = ", ".join(self.model.settings.views)
        return f"clip so far, instruction, start and goal frames of {count} demonstrations; {views}"

    def annotate(self, episodes: Sequence[Episode], instruction: str | None = None) -> list[PhiTrack]:
        """The tracker's potential of every observation; errors as of `annotate.track_many`."""
        return annotate_many(episodes, self.model, self.tracker, self.references, instruction)

    def save(self, folder: Path) -> None:
        """Write the model, its references and the tracker settings (with the calibrated completion rule)."""
        self.model.save(folder)
        self.references.save(folder / "references.npz")
        (folder / "tracker.json").write_text(json.dumps(asdict(self.tracker), indent=2) + "\n")


def reward_folder(path: str | Path) -> Path:
    """The folder of a reward model: the path itself, or what the run in that folder has trained."""
    path = Path(path)
    try:
        trained = Path(json.loads((path / "summary.json").read_text(encoding="utf-8"))["reward_model"])
    except (OSError, ValueError, KeyError, TypeError):
        return path
    beside = path.parent / "stages" / trained.name  # a run folder that was moved with its stages
    return trained if trained.is_dir() or not beside.is_dir() else beside


def load_reward(folder: Path, cache: FeatureCache | None = None) -> RewardModel:
    """Read a trained reward model from its folder, or from that of the run that trained it.

    cache: for one live tracker, which asks about the same frames again.
    Raises FileNotFoundError or ValueError for missing or damaged files.
    """
    folder = reward_folder(folder)
    if (folder / "rival.json").is_file():
        raise ValueError(f"{folder}: a reward model that scores whole episodes only; use one of reward=compact here")
    model, references = _load_model(folder, cache), References.load(folder / "references.npz")
    path = folder / "tracker.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no tracker settings; train the reward model again")
    try:
        values = json.loads(path.read_text())
        tracker = TrackerSettings(**{**values, "completion": CompletionRule(**values["completion"])})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the settings of a tracker ({error}); train the reward model again") from error
    return RewardModel(model, references, tracker)


def _load_model(folder: Path, cache: FeatureCache | None) -> HopModel:
    if (folder / "grm.json").is_file():
        from robo_reward.progress.models.grm import GrmModel

        return GrmModel.load(folder)
    if (folder / "sibling.json").is_file():
        from robo_reward.progress.models.sibling import SiblingModel

        return SiblingModel.load(folder)
    if (folder / "remote.json").is_file():
        from robo_reward.progress.models.remote import load_remote

        return load_remote(folder)
    return CompactModel.load(folder, cache)
