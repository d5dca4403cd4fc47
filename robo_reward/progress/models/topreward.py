"""TOPReward: how probable it is to a video language model that the statement "this completes the task" is true.

The question is that of the published code (github.com/jcoleharrison/TOPReward): the user's turn is left open, and the
reward is log p(True). Theirs is scaled to [0, 1] within each episode, so that episodes cannot be compared; here the
value is p(True) itself, which orders moments as the raw reward does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings
from robo_reward.progress.models.vlm_files import Vlm, load_vlm
from robo_reward.progress.models.vlm_video import continuation_log_p, video_turn

STATEMENT = "The above video shows a robot manipulation trajectory that completes the following task: "
QUESTION = "{task} Decide whether the above statement is True or not. The answer is:"
TRUE = " True"
FPS = 2.0


def prompt(vlm: Vlm, task: str) -> str:
    """The text up to the answer, in a turn that is not closed."""
    turn = video_turn(vlm, STATEMENT, answering=False)
    return turn.rpartition(vlm.processor.tokenizer.eos_token)[0] + QUESTION.replace("{task}", task)


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder. Raises as `vlm_files.load_vlm`."""
    vlm = load_vlm(settings.source, settings.revision, settings.device)
    true = vlm.processor.tokenizer(TRUE, add_special_tokens=False)["input_ids"]

    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        return np.array([
            np.exp(continuation_log_p(vlm, clip.frames, prompt(vlm, clip.instruction), [true], FPS)[0])
            for clip in clips
        ])  # fmt: skip

    return score
