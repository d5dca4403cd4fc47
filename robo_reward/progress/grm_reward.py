"""A vision-language model made ready for a task: references from demonstrations, completion from held-out episodes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.interfaces import ProcessRewardModel
from robo_reward.progress.annotate import track_many
from robo_reward.progress.calibration import calibrate_completion
from robo_reward.progress.models.grm import GrmSettings, load_grm
from robo_reward.progress.models.sibling import SiblingSettings, load_sibling
from robo_reward.progress.references import References
from robo_reward.progress.reward_model import RewardModel
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.progress.training import TrainSettings
from robo_reward.types import Episode

REFERENCES = 1
"""Demonstrations of a task that are shown: a question has places for one."""


def prepare_grm(
    asked: GrmSettings | SiblingSettings,
    episodes: Sequence[Episode],
    settings: TrainSettings,
    out_dir: Path,
    validation: Sequence[Episode],
) -> dict[str, Any]:
    """Choose references and the completion threshold, save both with the model's name, return a flat summary.

    Nothing is trained. Raises ValueError for a model that cannot be loaded or gives no answer about a demonstration,
    and for episodes without a successful demonstration.
    """
    model = load_grm(asked) if isinstance(asked, GrmSettings) else load_sibling(asked)
    references = References.from_demonstrations(episodes, REFERENCES)
    check_answers(model, references, settings.tracker, next(e for e in episodes if e.success))
    tracker, completion = calibrate_completion(model, references, settings.tracker, validation, settings.completion)
    RewardModel(model, references, tracker).save(Path(out_dir))
    summary = {
        "model_id": model.model_id,
        "train_episodes": 0,
        "train_frames": 0,
        "steps": 0,
        "validation_episodes": len(validation),
        **completion,
    }
    (Path(out_dir) / "reward.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def check_answers(
    model: ProcessRewardModel, references: References, tracker: TrackerSettings, demonstration: Episode
) -> None:
    """Raises ValueError if a model has no answer to any question about this demonstration."""
    (track,) = track_many([demonstration], model, tracker, references)
    if not np.any([p.answered for p in track.progress]):
        raise ValueError(
            f"reward model {model.model_id}: no answer about demonstration {demonstration.episode_id}; it does not say "
            "what models of this kind say (reward=grm: <score>+NN%</score>, see robo-reward doctor reward=grm), or its "
            "numbers are not finite: is it one of this kind?"
        )
