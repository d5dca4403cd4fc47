"""The question of Robo-Dopamine's general reward models, and how their answers are read.

Eight images in one user turn: reference start and reference goal (front camera), then the three slots front, left wrist
and right wrist before, then after. The answer is one line, `<score>+NN%</score>`, a whole percentage in [-100, 100].
The wording is that of the released weights (Robo-Dopamine, arXiv 2512.23703, figure 8; Apache-2.0), which know no
other. Pure functions: the remote client asks the same question.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

IMAGES, REFERENCE_IMAGES, SLOTS = 8, 2, 3
MIN_PIXELS, MAX_PIXELS = 12544, 76800
"""Area that images are resized to lie in, as in the released decoding."""
TEMPERATURE, TOP_P, TOP_K, MAX_NEW_TOKENS = 0.1, 0.9, 50, 32
"""Of sampled answers, as in the released decoding (whose limit is 1,024 tokens; an answer has 5 to 12)."""
ORDERS = ("released", "rules_first")
"""released: instruction and references, before, after, then the long rules; what released weights were trained on.
rules_first: the same sentences with the rules in front of all images, so that they belong to what questions share."""

INTRO = (
    "\nYou are a rigorous, impartial vision evaluator for robot task progress. Your job is to judge whether the AFTER "
    "image set moves closer to the task objective than the BEFORE image set, using the provided reference examples "
    "only as anchors.\n\n"
)
TASK = (
    "<Task>\n`{task}`\n\n"
    "REFERENCE EXAMPLES (for visual anchoring only; not necessarily this run's actual START/END):\n"
    "- REFERENCE START — Robot Front Image (task just starting): "
)
BETWEEN = (
    "\n- REFERENCE END — Robot Front Image (task fully completed): ",
    "\n</Task>\n\nBEFORE Robot Front Image: ",
    "\nBEFORE Robot Left Wrist Image: ",
    "\nBEFORE Robot Right Wrist Image: ",
    "\n\nAFTER Robot Front Image: ",
    "\nAFTER Robot Left Wrist Image: ",
    "\nAFTER Robot Right Wrist Image: ",
)
RULES = """Goal
Compare the BEFORE and AFTER three-view sets and judge whether AFTER moves closer to accomplishing the task than \
BEFORE, using the REFERENCE START/END images as conceptual anchors.

Progress Estimation (no formulas)
1) Calibrate using the references:
   - REFERENCE START = “just beginning”; REFERENCE END = “fully completed.”
   - Visually estimate how far BEFORE and AFTER are along this START→END continuum.
2) Direction:
   - AFTER better than BEFORE → positive score.
   - AFTER worse than BEFORE → negative score.
   - Essentially the same → 0.
3) Normalize to an integer percentage in [-100%, +100%]:
   - For improvements, scale the improvement relative to what remained from BEFORE to END.
   - For regressions, scale the deterioration relative to how far BEFORE had progressed from START.
   - Clip to [-100%, +100%] and round to the nearest integer percent.

Evaluation Criteria (apply across all three views)
1) Task Alignment: Evidence directly tied to `{task}`.
2) Completeness & Accuracy: Correct pose, contact, placement, orientation, grasp quality, absence of collisions, \
stability, etc.
3) View-Specific Evidence & Consistency:
   - Use the **Front** view for global layout, object pose, approach path, end-state geometry, and scene-level \
constraints.
   - Use the **Left/Right Wrist** views to inspect **fine-grained gripper state** (finger closure, contact \
location/area, slippage, wedge/misalignment, object deformation, cable/wire/cloth entanglement, unintended contact, \
occluded collisions).
   - When views disagree, prioritize the view that provides **decisive cues** for the criterion at hand. In \
particular, wrist views often **override** for grasp/contact validity and safety.
   - If any single view shows a failure that invalidates success (e.g., mis-grasp, collision, unsafe/unstable pose), \
let that override when judging progress.
4) Ignore Irrelevant Factors: Lighting, color shifts, background clutter, or UI/watermarks that don't affect task \
success.
5) Ambiguity: If evidence is genuinely inconclusive or conflicting without decisive cues, treat progress as unchanged \
→ 0%.

Output Format (STRICT)
Return ONLY one line containing the score wrapped in <score> tags, as an integer percentage with a percent sign:
<score>+NN%</score>  or  <score>-NN%</score>  or  <score>0%</score>
"""


def prompt_texts(instruction: str, order: str = "released") -> tuple[str, ...]:
    """The nine texts around the eight images, in order: text, image, text, ..., image, text.

    Args:
        instruction: what the robot is told, put into the question as it is.
        order: one of `ORDERS`.

    Raises:
        ValueError: an empty instruction, or an unknown order.
    """
    if not instruction.strip():
        raise ValueError("instruction is empty: tell the reward model what the robot is to do")
    if order not in ORDERS:
        raise ValueError(f"order={order!r}: expected one of {', '.join(ORDERS)}")
    task, rules = TASK.replace("{task}", instruction), RULES.replace("{task}", instruction)
    if order == "released":
        return (INTRO + task, *BETWEEN, "\n\n" + rules)
    return (INTRO + rules + "\n" + task, *BETWEEN, "\n")


def messages(texts: Sequence[str], images: Sequence[Any] | None = None) -> list[dict[str, Any]]:
    """The one user turn as chat templates take it.

    Args:
        texts: of `prompt_texts`.
        images: eight content parts such as `{"type": "image_url", ...}`; by default `{"type": "image"}`, a place.
    """
    parts = list(images) if images is not None else [{"type": "image"} for _ in range(IMAGES)]
    if len(parts) != len(texts) - 1:
        raise ValueError(f"{len(parts)} images for {len(texts)} texts: expected {len(texts) - 1}, see image_slots")
    content: list[dict[str, Any]] = []
    for text, image in zip(texts[:-1], parts, strict=True):
        content += [{"type": "text", "text": text}, image]
    return [{"role": "user", "content": [*content, {"type": "text", "text": texts[-1]}]}]


def image_slots(views: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    """Which cameras stand in the slots (front, left wrist, right wrist): one question for each triple.

    A single camera fills all slots, the second of two fills both wrist slots. Beyond three, further questions show
    the first camera with the next two. Raises ValueError without a camera.
    """
    if not views:
        raise ValueError("0 views: the reward model needs the frames of at least one camera")
    front, others = views[0], list(views[1:]) or [views[0]]
    pairs = [others[i : i + 2] for i in range(0, len(others), 2)]
    return tuple((front, pair[0], pair[-1]) for pair in pairs)


def answer_text(percent: int) -> str:
    """The strict answer for a whole percentage in [-100, 100]: +7 is `<score>+7%</score>`, 0 has no sign."""
    if not -100 <= percent <= 100:
        raise ValueError(f"{percent} %: answers lie in [-100, 100] percent")
    return f"<score>{percent:+d}%</score>" if percent else "<score>0%</score>"


ANSWERS = tuple(range(-100, 101))
"""All percentages that can be answered."""
ANSWER = re.compile(r"<score>\s*([+-]?\d+(?:\.\d+)?)\s*%?\s*</score>")


def parse_answer(text: str) -> float | None:
    """The hop in [-1, 1] that a text answers, its last score if there are several; None if it holds none.

    Values beyond 100 % count as 100 %, as in the released decoding. What does not parse is no answer, never 0.
    """
    found = ANSWER.findall(text)
    return max(-1.0, min(1.0, float(found[-1]) / 100)) if found else None


@dataclass(frozen=True)
class Reading:
    """What B distributions over answers say; not a number where a probability was none."""

    hop_B: Float64[np.ndarray, "B"]
    """Expected hop in [-1, 1]."""
    std_B: Float64[np.ndarray, "B"]
    """Its standard deviation, in [0, 1]."""
    mass_B: Float64[np.ndarray, "B"]
    """Probability, in [0, 1], that the answer is one of these at all."""


def read_distribution(log_p_BA: Float[np.ndarray, "B A"], percent_A: Sequence[int] | np.ndarray = ANSWERS) -> Reading:
    """Expectation and spread over the answers, given that one of them comes.

    Args:
        log_p_BA: log-probability of each answer; they need not add up to 1, and -inf is an answer that never comes.
        percent_A: what each answer says, in [-100, 100].
    """
    log_p = np.asarray(log_p_BA, np.float64)
    value = np.asarray(percent_A, np.float64) / 100
    with np.errstate(invalid="ignore"):
        top = log_p.max(1, keepdims=True)  # NaN if any is; -inf - -inf, no answer at all, is NaN too
        p = np.exp(log_p - top)
        total = p.sum(1)
        hop = p @ value / total
        std = np.sqrt(np.maximum((p * (value - hop[:, None]) ** 2).sum(1) / total, 0))
        mass = np.exp(top[:, 0]) * total
    return Reading(hop, std, mass)
