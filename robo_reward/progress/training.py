"""Train the compact reward model: labelled episodes -> hop pairs -> weights, references, completion rule."""

from __future__ import annotations

import copy
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robo_reward.interfaces import ProcessRewardModel
from robo_reward.progress.annotate import annotate_many, track_id, track_many
from robo_reward.progress.completion import CompletionRule, CompletionTarget, calibrate
from robo_reward.progress.labels import PotentialLabels, label_episode, labels_from_outcome
from robo_reward.progress.models.compact import (
    CompactModel,
    CompactNet,
    CompactSettings,
    FrameEncoder,
    unique_combinations,
    word_ids,
)
from robo_reward.progress.models.feature_cache import FeatureCache
from robo_reward.progress.pairs import PairBatch, PairSampler, PairSettings
from robo_reward.progress.references import References
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.terminal import progress
from robo_reward.types import Episode, PhiTrack

Net = TypeVar("Net", bound=nn.Module)
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
    labels: str = "steps"
    """`steps`: stages or keyframes share the progress equally; `frames`, a control: linear in time, outcomes alone."""
    failures: bool = True
    """Whether failed episodes are trained on."""
    validation_share: float = 0.15
    """Of the episodes, held out to choose the completion threshold; ignored when validation episodes are given."""
    pairs: PairSettings = field(default_factory=PairSettings)
    model: CompactSettings = field(default_factory=CompactSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    completion: CompletionTarget = field(default_factory=CompletionTarget)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.references_per_task < 1:
            raise ValueError(f"steps={self.steps}, references_per_task={self.references_per_task}: expected at least 1")
        if not 0 < self.learning_rate <= 0.1:
            raise ValueError(f"learning_rate={self.learning_rate} outside (0, 0.1]")
        if self.labels not in ("steps", "frames"):
            raise ValueError(f"labels={self.labels!r}: expected steps or frames")
        if not 0 <= self.validation_share < 1:
            raise ValueError(f"validation_share={self.validation_share} outside [0, 1)")


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


def train_reward(
    episodes: Sequence[Episode],
    settings: TrainSettings,
    out_dir: Path,
    quiet: bool = False,
    validation: Sequence[Episode] | None = None,
    keyframes: Mapping[str, Sequence[int]] | None = None,
    answers: Mapping[str, PhiTrack] | None = None,
) -> dict[str, Any]:
    """Train, calibrate completion on held-out episodes, save everything to `out_dir`, return a flat summary.

    keyframes: episode_id -> observation indices from a file; episodes without an entry use their stage predicates.
    answers: episode_id -> another reward model's track, for every episode, to learn from in place of labels.
    Raises ValueError for episodes without frames of the model's views or without a successful demonstration per task.
    """
    split = (list(episodes), list(validation)) if validation is not None else split_episodes(episodes, settings)
    train, held_out = [e for e in split[0] if e.success or settings.failures], split[1]
    check_episodes(train, settings)
    if answers is None:
        labels = label_episodes(train, settings, keyframes or {})
    else:
        labels = [PotentialLabels(*[answers[e.episode_id].phi] * 3) for e in train]
    references = References.from_demonstrations(train, settings.references_per_task)
    net, statistics = fit(train, labels, settings, quiet)
    model = CompactModel(net)
    tracker = replace(settings.tracker, differences=settings.model.target == "difference")
    tracker, completion = calibrate_completion(model, references, tracker, held_out, settings.completion)
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


def label_episodes(
    episodes: Sequence[Episode], settings: TrainSettings, keyframes: Mapping[str, Sequence[int]]
) -> list[PotentialLabels]:
    """Labels by `settings.labels`; keyframes: as `train_reward` takes them."""
    if settings.labels == "frames":
        return [labels_from_outcome(len(e) + 1, e.success) for e in episodes]
    return [label_episode(e, settings.model.stages, keyframes.get(e.episode_id)) for e in episodes]


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


def fit(
    episodes: Sequence[Episode], labels: Sequence[PotentialLabels], settings: TrainSettings, quiet: bool = False
) -> tuple[CompactNet, dict[str, object]]:
    """The training loop: same episodes, settings and thread count, same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = CompactNet(settings.model)
    sampler = PairSampler(episodes, labels, settings.model.stages, settings.pairs, settings.seed, settings.model.target)
    pool = FramePool(episodes, settings)
    pool.standardise(net)
    average, skipped = optimise(
        net, lambda: batch_loss(net, pool, sampler.batch(), settings.stage_weight), settings, quiet
    )
    return average, {**sampler.statistics(), "skipped_steps": skipped}


def optimise(net: Net, next_loss: Callable[[], Tensor], settings: TrainSettings, quiet: bool) -> tuple[Net, int]:
    """The average of the weights over `settings.steps` steps on `next_loss()`, and the steps that were skipped.

    Raises ValueError when more than a tenth of the losses were not finite.
    """
    average = copy.deepcopy(net)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    skipped = 0
    net.train()
    for step in progress(range(settings.steps), description="train-reward", quiet=quiet):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step / settings.steps)
        loss = next_loss()
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


def batch_loss(net: CompactNet, pool: FramePool, batch: PairBatch, stage_weight: float) -> Tensor:
    """Mean over the batch's pairs of: cross-entropy against the exact hop, or the squared distance to its interval."""
    index = np.stack([batch.before_B, batch.after_B, batch.start_B, batch.goal_B])
    z, rows = pool.embed(net, index, batch.instruction_B, batch.views)
    logits = net.logits(z, *torch.from_numpy(rows))
    mean, _ = net.expectation(logits)
    low, high = torch.from_numpy(batch.low_B), torch.from_numpy(batch.high_B)
    exact = low == high
    entropy = -(two_hot(low, net.settings.hop_bins) * logits.log_softmax(-1)).sum(-1)
    outside = torch.relu(low - mean) + torch.relu(mean - high)
    loss = torch.where(exact, entropy + 10 * (mean - low) ** 2, 20 * outside**2).mean()
    if stage_weight and (known := batch.stage_B >= 0).any():
        stage = torch.from_numpy(batch.stage_B[known])
        loss = loss + stage_weight * functional.cross_entropy(net.stage(z[torch.from_numpy(rows[1][known])]), stage)
    return loss


def two_hot(value: Tensor, bins: int) -> Tensor:
    """Weights on the two neighbouring hop bins whose expectation is exactly `value` in [-1, 1]."""
    position = (value.clamp(-1, 1) + 1) / 2 * (bins - 1)
    left = position.floor().clamp(max=bins - 2)
    share = position - left
    target = functional.one_hot(left.long(), bins).float() * (1 - share)[:, None]
    return target + functional.one_hot(left.long() + 1, bins).float() * share[:, None]


class FramePool:
    """The training frames of all episodes in one array per view, with augmentation on the way out.

    Instructions are numbered in alphabetical order, frames in that of the episodes.
    """

    def __init__(self, episodes: Sequence[Episode], settings: TrainSettings) -> None:
        self.shift, self.brightness, self.seed = settings.shift, settings.brightness, settings.seed
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.words = torch.from_numpy(np.stack([word_ids(t) for t in sorted({e.instruction for e in episodes})]))
        self.views = tuple(v for v in settings.model.views if v in episodes[0].frames)
        edge = ((0, 0), (self.shift, self.shift), (self.shift, self.shift), (0, 0))
        self.frames = {
            v: np.pad(np.concatenate([e.frames[v] for e in episodes]), edge, mode="edge") for v in self.views
        }

    def standardise(self, net: FrameEncoder, views: Sequence[str] | None = None) -> None:
        """`net.standardise` on some of the frames."""
        count = len(next(iter(self.frames.values())))
        some = np.random.default_rng(self.seed).integers(count, size=256)
        net.standardise(self.images(some, self.views), self.words[some % len(self.words)], views)

    def embed(
        self, net: FrameEncoder, index_RB: np.ndarray, task_B: np.ndarray, views: Sequence[str]
    ) -> tuple[Tensor, np.ndarray]:
        """Embeddings of all that a batch needs, each once, and its frames' rows in them (-1 stays -1)."""
        frames, local = np.unique(index_RB[index_RB >= 0], return_inverse=True)
        compact = np.full(index_RB.shape, -1)
        compact[index_RB >= 0] = local
        frame_F, text_F, rows = unique_combinations(compact, task_B, len(frames))
        return net.embed(self.images(frames[frame_F], views), self.words[text_F]), rows

    def images(self, frames: np.ndarray, views: Sequence[str]) -> dict[str, Tensor]:
        """The frames of these pool indices; view -> (N, 3, H, W) in [0, 1].

        A view is shifted the same way for the whole batch (a camera that moved), brightness varies per frame.
        """
        images = {}
        for view in (v for v in views if v in self.frames):
            pool = self.frames[view]
            y, x = torch.randint(0, 2 * self.shift + 1, (2,), generator=self.generator).tolist()
            height, width = (n - 2 * self.shift for n in pool.shape[1:3])
            image = torch.from_numpy(pool[frames, y : y + height, x : x + width]).permute(0, 3, 1, 2).float()
            gain = 1 + self.brightness * (2 * torch.rand(len(frames), 1, 1, 1, generator=self.generator) - 1)
            images[view] = image.mul_(gain / 255.0)
        return images


def calibrate_completion(
    model: ProcessRewardModel,
    references: References,
    tracker: TrackerSettings,
    held_out: Sequence[Episode],
    target: CompletionTarget,
) -> tuple[TrackerSettings, dict[str, Any]]:
    """Tracker settings with the completion threshold chosen on held-out outcomes, and what it does there."""
    usable = [e for e in held_out if e.instruction in references]
    if not any(e.success for e in usable) or all(e.success for e in usable):
        return tracker, {"completion_calibrated": False, "completion_threshold": tracker.completion.threshold}
    tracks = track_many(usable, model, tracker, references)
    done = [t.scores for t, e in zip(tracks, usable, strict=True) if e.success]
    failed = [t.scores for t, e in zip(tracks, usable, strict=True) if not e.success]
    found = calibrate(done, failed, tracker.completion.sustain, target)
    return replace(tracker, completion=found.rule), {
        "completion_calibrated": True,
        **found.summary(),
    }


def _schedule(share: float) -> float:
    """Warm-up over the first twentieth, then a cosine to a hundredth."""
    return min(share / 0.05 + 0.02, 1.0) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def split_episodes(episodes: Sequence[Episode], settings: TrainSettings) -> tuple[list[Episode], list[Episode]]:
    """Training and held-out episodes, both outcomes in the same share."""
    rng = np.random.default_rng(settings.seed)
    held: set[int] = set()
    for outcome in (True, False):
        members = [i for i, e in enumerate(episodes) if e.success == outcome]
        count = int(settings.validation_share * len(members))
        held |= set(rng.permutation(members)[:count].tolist())
    train = [e for i, e in enumerate(episodes) if i not in held]
    return train, [e for i, e in enumerate(episodes) if i in held]


def check_episodes(episodes: Sequence[Episode], settings: TrainSettings) -> None:
    """Raises ValueError unless all have the model's views, in its size."""
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
