"""`train-reward reward=grm` fine-tunes a vision-language model on labelled pairs; `export format=grm` writes them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.config import Config
from robo_reward.data.demonstration import demonstration_files, read_demonstration
from robo_reward.progress.grm_examples import GrmBatch, PairExamples, one_shot, pair_settings
from robo_reward.progress.grm_format import ANNOTATION, FileExamples, read_grm, write_grm
from robo_reward.progress.labels import label_episode
from robo_reward.progress.ranks import own_device, rank, ranks
from robo_reward.runtime.checkpoint import Checkpoint
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.kept import is_kept, kept_stage
from robo_reward.runtime.labelling import find_keyframes, known_stages, label_key
from robo_reward.runtime.stages import PARTIAL, StageResult, file_digest
from robo_reward.runtime.steps import check_reward
from robo_reward.runtime.tasks import task_of
from robo_reward.runtime.worlds import world_key
from robo_reward.terminal import progress, say

MODEL, START, CHECKPOINTS = "model", "start", "checkpoints"
TRAINED_ON = ("demos", "weak")
STANDARDISED = 400
"""Pictures a camera that a small model begins with."""


@dataclass
class Counters:
    """How far the fine-tuning has come."""

    step: int = 0
    skipped: int = 0
    """Steps whose loss was not finite."""
    losses: list[float] = field(default_factory=list)
    """Of every step that was taken."""


def is_grm_data(dataset: str | None) -> bool:
    """Whether this is training data in the released format and not a dataset of episodes."""
    if dataset is None:
        return False
    path = Path(dataset)
    return (path / ANNOTATION).is_file() or path.suffix in (".json", ".jsonl")


def tune_stage(config: Config, data: StageResult | None) -> StageResult | None:
    """The fine-tuned model, as a folder `model` that reward.model= takes; None in all processes but the first.

    data: the episodes; None with training data in the released format (`dataset=`) or one demonstration (`demo=`).
    """
    tune, r = config.tune, config.reward
    key: dict[str, Any] = {
        "tune": tune, "seed": r.seed, "swap": r.swap_references, "failures": r.failures,
        "views": r.views or config.env.cameras, "every": config.collect.query_every, "instruction": config.instruction,
    }  # fmt: skip
    if not tune.from_scratch:
        key["weights"] = check_reward(config)
    if config.demo is not None:
        key["demo"] = [[p.name, file_digest(p)] for p in demonstration_files(config.demo) if p.is_file()]
    elif data is None:
        path = Path(config.dataset or "")
        key["dataset"] = file_digest(path / ANNOTATION if path.is_dir() else path)
    else:
        key |= {**label_key(config), "env": world_key(config)}
    inputs = [data] if data else []
    if rank():
        folder, finished = is_kept(config, "tune-reward", key, inputs)
        if not finished:
            _tune(config, data, folder.with_name(folder.name + PARTIAL))
        return None
    return kept_stage(config, "tune-reward", key, inputs, lambda folder: _tune(config, data, folder), resumable=True)


def check_ranks(config: Config) -> None:
    """Raises ValueError for what several processes cannot share."""
    if ranks() > 1 and config.tune.from_scratch:
        raise ValueError("tune.from_scratch=true trains in one process: start it without accelerate launch")
    if config.tune.batch % ranks():
        raise ValueError(
            f"tune.batch={config.tune.batch} cannot be shared evenly by {ranks()} processes: set a multiple of that"
        )


def _tune(config: Config, data: StageResult | None, folder: Path) -> dict[str, Any]:
    import torch

    from robo_reward.progress.grm_tuning import Tuning, hop_errors
    from robo_reward.progress.models.vlm_files import load_vlm

    tune, r = config.tune, config.reward
    torch.set_num_threads(1)  # one thread gives the same sums everywhere; a GPU does not mind
    own_device()
    source = _examples(config, data, tune.batch)
    if tune.from_scratch:
        _start_small(config, source, folder / START)
    began = (str(folder / START), None) if tune.from_scratch else (r.model or "", r.revision)
    vlm = load_vlm(*began)
    tuning, counters = Tuning(vlm, _tune_settings(config)), Counters()
    checkpoint = Checkpoint(folder / CHECKPOINTS, quiet=config.quiet)
    checkpoint.tuning, checkpoint.counters, checkpoint.rng = tuning, counters, source.rng
    checkpoint.load()
    for step in progress(range(counters.step, tune.steps), description="train-reward", quiet=config.quiet):
        loss = tuning.step(step, source.batch())
        if loss is None:
            counters.skipped += 1
        else:
            counters.losses.append(round(loss, 4))
        counters.step = step + 1
        if counters.step % tune.save_every == 0 and counters.step < tune.steps:
            if rank():
                tuning.state_dict()  # its part of what the first process writes
                continue
            checkpoint.save()
            say(f"step {counters.step}: loss {np.mean(counters.losses[-tune.save_every :]):.3f}", config.quiet)
    if counters.skipped > tune.steps // 10:
        raise ValueError(
            f"{counters.skipped} of {tune.steps} training steps had a non-finite loss; lower "
            f"tune.learning_rate={tune.learning_rate:g}"
        )
    tuned = tuning.export(folder / MODEL, lambda: load_vlm(*began, device="cpu"))
    if tuned is None:
        return {}
    errors: dict[str, float] = {}
    if data is not None and tune.held_out and data.summary.get("validation_success", 0.0) > 0:
        measured = tuned if ranks() == 1 else load_vlm(str(folder / MODEL))  # which was put together off the GPU
        errors = hop_errors(measured, [questions_about(config, data, tune.held_out, "validation")], r.batch)
    for rest in (CHECKPOINTS, START):
        shutil.rmtree(folder / rest, ignore_errors=True)
    tenth = max(1, len(counters.losses) // 10)
    return {
        "steps": tune.steps,
        "questions": tune.steps * tune.batch,
        "parameters": sum(p.numel() for p in tuned.model.parameters()),
        "skipped_steps": counters.skipped,
        "loss_first": round(float(np.mean(counters.losses[:tenth])), 4),
        "loss_last": round(float(np.mean(counters.losses[-tenth:])), 4),
        "losses": counters.losses,
        **{f"held_out_{name}": round(value, 4) for name, value in errors.items()},
    }


def _tune_settings(config: Config) -> Any:
    from robo_reward.progress.grm_tuning import TuneSettings

    t = config.tune
    return TuneSettings(
        config.reward.seed, t.steps, t.at_once, t.learning_rate, t.vision_learning_rate, t.warm_up, t.weight_decay,
        lora_rank=0 if t.from_scratch else t.lora, lora_alpha=t.lora_alpha, hop_weight=t.hop_weight,
    )  # fmt: skip


def _start_small(config: Config, source: PairExamples | FileExamples, folder: Path) -> None:
    """The model to start from, the same every time; it begins with what varies in the training pictures."""
    from robo_reward.progress.grm_tuning import Answering
    from robo_reward.progress.models.small_vlm import build_small_vlm, standardise
    from robo_reward.progress.models.vlm_files import load_vlm

    if not isinstance(source, PairExamples):
        raise ValueError("tune.from_scratch=true learns from episodes: leave dataset= out, or give a LeRobotDataset")
    build_small_vlm(folder, source.sampler.instructions, seed=config.reward.seed)
    vlm = load_vlm(str(folder), device="cpu")
    Answering(vlm)  # sets the size of pictures
    standardise(vlm, source.some(STANDARDISED, np.random.default_rng(config.reward.seed)))
    vlm.model.save_pretrained(folder)


def _examples(
    config: Config, data: StageResult | None, count: int, splits: tuple[str, ...] = TRAINED_ON, as_is: bool = False
) -> PairExamples | FileExamples:
    """What draws the questions; as_is: from pictures as they were taken."""
    if config.demo is None and data is None:
        return FileExamples(read_grm(config.dataset or ""), count, config.reward.seed)
    stages, r = len(task_of(config.env).stages), config.reward
    settings = pair_settings(count, r.swap_references)
    views = r.views or config.env.cameras
    if config.demo is not None:
        every = config.collect.query_every
        episode, keyframes = read_demonstration(config.demo, None, config.instruction, every=every)
        stages = 1 if keyframes is None else len(keyframes) - 1
        seen = tuple(v for v in views if v in episode.frames) or tuple(episode.frames)
        label = label_episode(episode, stages, keyframes)
        return PairExamples([episode], [label], stages, one_shot(settings), r.seed, seen)
    assert data is not None
    found = [e for split in splits for e in read_split(data.path, split, config.collect.query_every, r.views)]
    episodes = [known_stages(config, e) for e in found if e.success or r.failures or splits != TRAINED_ON]
    given = find_keyframes(config, data.path)
    labels = [label_episode(e, stages, given.get(e.episode_id)) for e in episodes]
    if as_is:
        return PairExamples(episodes, labels, stages, settings, r.seed, views, shift=0, brightness=0.0)
    return PairExamples(episodes, labels, stages, settings, r.seed, views)


def questions_about(config: Config, data: StageResult, count: int, split: str) -> GrmBatch:
    """So many questions about a split's episodes, from pictures as they were taken; always the same ones.

    Raises ValueError for a split without a success, whose first and last frame are the references.
    """
    return _examples(config, data, count, (split,), as_is=True).batch()


def export_questions(config: Config, data: StageResult) -> int:
    """Write `tune.questions` questions about the training episodes to `to=`, in the released format; how many."""
    per_batch = min(64, config.tune.questions)
    source = _examples(config, data, per_batch, as_is=True)
    assert isinstance(source, PairExamples)

    def batches() -> Iterator[tuple[GrmBatch, Any]]:
        for _ in progress(range(-(-config.tune.questions // per_batch)), description="export", quiet=config.quiet):
            yield source.draw()

    return write_grm(Path(config.to or ""), batches())
