"""Train the compact reward model: labelled episodes -> hop pairs -> weights, references, completion rule."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robo_reward.progress.annotate import track_many
from robo_reward.progress.completion import CompletionRule, calibrate
from robo_reward.progress.labels import PotentialLabels, label_episode
from robo_reward.progress.models.compact import (
    CompactModel,
    CompactNet,
    CompactSettings,
    unique_combinations,
    word_ids,
)
from robo_reward.progress.models.feature_cache import FeatureCache
from robo_reward.progress.pairs import PairBatch, PairSampler, PairSettings
from robo_reward.progress.references import References
from robo_reward.progress.tracker import TrackerSettings, completion_score
from robo_reward.terminal import progress
from robo_reward.types import Episode

LABELS = "labels.npz"


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the weights, together with the episodes."""

    seed: int = 0
    steps: int = 600
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    gradient_clip: float = 1.0
    average_decay: float = 0.99
    """The saved weights are an exponential average of the trained ones."""
    shift: int = 2
    """Random image shift [pixels], drawn per frame and view."""
    brightness: float = 0.1
    stage_weight: float = 0.2
    """Of the auxiliary loss: which stage a single frame is in, as its label says."""
    references_per_task: int = 3
    validation_share: float = 0.15
    """Of the episodes, held out to choose the completion threshold; ignored when validation episodes are given."""
    pairs: PairSettings = field(default_factory=PairSettings)
    model: CompactSettings = field(default_factory=CompactSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.references_per_task < 1:
            raise ValueError(f"steps={self.steps}, references_per_task={self.references_per_task}: expected at least 1")
        if not 0 < self.learning_rate <= 0.1:
            raise ValueError(f"learning_rate={self.learning_rate} outside (0, 0.1]")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} outside [0, 1)")


@dataclass(frozen=True)
class RewardModel:
    """What training leaves and annotation needs."""

    model: CompactModel
    references: References
    tracker: TrackerSettings

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
    model, references = CompactModel.load(folder, cache), References.load(folder / "references.npz")
    path = folder / "tracker.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no tracker settings; train the reward model again")
    try:
        values = json.loads(path.read_text())
        tracker = TrackerSettings(**{**values, "completion": CompletionRule(**values["completion"])})
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the settings of a tracker ({error}); train the reward model again") from error
    return RewardModel(model, references, tracker)


def train_reward(
    episodes: Sequence[Episode],
    settings: TrainSettings,
    out_dir: Path,
    quiet: bool = False,
    validation: Sequence[Episode] | None = None,
    keyframes: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Train, calibrate completion on held-out episodes, save everything to `out_dir`, return a flat summary.

    keyframes: episode_id -> observation indices from a file; episodes without an entry use their stage predicates.
    Raises ValueError for episodes without frames of the model's views or without a successful demonstration per task.
    """
    train, held_out = (list(episodes), list(validation)) if validation is not None else _split(episodes, settings)
    _check(train, settings)
    keys = keyframes or {}
    labels = [label_episode(e, settings.model.stages, keys.get(e.episode_id)) for e in train]
    references = References.from_demonstrations(train, settings.references_per_task)
    net, statistics = fit(train, labels, settings, quiet)
    model = CompactModel(net)
    tracker, completion = calibrate_completion(model, references, settings.tracker, held_out)
    RewardModel(model, references, tracker).save(Path(out_dir))
    save_labels(Path(out_dir), train, labels)
    summary: dict[str, Any] = {
        "model_id": model.model_id,
        "train_episodes": len(train),
        "validation_episodes": len(held_out),
        "train_frames": sum(len(e.frame_steps) for e in train),
        "steps": settings.steps,
        **completion,
        **{f"pairs_{k}": v for k, v in statistics.items()},
    }
    (Path(out_dir) / "reward.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def save_labels(folder: Path, episodes: Sequence[Episode], labels: Sequence[PotentialLabels]) -> None:
    """What the model was taught, episode by episode, so that it can be taught the same again."""
    arrays = {e.episode_id: np.stack([x.phi, x.low, x.high]) for e, x in zip(episodes, labels, strict=True)}
    np.savez_compressed(folder / LABELS, **arrays)  # type: ignore[arg-type]


def load_labels(folder: Path) -> dict[str, PotentialLabels]:
    """Episode id -> labels as `save_labels` wrote them; none where it did not. ValueError for a damaged file."""
    path = folder / LABELS
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: PotentialLabels(*data[name]) for name in data.files}
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: damaged labels ({error}); remove the file to adapt without replay") from error


@dataclass(frozen=True)
class Material:
    """Where batches come from: labelled episodes with the same cameras."""

    sampler: PairSampler
    pool: FramePool
    words: Tensor

    @classmethod
    def of(
        cls, episodes: Sequence[Episode], labels: Sequence[PotentialLabels], settings: TrainSettings,
        weights: Sequence[float] | None = None,
    ) -> Material:  # fmt: skip
        """weights: how often each episode is visited, default equally."""
        sampler = PairSampler(episodes, labels, settings.model.stages, settings.pairs, settings.seed, weights)
        words = torch.from_numpy(np.stack([word_ids(t) for t in sampler.instructions]))
        return cls(sampler, FramePool(episodes, settings), words)

    def standardise(self, net: CompactNet, generator: torch.Generator, views: Sequence[str] | None = None) -> None:
        """`CompactNet.standardise` on a few of the frames."""
        some = np.random.default_rng(self.pool.seed).integers(self.pool.count, size=256)
        net.standardise(self.pool.images(some, self.pool.views, generator), self.words[some % len(self.words)], views)


def fit(
    episodes: Sequence[Episode], labels: Sequence[PotentialLabels], settings: TrainSettings, quiet: bool = False
) -> tuple[CompactNet, dict[str, object]]:
    """A network trained from scratch: same episodes, settings and thread count, same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = CompactNet(settings.model)
    material = Material.of(episodes, labels, settings)
    generator = torch.Generator().manual_seed(settings.seed)
    material.standardise(net, generator)
    trained, skipped = optimise(net, [material], settings, generator, quiet)
    return trained, {**material.sampler.statistics(), "skipped_steps": skipped}


def optimise(
    net: CompactNet, materials: Sequence[Material], settings: TrainSettings, generator: torch.Generator, quiet: bool
) -> tuple[CompactNet, int]:
    """The training loop: batches of the materials in turn; the averaged network and how many steps were skipped."""
    average = CompactNet(net.settings)
    average.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    skipped = 0
    net.train()
    for step in progress(range(settings.steps), description="train-reward", quiet=quiet):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step / settings.steps)
        m = materials[step % len(materials)]
        loss = batch_loss(net, m.pool, m.sampler.batch(), m.words, generator, settings.stage_weight)
        optimiser.zero_grad(set_to_none=True)
        if not torch.isfinite(loss):
            skipped += 1
            continue
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), settings.gradient_clip)
        if not torch.isfinite(norm):
            skipped += 1
            continue
        optimiser.step()
        decay = min(settings.average_decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for kept, current in zip(average.parameters(), net.parameters(), strict=True):
                kept.lerp_(current, 1 - decay)
    if skipped > settings.steps // 10:
        raise ValueError(
            f"{skipped} of {settings.steps} training steps had a non-finite loss; "
            f"lower learning_rate={settings.learning_rate}"
        )
    return average.eval(), skipped


def batch_loss(
    net: CompactNet, pool: FramePool, batch: PairBatch, words: Tensor, generator: torch.Generator, stage_weight: float
) -> Tensor:
    """Mean over the batch's pairs of: cross-entropy against the exact hop, or the squared distance to its interval."""
    index = np.stack([batch.before_B, batch.after_B, batch.start_B, batch.goal_B])
    frames, local = np.unique(index[index >= 0], return_inverse=True)
    compact = np.full(index.shape, -1)
    compact[index >= 0] = local
    frame_F, text_F, rows = unique_combinations(compact, batch.instruction_B, len(frames))
    z = net.embed(pool.images(frames[frame_F], batch.views, generator), words[text_F])
    logits = net.logits(z, *torch.from_numpy(rows))
    mean, _ = net.expectation(logits)
    low, high = torch.from_numpy(batch.low_B), torch.from_numpy(batch.high_B)
    exact = low == high
    entropy = -(two_hot(low, net.settings.hop_bins) * logits.log_softmax(-1)).sum(-1)
    outside = torch.relu(low - mean) + torch.relu(mean - high)
    loss = torch.where(exact, entropy + 10 * (mean - low) ** 2, 20 * outside**2).mean()
    anchored = batch.kind_B >= 3
    if stage_weight and anchored.any():
        stages = net.settings.stages
        phi = batch.low_B[anchored] + (batch.kind_B[anchored] == 4)
        stage = torch.from_numpy(np.floor(phi * stages + 1e-4).astype(np.int64)).clamp(0, stages)
        loss = loss + stage_weight * functional.cross_entropy(net.stage(z[torch.from_numpy(rows[1][anchored])]), stage)
    return loss


def two_hot(value: Tensor, bins: int) -> Tensor:
    """Weights on the two neighbouring hop bins whose expectation is exactly `value` in [-1, 1]."""
    position = (value.clamp(-1, 1) + 1) / 2 * (bins - 1)
    left = position.floor().clamp(max=bins - 2)
    share = position - left
    target = functional.one_hot(left.long(), bins).float() * (1 - share)[:, None]
    return target + functional.one_hot(left.long() + 1, bins).float() * share[:, None]


class FramePool:
    """The training frames of all episodes in one array per view, with augmentation on the way out."""

    def __init__(self, episodes: Sequence[Episode], settings: TrainSettings) -> None:
        self.shift, self.brightness = settings.shift, settings.brightness
        self.seed, self.count = settings.seed, sum(len(e.frame_steps) for e in episodes)
        self.views = tuple(v for v in settings.model.views if v in episodes[0].frames)
        edge = ((0, 0), (self.shift, self.shift), (self.shift, self.shift), (0, 0))
        self.frames = {
            v: np.pad(np.concatenate([e.frames[v] for e in episodes]), edge, mode="edge") for v in self.views
        }

    def images(self, frames: np.ndarray, views: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
        """The frames of these pool indices; view -> (N, 3, H, W) in [0, 1].

        A view is shifted the same way for the whole batch (a camera that moved), brightness varies per frame.
        """
        images = {}
        for view in (v for v in views if v in self.frames):
            pool = self.frames[view]
            y, x = torch.randint(0, 2 * self.shift + 1, (2,), generator=generator).tolist()
            height, width = (n - 2 * self.shift for n in pool.shape[1:3])
            image = torch.from_numpy(pool[frames, y : y + height, x : x + width]).permute(0, 3, 1, 2).float()
            gain = 1 + self.brightness * (2 * torch.rand(len(frames), 1, 1, 1, generator=generator) - 1)
            images[view] = image.mul_(gain / 255.0)
        return images


def calibrate_completion(
    model: CompactModel, references: References, tracker: TrackerSettings, held_out: Sequence[Episode]
) -> tuple[TrackerSettings, dict[str, Any]]:
    """Tracker settings with the completion threshold chosen on held-out outcomes, and what it does there."""
    usable = [e for e in held_out if e.instruction in references]
    if not any(e.success for e in usable) or all(e.success for e in usable):
        return tracker, {"completion_calibrated": False, "completion_threshold": tracker.completion.threshold}
    scores = [[completion_score(p) for p in t.progress] for t in track_many(usable, model, tracker, references)]
    done = [s for s, e in zip(scores, usable, strict=True) if e.success]
    failed = [s for s, e in zip(scores, usable, strict=True) if not e.success]
    found = calibrate(done, failed, tracker.completion.sustain)
    return replace(tracker, completion=found.rule), {
        "completion_calibrated": True,
        "completion_threshold": found.rule.threshold,
        "completion_recall": found.recall,
        "completion_false_rate": found.false_success_rate,
        "completion_false_rate_bound": found.false_success_bound,
        "completion_failures": found.failures,
        "completion_bound_met": found.bound_met,
    }


def _schedule(share: float) -> float:
    """Warm-up over the first twentieth, then a cosine to a hundredth."""
    return min(share / 0.05 + 0.02, 1.0) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def _split(episodes: Sequence[Episode], settings: TrainSettings) -> tuple[list[Episode], list[Episode]]:
    """By episode, both outcomes in the same share."""
    rng = np.random.default_rng(settings.seed)
    held: set[int] = set()
    for outcome in (True, False):
        members = [i for i, e in enumerate(episodes) if e.success == outcome]
        count = int(settings.validation_share * len(members))
        held |= set(rng.permutation(members)[:count].tolist())
    train = [e for i, e in enumerate(episodes) if i not in held]
    return train, [e for i, e in enumerate(episodes) if i in held]


def _check(episodes: Sequence[Episode], settings: TrainSettings) -> None:
    if not episodes:
        raise ValueError("no training episodes: collect demonstrations first")
    for e in episodes:
        missing = [v for v in settings.model.views if v not in e.frames]
        if missing:
            raise ValueError(f"episode {e.episode_id} has no camera {missing[0]!r}; it has {sorted(e.frames)}")
        size = settings.model.image_size
        for view in settings.model.views:
            if e.frames[view].shape[1:3] != (size, size):
                raise ValueError(
                    f"episode {e.episode_id}: view {view} is {e.frames[view].shape[1:3]} pixels, expected {size} square"
                )
