"""An operator's outcomes in place of the recorded ones, and a completion threshold set anew on them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robo_reward.progress.completion import SUCCESS, VERDICTS, CompletionTarget, calibrate


def read_outcomes(path: str | Path) -> dict[str, str]:
    """Episode id -> `success`, `partial` or `failure`, from a JSON file {"<episode id>": "<outcome>"}.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no such JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"outcomes={path}: no such file; write {{'EPISODE_ID': 'success'}} into it, as JSON")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"outcomes={path} is no JSON ({error}): correct it") from None
    if not isinstance(found, dict):
        raise ValueError(f"outcomes={path} holds a {type(found).__name__}: expected {{episode id: outcome}}")
    for name, said in found.items():
        if said not in VERDICTS:
            raise ValueError(f"outcomes={path}: episode {name} is {said!r}; allowed: {', '.join(VERDICTS)}")
    return found


def recalibrate(
    reward: str | Path, rows: Sequence[Mapping[str, Any]], target: CompletionTarget, to: str | Path
) -> dict[str, Any]:
    """A copy of a reward model whose completion threshold is set on the rollouts of `recheck_completion`.

    Args:
        reward: folder of the reward model, which stays as it is.
        rows: the rollouts, an operator's outcomes counting; partial is no success.
        target: what the threshold has to keep to.
        to: folder of the copy; it must not be there yet.

    Returns:
        The calibration's flat numbers `completion_...`, and the copy's folder as `reward_model`.

    Raises:
        ValueError: `to` is there already, or one of the outcomes is missing among the rollouts.
    """
    from robo_reward.progress.reward_model import load_reward

    to = Path(to)
    if to.exists():
        raise ValueError(f"to={to} is there already: give a new folder, the old reward model is kept")
    done, failed = ([[row["score"]] for row in rows if (row["outcome"] == SUCCESS) == side] for side in (True, False))
    if not done or not failed:
        raise ValueError(f"{len(done)} successes and {len(failed)} others: a threshold needs rollouts of both kinds")
    trained = load_reward(Path(reward))
    # A score is the highest threshold that the whole rollout would have passed: as good as its sequence of scores.
    found = calibrate(done, failed, trained.tracker.completion.sustain, target)
    summary = found.summary()
    working = to.with_name(to.name + ".partial")
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir(parents=True)
    replace(trained, tracker=replace(trained.tracker, completion=found.rule)).save(working)
    note = {"made_from": str(Path(reward).resolve()), **summary}
    (working / "recalibrated.json").write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    working.rename(to)
    return {**summary, "reward_model": str(to)}
