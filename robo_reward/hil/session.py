"""What a session with an operator has to show: success, cycle time, how often and how long a person drove."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robo_reward.types import Episode


def summarise_session(episodes: Iterable[Episode], fps: int, reach: float, last: int = 20) -> dict[str, float | None]:
    """Figures of the episodes that an operator attended, flat; None where there is nothing to count.

    Args:
        episodes: in their order, with `intervention`.
        fps: steps a second.
        reach: of the residual, in action units: a correction is out of reach where it differs more from the base.
        last: episodes at the end that `hil_intervention_rate_last` counts.
    """
    rates, successes, seconds, driven, beyond = [], [], [], 0, 0
    for episode in episodes:
        if episode.intervention is None:
            continue
        mask = episode.intervention
        rates.append(float(mask.mean()))
        successes.append(episode.success)
        if episode.success:
            seconds.append(len(episode) / fps)
        driven += int(mask.sum())
        if episode.base_action is not None:
            away = np.abs(episode.action - episode.base_action[: len(episode)])[mask]
            beyond += int((away > reach + 1e-6).any(axis=1).sum())
    return {
        "hil_episodes": len(rates),
        "hil_success": _mean(successes),
        "hil_cycle_s": _mean(seconds),
        "hil_corrected_share": _mean([rate > 0 for rate in rates]),
        "hil_intervention_rate": _mean(rates),
        "hil_intervention_rate_last": _mean(rates[-last:]),
        "hil_operator_minutes": driven / fps / 60,
        "hil_out_of_reach_share": beyond / driven if driven else None,
    }


def _mean(values: list[float] | list[bool]) -> float | None:
    return float(np.mean(values)) if values else None
