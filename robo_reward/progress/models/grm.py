"""General reward models: hops answered by a vision-language model, in the released prompt and answer contract.

Source: Robo-Dopamine (arXiv 2512.23703). In place of one sampled string, the expectation over the probabilities of all
answers: continuous, deterministic, and its spread is the confidence. A model that would rather say something else has
no answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from robo_reward.progress.models.grm_prompt import MAX_PIXELS, MIN_PIXELS, image_slots, read_distribution
from robo_reward.progress.models.grm_query import Question, checked_frames, questions_of
from robo_reward.progress.models.grm_sampled import sampled_hops
from robo_reward.progress.models.recent import Recent
from robo_reward.progress.models.vlm_files import Vlm, load_vlm
from robo_reward.progress.models.vlm_questions import Asker
from robo_reward.progress.tracker import confidence_from_std
from robo_reward.types import HopEstimate, HopQuery

DESCRIPTION = "grm.json"
ANSWER_MODES = ("expectation", "enumerated", "sampled")
REMEMBERED = 4096
"""Answers that are kept: a tracker asks how far the goal is from the start at every observation."""
UNKNOWN = 0.5
"""Confidence of a sampled answer, which says nothing of its own."""


@dataclass(frozen=True)
class GrmSettings:
    """Which model is asked, and how; part of its id but for where it runs."""

    source: str
    """Folder, or hub id."""
    revision: str | None = None
    """Commit of a hub id."""
    views: tuple[str, ...] = ("front", "side", "wrist")
    """Cameras: front, left wrist, right wrist; see `grm_prompt.image_slots`."""
    image_size: int | None = None
    """[pixels] of the squares that datasets and videos are scaled to when they are read; None leaves them as they are,
    which is the contract: the question scales them itself, without changing their shape."""
    stages: int = 4
    order: str = "released"
    answer: str = "expectation"
    """expectation: over the tokens that tell answers apart. enumerated: over every token of all 201 answers. sampled:
    one text, as the released code does."""
    answer_mass: float = 0.5
    """Probability of an answer in the right form below which there is none."""
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    batch: int = 8
    device: str = "auto"
    four_bit: bool = False

    def __post_init__(self) -> None:
        image_slots(self.views)
        if self.answer not in ANSWER_MODES:
            raise ValueError(f"reward.answer={self.answer!r}: expected one of {', '.join(ANSWER_MODES)}")


class GrmModel:
    """A `ProcessRewardModel` around a vision-language model. The weights must not change afterwards."""

    kind = "grm"

    def __init__(self, vlm: Vlm, settings: GrmSettings, reuse: bool = True) -> None:
        """reuse: False computes everything anew for every question."""
        self.vlm, self.settings = vlm, settings
        self.asker = Asker(
            vlm, settings.order, settings.answer == "enumerated", settings.batch, reuse,
            min_pixels=settings.min_pixels, max_pixels=settings.max_pixels,
        )  # fmt: skip
        self._known = Recent(REMEMBERED if reuse else 0)
        asked = {k: v for k, v in asdict(settings).items() if k not in ("source", "revision", "batch", "device")}
        sha = hashlib.sha256((vlm.weights + vlm.precision + json.dumps(asked, sort_keys=True)).encode())
        self.model_id = f"grm-{sha.hexdigest()[:12]}"

    def hop(self, query: HopQuery) -> HopEstimate:
        """Answer B pairs; frames of any size and any subset of the model's views, but at least one.

        A picture that shows nothing counts as missing, and a pair without a view that both its frames have has no
        answer. Raises ValueError for no known view, wrong frames, or a question beyond the context.
        """
        if len(query) == 0:
            return HopEstimate(np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, bool))
        rows, pixels = self.questions(query)
        hop, confidence = np.zeros(len(query), np.float32), np.zeros(len(query), np.float32)
        valid = np.zeros(len(query), bool)
        distinct = list(dict.fromkeys(q for row in rows for q in row))
        answers = {q: self._known.get(q) for q in distinct}
        fresh = [q for q in distinct if answers[q] is None]
        for question, answer in zip(fresh, self._answers(fresh, pixels), strict=True):
            answers[question] = answer
            if np.isfinite(answer[0]):
                self._known.put(question, answer, 1)
        for b, row in enumerate(rows):
            said = [answers[q] for q in row if np.isfinite(answers[q][0])]
            if said:
                hop[b], confidence[b] = np.mean(said, axis=0)
                valid[b] = True
        return HopEstimate(hop, confidence, valid)

    def _answers(self, questions: list[Question], pixels: Mapping[bytes, np.ndarray]) -> list[tuple[float, float]]:
        """Hop and confidence of each, NaN for no answer."""
        s = self.settings
        if s.answer == "sampled":
            texts = sampled_hops(self.vlm, questions, pixels, s.order, s.batch)
            return [(np.nan if hop is None else hop, UNKNOWN) for hop in texts]
        read = read_distribution(self.asker.ask(questions, pixels))
        hop = np.where(read.mass_B >= s.answer_mass, read.hop_B, np.nan)
        return list(zip(hop.tolist(), confidence_from_std(read.std_B).tolist(), strict=True))

    def questions(self, query: HopQuery) -> tuple[list[list[Question]], dict[bytes, np.ndarray]]:
        """As `questions_of`, about the views that it looks at."""
        return questions_of(query, checked_frames(query.frames, self.settings.views))

    def save(self, folder: Path) -> None:
        """Write which model is asked and how; the weights stay where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        description = {"kind": self.kind, "weights": self.vlm.weights, "settings": asdict(self.settings)}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> GrmModel:
        """Read what `save` wrote; weights inside the folder may be named relative to it.

        Raises ValueError for a damaged file, weights that changed since, and as `vlm_files.load_vlm`.
        """
        path = folder / DESCRIPTION
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            settings = GrmSettings(**{**found["settings"], "views": tuple(found["settings"]["views"])})
            expected = found["weights"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a description of a reward model ({error}); make it again") from error
        inside = folder / settings.source
        model = load_grm(replace(settings, source=str(inside)) if inside.is_dir() else settings)
        if model.vlm.weights != expected:
            raise ValueError(f"{settings.source}: not the weights that {path} was made with; make it again")
        return model


def load_grm(settings: GrmSettings, reuse: bool = True) -> GrmModel:
    """The model that these settings name. Raises as `vlm_files.load_vlm`."""
    vlm = load_vlm(settings.source, settings.revision, settings.device, settings.four_bit)
    return GrmModel(vlm, settings, reuse)
