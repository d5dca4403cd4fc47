"""Large reward models: process, completion and contrastive, three fine-tuned models of one family (arXiv 2603.16065).

Contract (github.com/physical-superintelligence-lab/Large-Reward-Models): process and completion look at one picture and
answer `{ "completion_progress": 0.3 }` and `{ "task_completed": "no" }`; contrastive looks at two and reasons until
`{ "more_complete_image": "ImageB" }`. Likeliest texts; progress that does not apply (`NA`) is 0.

Ours: the value of a moment is the mean of process and completion, and contrastive says how sure that is: 1 where it
agrees with which of both moments is further, 0 where it says the opposite, 0.5 where one of both does not say. The
released code's combination averages all three into a reward that is no potential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from robo_reward.progress.models.sibling import Pair, SiblingSettings, folders
from robo_reward.progress.models.talk import Interview, Talker, Turn, local_talker
from robo_reward.progress.models.vlm_files import load_vlm

SIGNALS = ("progress", "completion", "contrastive")
"""Folders of the release, or, behind a server, what follows the name."""
PROGRESS = (
    "Task: Estimate the completion progress.\nThe task is: {task}\nYou are given:\n- Current observation: ",
    """

Question: Based on the task description, estimate the completion progress as a value between 0.0 and 1.0.
Select one value from the following list:
[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]

Definitions:
- 0.0: Task has just started.
- 0.1 - 0.9: Intermediate progress steps (assess how close to completion).
- 1.0: Task is Finished.
Output your answer in the following JSON format:
{ "completion_progress": selected_value }""",
)
COMPLETION = (
    "Task: Whether the task has been completed.\n\nThe task is: {task}\n\nYou are given:\n- Current observation:",
    "Has the task been completed?\nOutput your answer in the following JSON format:\n"
    '{ "task_completed": "yes" or "no" }',
)
CONTRASTIVE = (
    "Task: Compare the completion progress.\n\nThe task is: {task}.\n\nYou are given:\n- Later observation (Image A): ",
    "\n- Later observation (Image B): ",
    """

Question: Which of Image A or Image B is closer to completing the task?
Select one value from the following list:
["ImageA", "ImageB"]

Please provide a step-by-step visual analysis first, and then output your answer in the following JSON format:
{ "more_complete_image": "selected_value" }""",
)
LONGEST = {"progress": 128, "completion": 128, "contrastive": 512}
"""Tokens of an answer."""
UNKNOWN = 0.5


def turn_of(texts: Sequence[str], pictures: Sequence[np.ndarray], task: str) -> Turn:
    """Pictures between the texts."""
    told = [text.replace("{task}", task) for text in texts]
    return Turn((*(part for both in zip(told, pictures, strict=False) for part in both), told[-1]))


def parse_progress(text: str) -> float | None:
    """In [0, 1]."""
    found = re.findall(r'"completion_progress"\s*:\s*"?(NA|\d+(?:\.\d+)?)\b', text, re.IGNORECASE)
    value = 0.0 if found and found[-1].upper() == "NA" else float(found[-1]) if found else np.nan
    return value if 0 <= value <= 1 else None


def parse_completion(text: str) -> float | None:
    """1 for yes, 0 for no."""
    found = re.findall(r'"task_completed"\s*:\s*"(yes|no)"', text, re.IGNORECASE)
    return float(found[-1].lower() == "yes") if found else None


def parse_contrastive(text: str) -> int | None:
    """1 where the second picture is further, -1 where the first is."""
    found = re.findall(r'"more_complete_image"\s*:\s*"Image([AB])"', text)
    return (1 if found[-1] == "B" else -1) if found else None


class Lrm:
    """Values of both moments, with what the third model says of them."""

    def __init__(self, talkers: Mapping[str, Talker]) -> None:
        self._interview = {signal: Interview(talkers[signal]) for signal in SIGNALS}

    def pairs(self, pairs: Sequence[Pair]) -> Float64[np.ndarray, "B 3"]:
        found = np.full((len(pairs), 3), np.nan)
        for column, frames in enumerate(([p.before for p in pairs], [p.after for p in pairs])):
            told = [
                self._ask(signal, [turn_of(texts, [f], p.instruction) for f, p in zip(frames, pairs, strict=True)])
                for signal, texts in (("progress", PROGRESS), ("completion", COMPLETION))
            ]
            found[:, column] = np.mean(told, axis=0)
        unequal = [b for b, p in enumerate(pairs) if not np.array_equal(p.before, p.after)]
        further = np.full(len(pairs), np.nan)
        turns = [turn_of(CONTRASTIVE, pairs[b][1:3], pairs[b].instruction) for b in unequal]
        further[unequal] = self._ask("contrastive", turns)
        found[:, 2] = [_agreement(after - before, c) for (before, after, _), c in zip(found, further, strict=True)]
        return found

    def _ask(self, signal: str, turns: Sequence[Turn]) -> list[float]:
        answers = self._interview[signal].ask(turns, _PARSE[signal], LONGEST[signal])
        return [np.nan if answer is None else answer for answer in answers]


_PARSE = {"progress": parse_progress, "completion": parse_completion, "contrastive": parse_contrastive}


def _agreement(difference: float, further: float) -> float:
    both = difference * further
    return UNKNOWN if both == 0 or np.isnan(both) else float(both > 0)


def scorer(talkers: Mapping[str, Talker]) -> Lrm:
    """The scorer that asks these three models."""
    return Lrm(talkers)


def load(settings: SiblingSettings) -> Lrm:
    """The scorer in these settings' folder, which has one for each signal. Raises as `vlm_files.load_vlm`."""
    found = dict(zip(SIGNALS, folders(settings), strict=True))
    for folder in found.values():
        if (folder / "adapter_config.json").is_file():
            raise ValueError(
                f"{folder}: adapters without the model that they are for: merge them into it (peft, merge_and_unload), "
                "or serve both and set reward.url="
            )
    vlms = {signal: load_vlm(str(folder), None, settings.device) for signal, folder in found.items()}
    return Lrm({signal: local_talker(vlm, settings.batch) for signal, vlm in vlms.items()})
