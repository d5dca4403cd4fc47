"""RoboReward: a grade from 1 to 5 for how far a video's end is from the command (arXiv 2601.00675).

The prompt is that of the released weights (Qwen3-VL, 4B and 8B), which answer `ANSWER: 3`. As in `graded.py`, the value
is the expected grade, from 0 for a 1 to 1 for a 5; the released code takes the likeliest text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings
from robo_reward.progress.models.vlm_files import load_vlm
from robo_reward.progress.models.vlm_video import continuation_log_p, video_turn

GRADES = (1, 2, 3, 4, 5)
FPS = 1.0
PROMPT = """\
Given the task, assign a discrete progress score reward (1,2,3,4,5) for the robot in the video in the format: \
ANSWER: <score>
Rubric for end-of-episode progress (judge only the final state without time limits):
1 - No Success: Final state shows no goal-relevant change for the command.
2 - Minimal Progress: Final state shows a small but insufficient change toward the goal.
3 - Partial Completion: The final state shows good progress toward the goal but violates more than one requirement \
or a major requirement.
4 - Near Completion: Final state is correct in region and intent but misses a single minor requirement.
5 - Perfect Completion: Final state satisfies all requirements.

Task: {task}"""


def answer_text(grade: int) -> str:
    """What the released weights say."""
    return f"ANSWER: {grade}"


def expected_value(log_p: Float64[np.ndarray, "5"]) -> float:
    """The expected grade given that one of them comes, scaled to [0, 1]."""
    p = np.exp(log_p - log_p.max())
    return float((p / p.sum()) @ (np.array(GRADES) - 1) / (len(GRADES) - 1))


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder. Raises as `vlm_files.load_vlm`, and for a tokenizer that cannot answer."""
    vlm = load_vlm(settings.source, settings.revision, settings.device)
    answers = [vlm.processor.tokenizer(answer_text(g), add_special_tokens=False)["input_ids"] for g in GRADES]
    if len({tuple(ids[:-1]) for ids in answers}) > 1 or len({ids[-1] for ids in answers}) < len(GRADES):
        raise ValueError(f"{settings.source}: its tokenizer does not tell grades apart by one token; use another model")

    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        texts = [video_turn(vlm, PROMPT.replace("{task}", clip.instruction)) for clip in clips]
        return np.array([
            expected_value(continuation_log_p(vlm, clip.frames, text, answers, FPS))
            for clip, text in zip(clips, texts, strict=True)
        ])  # fmt: skip

    return score
