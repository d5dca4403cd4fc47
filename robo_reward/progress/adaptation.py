"""One-shot adaptation: a trained reward model learns a new task from one demonstration, and keeps its old ones.

The pairs are those of `pairs.py` within the demonstration: both orders in time (a rewind or a reversed clip holds no
others), nothing moved, from its own start and to its own goal. There is no other demonstration to swap them with.
Against forgetting, old episodes are replayed, or, where there are none, the old tasks' reference pictures.
Source: Robo-Dopamine (arXiv 2512.23703), section 3.2.1; what it fine-tunes is a language model, here it is the whole
compact network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robo_reward.progress.frame_pool import FramePool
from robo_reward.progress.labels import PotentialLabels, label_episode
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet
from robo_reward.progress.pairs import PairSampler
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.training import TrainSettings, batch_loss, optimise
from robo_reward.types import UNKNOWN_STAGE, Episode

Labelled = tuple[Episode, PotentialLabels]


def adapt_reward(
    base: RewardModel,
    demo: Episode,
    settings: TrainSettings,
    out_dir: Path,
    *,
    keyframes: Sequence[int] | None = None,
    replay: Sequence[Labelled] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Fine-tune the base model's weights, save the new model to `out_dir`, return a flat summary.

    Args:
        demo: a success under an instruction that the base model does not know. Its pictures have the base model's
            size; a camera that the base model has not gets a trunk that begins as a copy of the first one.
        settings: its `model` is replaced by the base model's own.
        out_dir: made if need be.
        keyframes: observation indices of the demonstration; without them it counts as one sub-task.
        replay: labelled episodes of the old tasks. A task without a demonstration among them is replayed by its
            reference pictures.
        quiet: no progress bar.

    Raises:
        ValueError: the base model knows the instruction already.
    """
    if demo.instruction in base.references:
        raise ValueError(
            f"instruction {demo.instruction!r} is known to the reward model: set instruction= to words of the new task"
        )
    net, added = grow(base.compact.net, tuple(sorted(demo.frames)))
    settings = replace(settings, model=net.settings)
    label = label_episode(demo, net.settings.stages, keyframes)
    shown = {e.instruction for e, _ in replay if e.success}
    kept = [(e, known) for e, known in replay if e.instruction in shown]
    old = [*kept, *reference_clips(base.references, set(base.references) - shown)]
    materials = _materials((demo, label), old, settings)
    if added:
        materials[0][1].standardise(net, added)
    turns = cycle(materials)

    def next_loss() -> Tensor:
        sampler, pool = next(turns)
        return batch_loss(net, pool, sampler.batch(), settings.stage_weight)

    trained, skipped = optimise(net, next_loss, settings, quiet)
    model = CompactModel(trained)
    references = References({**base.references, **References.from_demonstrations([demo], 1)})
    RewardModel(model, references, base.tracker).save(Path(out_dir))
    summary = {
        "model_id": model.model_id,
        "adapted_from": base.model.model_id,
        "instruction": demo.instruction,
        "views": ",".join(sorted(demo.frames)),
        "new_views": ",".join(added),
        "train_frames": len(demo.frame_steps),
        "replayed_episodes": len(kept),
        "replayed_reference_tasks": len(set(base.references) - shown),
        "steps": settings.steps,
        "skipped_steps": skipped,
        # Without a failure nobody knows the rate of false successes: the old tasks' threshold stays.
        "completion_calibrated": False,
        "completion_threshold": base.tracker.completion.threshold,
    }
    (Path(out_dir) / "reward.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def grow(net: CompactNet, views: Sequence[str]) -> tuple[CompactNet, tuple[str, ...]]:
    """A copy of the network that also has these views, and which of them are new.

    All that belongs to a new view begins as a copy of the first view's.
    """
    old = net.settings.views
    added = tuple(v for v in views if v not in old)
    grown = CompactNet(replace(net.settings, views=(*old, *added)))
    state, width = net.state_dict(), net.settings.view_features
    for name, tensor in net.state_dict().items():
        if name in ("mean_VCHW", "std_V", "no_view"):
            state[name] = torch.cat([tensor, *[tensor[:1]] * len(added)])
        elif name.startswith("join_norm.") or name == "join.weight":
            state[name] = torch.cat([tensor, *[tensor[..., :width]] * len(added)], dim=-1)
        for part in ("trunks", "views_out"):
            if name.startswith(first := f"{part}.{old[0]}."):
                state |= {f"{part}.{view}." + name.removeprefix(first): tensor for view in added}
    grown.load_state_dict(state)
    return grown, added


def reference_clips(references: References, tasks: set[str]) -> list[Labelled]:
    """Every reference of these tasks as a clip of two frames: nothing done, all done."""
    ends = np.array([0, 1], np.float32)
    nothing, label = np.zeros((2, 0), np.float32), PotentialLabels(ends, ends, ends)
    clips = []
    for task in sorted(tasks):
        reference = references[task]
        for k in range(len(reference)):
            frames = {v: np.stack([reference.start[v][k], reference.goal[v][k]]) for v in reference.start}
            clip = Episode(
                f"{task} {k}", task, "human", 0, nothing, nothing, nothing[1:], ends[1:],
                np.full(2, UNKNOWN_STAGE, np.int64), None, True, False, True, np.arange(2), frames,
            )  # fmt: skip
            clips.append((clip, label))
    return clips


def _materials(demo: Labelled, old: Sequence[Labelled], settings: TrainSettings) -> list[tuple[PairSampler, FramePool]]:
    """Half of what is drawn is the demonstration; a batch's episodes have the same cameras.

    The first material holds the demonstration. Old episodes with its cameras are in there too, because only then can
    one serve as the other's wrong instruction.
    """
    groups: dict[frozenset[str], list[Labelled]] = {frozenset(demo[0].frames): []}
    for pair in old:
        groups.setdefault(frozenset(pair[0].frames), []).append(pair)
    beside, *others = groups.values()

    def material(members: Sequence[Labelled], weights: Sequence[float] | None = None) -> tuple[PairSampler, FramePool]:
        episodes, labels = [e for e, _ in members], [known for _, known in members]
        model = settings.model
        sampler = PairSampler(episodes, labels, model.stages, settings.pairs, settings.seed, model.target, weights)
        return sampler, FramePool(episodes, settings)

    first = material([demo, *beside], [max(1, len(beside)), *[1] * len(beside)])
    return [each for other in others for each in (first, material(other))] or [first]
