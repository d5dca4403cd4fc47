"""Train the compact reward model: labelled episodes -> hop pairs -> weights, references, completion rule."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robo_reward.data.arrays import read_arrays
from robo_reward.progress.calibration import calibrate_completion
from robo_reward.progress.completion import CompletionTarget
from robo_reward.progress.frame_pool import FramePool
from robo_reward.progress.labels import PotentialLabels, label_episode, labels_from_outcome
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.pairs import PairBatch, PairSampler, PairSettings
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.reward_model import load_reward as load_reward  # where docs/api.md first promised it
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
        return {name: PotentialLabels(*rows) for name, rows in read_arrays(path).items()}
    except (OSError, ValueError, TypeError) as error:
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
            known = ",".join(sorted(e.frames))
            raise ValueError(f"episode {e.episode_id} has no camera {missing[0]!r}: set env.cameras=[{known}], its own")
        size = settings.model.image_size
        for view in settings.model.views:
            height, width = e.frames[view].shape[1:3]
            if (height, width) != (size, size):
                cure = f"set env.image_size={width}" if height == width else "crop its pictures"
                raise ValueError(
                    f"episode {e.episode_id}: view {view} is {(height, width)} pixels, expected {size} square: {cure}"
                )
