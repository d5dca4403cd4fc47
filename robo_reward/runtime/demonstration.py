"""`train-reward demo=`: a reward model from one demonstration, alone or adapted from another with `adapt_from=`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from robo_reward.config import Config
from robo_reward.data.demonstration import demonstration_files, read_demonstration
from robo_reward.data.split import iterate_split
from robo_reward.progress.labels import PotentialLabels
from robo_reward.runtime import steps
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.stages import MARKER, StageResult, file_digest
from robo_reward.types import Episode


def demo_stage(config: Config) -> StageResult:
    """The reward model of `demo=`: that of `adapt_from=` adapted to it, or a new one from it alone."""
    from robo_reward.progress.reward_model import load_reward, reward_folder

    demo, base = config.demo or "", None
    key: dict[str, Any] = {"reward": config.reward}
    if config.adapt_from is None:
        key |= {"every": config.collect.query_every, "size": config.env.image_size, "completion": config.completion}
    else:
        base = reward_folder(config.adapt_from)
        trained = load_reward(base)
        tracked = [asdict(trained.tracker), trained.references.digest()]
        key |= {"adapt": config.adapt, "base": [trained.model.model_id, *tracked]}
    files = [[path.name, file_digest(path)] for path in demonstration_files(demo) if path.is_file()]
    key |= {"demo": Path(demo).name, "files": files, "instruction": config.instruction}
    return kept_stage(config, "train-reward", key, [], lambda folder: _learn_demo(config, base, folder))


def _learn_demo(config: Config, base: Path | None, folder: Path) -> dict[str, Any]:
    from robo_reward.progress.adaptation import adapt_reward
    from robo_reward.progress.reward_model import load_reward
    from robo_reward.progress.training import train_reward

    demo, every = config.demo or "", config.collect.query_every
    if base is None:
        episode, keyframes = read_demonstration(demo, config.env.image_size, config.instruction, every=every)
        stages = 1 if keyframes is None else len(keyframes) - 1
        settings = steps.reward_settings(config, stages)
        settings = replace(settings, model=replace(settings.model, views=tuple(sorted(episode.frames))))
        table = {} if keyframes is None else {episode.episode_id: keyframes}
        return train_reward([episode], settings, folder, config.quiet, [], table)
    reward, a = load_reward(base), config.adapt
    size, every = reward.model.settings.image_size, reward.tracker.every
    episode, keyframes = read_demonstration(demo, size, config.instruction, every=every)
    settings = replace(steps.reward_settings(config, 1), steps=a.steps, learning_rate=a.learning_rate)
    replay = _replay(base, every, reward.model.settings.views, a.replay)
    return adapt_reward(reward, episode, settings, folder, keyframes=keyframes, replay=replay, quiet=config.quiet)


def _replay(model: Path, every: int, views: tuple[str, ...], count: int) -> list[tuple[Episode, PotentialLabels]]:
    """Episodes that a reward model's stage was trained on, first ones of each split, where its dataset is still there.

    Their labels are those that it was taught.
    """
    from robo_reward.progress.training import load_labels

    labels = load_labels(model)
    try:
        inputs = json.loads((model / MARKER).read_text(encoding="utf-8"))["inputs"]
    except (OSError, ValueError, KeyError):
        return []
    data = [model.parent / f"{name}-{digest[:12]}" for name, digest in inputs]
    splits = [d / split for d in data for split in ("demos", "weak") if (d / split).exists()]
    found = []
    for number, split in enumerate(splits):
        wanted = (count + 1 - number) // 2 if len(splits) > 1 else count
        for episode in islice(iterate_split(split, query_every=every, views=views), wanted):
            if episode.episode_id in labels:
                found.append((episode, labels[episode.episode_id]))
    return found
