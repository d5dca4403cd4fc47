"""How often the reward model and a person prefer the same of two clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.preferences import Clip, read_preferences
from robo_reward.data.store import TransitionStore, find_store
from robo_reward.evaluation.statistics import wilson_interval
from robo_reward.progress.scorer import load_scorer


def preference_agreement(store: str | Path, reward: str | Path, preferences: str | Path) -> dict[str, Any]:
    """The model prefers the clip over which the potential rises more (Bradley-Terry's choice, whatever its scale).

    Only pairs count in which the person chose one of the two. The clips of a pair are of one length, so a model that
    counts steps agrees with half of them.

    Args:
        store: a transition store with the clips' episodes and their frames, or the folder of a training stage.
        reward: folder of a trained reward model.
        preferences: file of the console's review page, preferences.jsonl.

    Returns:
        Flat numbers `preference_...`: the pairs that count, the share in which the model agrees with its 95 % Wilson
        interval, and the share in which the simulator's own progress does, over the pairs where it is known; None
        where there is no pair.

    Raises:
        FileNotFoundError, ValueError: no such file, store or model, no word in the file, or a clip that the store does
            not have.
    """
    path = Path(preferences)
    if not path.is_file():
        raise FileNotFoundError(f"preferences={path}: no such file; the console's review page writes preferences.jsonl")
    words = [word for word in read_preferences(path) if word.choice in ("first", "second")]
    if not words:
        raise ValueError(f"preferences={path}: nobody chose one of two clips in it; compare some on the review page")
    scorer, source = load_scorer(reward), TransitionStore(find_store(store))
    tracks: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}

    def gains(clip: Clip) -> tuple[float, float]:
        """Rise of the potential and of the simulator's progress over a clip; nan where that is not known."""
        if clip.episode not in source.index.episodes:
            raise ValueError(f"preferences={path} names episode {clip.episode}, which is not in {store}: correct it")
        if clip.episode not in tracks:
            episode = source.read(clip.episode)
            tracks[clip.episode] = scorer.annotate([episode])[0].phi, episode.oracle
        phi, oracle = tracks[clip.episode]
        if clip.end >= len(phi):
            raise ValueError(f"preferences={path}: {clip.episode} ends at {len(phi) - 1}, its clip at {clip.end}")
        known = np.nan if oracle is None else float(oracle[clip.end] - oracle[clip.begin])
        return float(phi[clip.end] - phi[clip.begin]), known

    told = np.array([[gains(word.first), gains(word.second)] for word in words])
    first = np.array([word.choice == "first" for word in words])
    more = told[:, 0] - told[:, 1]
    agrees = np.where(first[:, None], more > 0, more < 0)  # a draw agrees with nobody
    known = ~np.isnan(more[:, 1])
    low, high = wilson_interval(int(agrees[:, 0].sum()), len(words))
    return {
        "preference_pairs": len(words),
        "preference_agreement": float(agrees[:, 0].mean()),
        "preference_agreement_low": low,
        "preference_agreement_high": high,
        "preference_oracle_agreement": float(agrees[known, 1].mean()) if known.any() else None,
    }
