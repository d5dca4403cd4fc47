"""Other reward models, trained from scratch: same episodes, labels, frames, encoder and steps as the compact model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robo_reward.progress.annotate import held, stored_at
from robo_reward.progress.clips import ClipSampler, demonstrations_of
from robo_reward.progress.frame_pool import FramePool
from robo_reward.progress.labels import PotentialLabels
from robo_reward.progress.models.classifier import Classifier
from robo_reward.progress.models.compact_net import CompactSettings
from robo_reward.progress.models.distance import FeatureDistance, PixelDistance
from robo_reward.progress.models.graded import Graded
from robo_reward.progress.models.progressor import Progressor
from robo_reward.progress.models.rewind import Rewind
from robo_reward.progress.models.rival import Demonstration, LearnedRival, Rival
from robo_reward.progress.models.sarm import Sarm
from robo_reward.progress.models.transport import Transport
from robo_reward.progress.models.vlac import Vlac
from robo_reward.progress.reward_model import load_reward
from robo_reward.progress.training import TrainSettings, check_episodes, label_episodes, optimise, split_episodes
from robo_reward.settings import unknown
from robo_reward.types import Episode, PhiTrack

RIVALS: dict[str, type[Rival]] = {
    rival.kind: rival
    for rival in (Sarm, Rewind, Progressor, Vlac, Graded, Classifier, Transport, FeatureDistance, PixelDistance)
}
DESCRIPTION, WEIGHTS = "rival.json", "rival.safetensors"


@dataclass(frozen=True)
class RivalReward:
    """A trained rival, with the interval at which it looks; an `EpisodeScorer`."""

    rival: Rival
    every: int
    """[steps] between the frames that it sees, as in its training"""

    @property
    def name(self) -> str:
        """Its kind."""
        return self.rival.kind

    @cached_property
    def track_id(self) -> str:
        """Names weights, what it keeps of demonstrations, and settings: equal ids give equal potentials."""
        sha = hashlib.sha256(json.dumps(self._description(), sort_keys=True).encode())
        for name, tensor in sorted(self.rival.state_dict().items()):
            sha.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return f"{self.rival.kind}-{sha.hexdigest()[:12]}"

    @property
    def instructions(self) -> tuple[str, ...]:
        """Those that it was trained on."""
        return self.rival.tasks

    @property
    def reads(self) -> str:
        """What a value depends on."""
        return f"{self.rival.reads}; {', '.join(self.rival.settings.views)}"

    def annotate(self, episodes: Sequence[Episode], instruction: str | None = None) -> list[PhiTrack]:
        """Causal values of the episodes' T+1 observations, held between queries; no confidence, so 1 throughout.

        Raises ValueError for an unknown instruction, or frames that it does not know or that are missing.
        """
        tracks = []
        for episode in episodes:
            task = instruction or episode.instruction
            if task not in self.rival.tasks:
                raise ValueError(unknown("instruction", task, self.rival.tasks))
            at = stored_at(episode, self.every)
            frames = {view: f[at] for view, f in episode.frames.items()}
            phi = self.rival.values(frames, self.rival.tasks.index(task))
            phi = phi[held(episode.frame_steps[at], len(episode))]
            tracks.append(PhiTrack(self.track_id, phi, np.ones_like(phi)))
        return tracks

    def save(self, folder: Path) -> None:
        """Write weights (safetensors) and their description with checksum (json)."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in self.rival.state_dict().items()}, folder / WEIGHTS)
        description = {**self._description(), "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")

    def _description(self) -> dict[str, Any]:
        return {
            "kind": self.rival.kind,
            "settings": asdict(self.rival.settings),
            "tasks": self.rival.tasks,
            "every": self.every,
        }


def load_rival(folder: Path) -> RivalReward:
    """Read what `RivalReward.save` wrote. Raises FileNotFoundError, or ValueError for files that do not match."""
    weights, path = Path(folder) / WEIGHTS, Path(folder) / DESCRIPTION
    for file in (weights, path):
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no trained reward model here; run train-reward first")
    try:
        d = json.loads(path.read_text())
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d["settings"].items()}
        rival = RIVALS[d["kind"]](CompactSettings(**values), tuple(d["tasks"]))
        every, expected = int(d["every"]), d["sha256"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a description of a reward model ({error}); train it again") from error
    if hashlib.sha256(weights.read_bytes()).hexdigest() != expected:
        raise ValueError(f"{weights}: checksum differs from {path.name}; the file is damaged, train it again")
    try:
        rival.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise ValueError(f"{weights}: weights of another network than this version's; train it again") from error
    return RivalReward(rival.eval(), every)


def train_rival(
    kind: str,
    episodes: Sequence[Episode],
    settings: TrainSettings,
    out_dir: Path,
    quiet: bool = False,
    validation: Sequence[Episode] | None = None,
    keyframes: Mapping[str, Sequence[int]] | None = None,
    compact: Path | None = None,
) -> dict[str, Any]:
    """Train a rival, save it to `out_dir`, return a flat summary; arguments as of `train_reward`.

    validation: only says that no episodes are to be held out; nothing is calibrated on it.
    compact: folder of the trained compact model whose encoder a rival with frozen features looks through.
    Raises ValueError for episodes without frames of the model's views or without a success per task.
    """
    if kind not in RIVALS:
        raise ValueError(unknown("reward model", kind, RIVALS))
    train = list(episodes) if validation is not None else split_episodes(episodes, settings)[0]
    train = [e for e in train if e.success or settings.failures]
    check_episodes(train, settings)
    labels = label_episodes(train, settings, keyframes or {})
    successes = demonstrations_of(train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        rival = RIVALS[kind](settings.model, tuple(successes))
    skipped = 0
    if isinstance(rival, LearnedRival):
        rival, skipped = fit(rival, train, labels, settings, quiet)
    elif rival.encoded:
        if compact is None:
            raise ValueError(f"{kind} looks through a trained compact model's encoder: give its folder")
        trained = load_reward(compact).compact.net.state_dict()
        rival.encoder.load_state_dict({name: trained[name] for name in rival.encoder.state_dict()})
    rival.eval()
    for task, numbers in enumerate(successes.values()):
        rival.keep(task, [Demonstration(train[i].frames, labels[i].phi) for i in numbers])
    reward = RivalReward(rival, settings.tracker.every)
    reward.save(Path(out_dir))
    summary = {
        "model_id": reward.track_id,
        "train_episodes": len(train),
        "train_frames": sum(len(e.frame_steps) for e in train),
        "steps": settings.steps if isinstance(rival, LearnedRival) else 0,
        "skipped_steps": skipped,
    }
    (Path(out_dir) / "reward.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def fit(
    rival: LearnedRival,
    episodes: Sequence[Episode],
    labels: Sequence[PotentialLabels],
    settings: TrainSettings,
    quiet: bool = False,
) -> tuple[LearnedRival, int]:
    """The trained rival and the steps that were skipped: same episodes, settings and thread count, same weights."""
    sampler = ClipSampler(
        episodes, labels, settings.model.stages, settings.pairs, settings.seed, rival.whole_clips, rival.rewinds
    )
    pool = FramePool(episodes, settings)
    pool.standardise(rival.encoder)
    return optimise(rival, partial(clip_loss, rival, pool, sampler), settings, quiet)


def clip_loss(rival: LearnedRival, pool: FramePool, sampler: ClipSampler) -> Tensor:
    """The rival's loss on the sampler's next batch."""
    batch = sampler.batch()
    frames = np.concatenate([batch.frame_CL.T, batch.goal_C[None]])
    z, rows = pool.embed(rival.encoder, frames, batch.task_C, batch.views)
    low, high, inside = (torch.from_numpy(x) for x in (batch.low_CL, batch.high_CL, batch.inside_CL))
    return rival.loss(z[rows[:-1].T], z[rows[-1]], low, high, inside)
