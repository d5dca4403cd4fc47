"""VLAC's released weights: how much closer a second picture is to the goal, and whether the task is done.

Contract (arXiv 2509.15937, github.com/InternRobotics/VLAC): pictures of 448 x 448; the pair is answered by a signed
percentage of what is left, `35` or `-20`; a single picture by 1 (done) or 0. Both likeliest texts.

Ours: the pair is the reference start and the moment, so that its answer is the moment's progress, below 0 none; the
value is the mean of progress and done. The released code adds up the answers of consecutive pairs. The examples that
it can show before the question are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings
from robo_reward.progress.models.talk import Interview, Talker, Turn, local_talker
from robo_reward.progress.models.vlm_files import load_vlm

SYSTEM = (
    "You are a visual-language assistant designed to interpret spatial and task-related information from images and "
    "text. Provide precise, context-aware responses and actionable guidance to assist in achieving task objectives."
)
PAIR = (
    "\nCompare two images and evaluate whether the second image is closer to achieving task objectives compared to the "
    "first image. + score means the second image is closer, - score means the first image is closer\n"
    "Response the relative progressing of target task follow <score>. The target task is: <task> {task} </task> <score>"
)
DONE = "The 1 means yes, the 0 means no. Check if the robot has completed its task: <task> {task} </task> <done>"
SIDE = 448
"""[px] of its pictures."""
LONGEST = 16
"""Tokens of an answer."""
NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)(?![\d.])")


def pair_turn(clip: Clip) -> Turn:
    """How much closer the moment is than the start."""
    first, second = (_scaled(frame) for frame in clip.frames)
    told = PAIR.replace("{task}", clip.instruction)
    return Turn(("Image-1: ", first, "\nImage-2: ", second, told), SYSTEM)


def done_turn(clip: Clip) -> Turn:
    """Whether the moment shows the task done."""
    return Turn((_scaled(clip.frames[-1]), DONE.replace("{task}", clip.instruction)), SYSTEM)


def parse_score(text: str) -> float | None:
    """The signed share in [-1, 1]."""
    found = NUMBER.match(text)
    return float(found[1]) / 100 if found and abs(float(found[1])) <= 100 else None


def parse_done(text: str) -> float | None:
    """In [0, 1]."""
    found = NUMBER.match(text)
    return float(found[1]) if found and 0 <= float(found[1]) <= 1 else None


def scorer(talkers: Mapping[str, Talker]) -> Scorer:
    """The scorer that asks this model."""
    interview = Interview(talkers[""])

    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        progress = interview.ask([pair_turn(clip) for clip in clips], parse_score, LONGEST)
        done = interview.ask([done_turn(clip) for clip in clips], parse_done, LONGEST)
        told = [
            (0.0 if np.array_equal(*clip.frames) else np.nan if p is None else max(p, 0.0), np.nan if d is None else d)
            for clip, p, d in zip(clips, progress, done, strict=True)
        ]
        return np.array(told).reshape(-1, 2).mean(1)

    return score


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder. Raises as `vlm_files.load_vlm`."""
    vlm = load_vlm(settings.source, settings.revision, settings.device, architectures=None)
    return scorer({"": local_talker(vlm, settings.batch)})


def _scaled(frame: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
