"""GVL: any vision-language model's percentages for frames in random order (arXiv 2411.04549).

The question is that of the paper's appendix A: the scene at the beginning, which is 0 %, and then the frames to judge,
shuffled, so that the order in time does not answer in their place.

Ours: the frames are the two of a pair, because a later frame must not change an earlier value; the paper shows thirty
of a whole episode at once. The order is drawn from the pictures themselves, so that equal questions are equal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float64

from robo_reward.progress.models.sibling import Pair, SiblingSettings
from robo_reward.progress.models.talk import Interview, Talker, Turn, local_talker
from robo_reward.progress.models.vlm_files import load_vlm

INTRODUCTION = """\
You are an expert roboticist tasked to predict task completion percentages for frames of a robot for the task of \
{task}. The task completion percentages are between 0 and 100, where 100 corresponds to full task completion. We \
provide several examples of the robot performing the task at various stages and their corresponding task completion \
percentages. Note that these frames are in random order, so please pay attention to the individual frames when \
reasoning about task completion percentage.
Initial robot scene: """
QUESTION = """
In the initial robot scene, the task completion percentage is 0.
Now, for the task of {task}, output the task completion percentage for the following frames that are presented in \
random order. For each frame, format your response as follow: Frame {i}: Frame Description: {}, Task Completion \
Percentages:{}%
"""
ANSWER = re.compile(
    r"Frame\s+(\d+)\s*[*]*\s*:(?:(?!Frame\s+\d+\s*[*]*\s*:).)*?Task Completion Percentages?\s*[*]*\s*:\s*[*]*\s*"
    r"(\d+(?:\.\d+)?)\s*%",
    re.DOTALL | re.IGNORECASE,
)
LONGEST = 512
"""Tokens of an answer, which describes each frame first."""
UNKNOWN = 0.5
"""Confidence of a text, which says nothing of its own."""


def turn_of(start: np.ndarray, frames: Sequence[np.ndarray], task: str) -> Turn:
    """The question about frames in this order."""
    numbered = [part for n, frame in enumerate(frames, 1) for part in (f"Frame {n}: ", frame, "\n")]
    return Turn((INTRODUCTION.replace("{task}", task), start, QUESTION.replace("{task}", task), *numbered))


def percentages(text: str, count: int) -> tuple[float, ...] | None:
    """The values in [0, 1] that a text gives to frames 1 to `count`; None unless it gives one to each."""
    said = {int(number): float(percent) / 100 for number, percent in ANSWER.findall(text)}
    values = tuple(said.get(n, np.nan) for n in range(1, count + 1))
    return values if all(0 <= value <= 1 for value in values) else None


class Gvl:
    """Values of both moments of a pair, by one question; the reference start's is 0 without one."""

    def __init__(self, talk: Talker) -> None:
        self._interview = Interview(talk)

    def pairs(self, pairs: Sequence[Pair]) -> Float64[np.ndarray, "B 3"]:
        found = np.full((len(pairs), 3), np.nan)
        shown = [_to_judge(pair) for pair in pairs]
        for count in (1, 2):
            rows = [b for b, frames in enumerate(shown) if len(frames) == count]
            turns = [turn_of(pairs[b].start, shown[b], pairs[b].instruction) for b in rows]
            answers = self._interview.ask(turns, partial(percentages, count=count), LONGEST)
            for b, answer in zip(rows, answers, strict=True):
                if answer is not None:
                    found[b] = (*(_value(pairs[b], frame, shown[b], answer) for frame in pairs[b][1:3]), UNKNOWN)
        found[[b for b, frames in enumerate(shown) if not frames]] = (0, 0, UNKNOWN)
        return found


def _to_judge(pair: Pair) -> list[np.ndarray]:
    """The pair's frames that are not the reference start, each once, in an order that their pixels decide."""
    frames = {Turn((f,)).key: f for f in (pair.before, pair.after) if not np.array_equal(f, pair.start)}
    return [frames[key] for key in sorted(frames)]


def _value(pair: Pair, frame: np.ndarray, shown: Sequence[np.ndarray], answer: Sequence[float]) -> float:
    return next((v for f, v in zip(shown, answer, strict=True) if np.array_equal(f, frame)), 0.0)


def scorer(talkers: Mapping[str, Talker]) -> Gvl:
    """The scorer that asks this model."""
    return Gvl(talkers[""])


def load(settings: SiblingSettings) -> Gvl:
    """The scorer in these settings' folder, of any architecture. Raises as `vlm_files.load_vlm`."""
    vlm = load_vlm(settings.source, settings.revision, settings.device, architectures=None)
    return Gvl(local_talker(vlm, settings.batch))
