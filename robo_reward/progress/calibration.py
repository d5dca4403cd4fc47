"""The completion threshold of a tracked reward model, chosen on held-out outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from robo_reward.interfaces import ProcessRewardModel
from robo_reward.progress.annotate import track_many
from robo_reward.progress.completion import CompletionTarget, calibrate
from robo_reward.progress.references import References
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.types import Episode


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
