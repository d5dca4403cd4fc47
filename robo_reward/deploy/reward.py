"""The trained reward model on the robot's computer: numpy and onnxruntime, no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robo_reward.deploy.sessions import open_session, read_description
from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.references import References
from robo_reward.progress.tracker import TrackerSettings, confidence_from_std
from robo_reward.types import HopEstimate, HopQuery

DESCRIPTION, ENCODER, HEAD, REFERENCES = "reward_model.json", "encoder.onnx", "head.onnx", "references.npz"


class ExportedRewardModel:
    """Answers hop queries from an exported folder; implements `robo_reward.interfaces.ProcessRewardModel`.

    `references` and `tracker` are what a `ProgressTracker` takes. Errors as of `ExportedPolicy`.
    """

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        found = read_description(folder, DESCRIPTION)
        self.views: list[str] = found["views"]
        self.image_size: int = found["image_size"]
        self.words = {name: np.array(ids, np.int64) for name, ids in found["words"].items()}
        self.model_id = found["model_id"]
        self.references = References.load(folder / REFERENCES)
        self.tracker = TrackerSettings(
            **{**found["tracker"], "completion": CompletionRule(**found["tracker"]["completion"])}
        )
        self._encoder = open_session(folder / ENCODER, found["encoder_sha256"])
        self._head = open_session(folder / HEAD, found["head_sha256"])

    def hop(self, query: HopQuery) -> HopEstimate:
        """Answer B pairs. Frames: any non-empty subset of the model's views, uint8, `image_size` square.

        Raises ValueError for other frames and for instructions it was not trained on.
        """
        if len(query) == 0:
            empty = np.zeros(0, np.float32)
            return HopEstimate(empty, empty, np.zeros(0, bool))
        rows = np.stack([query.before_B, query.after_B, query.reference_start_B, query.reference_goal_B])
        mean, std = np.empty(len(query), np.float32), np.empty(len(query), np.float32)
        told = np.array(query.instruction_B)
        for instruction in sorted(set(query.instruction_B)):
            mine = told == instruction
            used, places = np.unique(rows[:, mine], return_inverse=True)
            places = places.reshape(4, -1)
            if used[0] == -1:
                used, places = used[1:], places - 1
            z = self._embed({view: frames[used] for view, frames in query.frames.items()}, instruction)
            mean[mine], std[mine] = self._head.run(["hop", "spread"], {"z": z, "pairs": places.T.astype(np.int64)})
        valid = np.isfinite(mean) & np.isfinite(std)
        hop = np.where(valid, np.clip(mean, -1, 1), 0).astype(np.float32)
        return HopEstimate(hop, np.where(valid, confidence_from_std(std), 0).astype(np.float32), valid)

    def _embed(self, frames: dict[str, np.ndarray], instruction: str) -> np.ndarray:
        """(F, features), not a number where no camera shows anything."""
        known = {view: f for view, f in frames.items() if view in self.views}
        if not known:
            raise ValueError(f"cameras {sorted(frames)}: the reward model knows {sorted(self.views)}")
        if instruction not in self.words:
            raise ValueError(f"instruction {instruction!r}: the exported reward model knows {sorted(self.words)}")
        count, size = len(next(iter(known.values()))), self.image_size
        for view, f in known.items():
            if f.dtype != np.uint8 or f.shape[1:] != (size, size, 3):
                raise ValueError(f"view {view}: frames {f.shape} {f.dtype}, expected (N, {size}, {size}, 3) uint8")
        shown = np.zeros((count, len(self.views)), bool)
        feed: dict[str, np.ndarray] = {"words": np.tile(self.words[instruction], (count, 1))}
        for i, view in enumerate(self.views):
            feed[view] = np.zeros((count, size, size, 3), np.uint8) if view not in known else known[view]
            shown[:, i] = view in known and ~shows_nothing(feed[view])
        z: np.ndarray = self._encoder.run(["z"], {**feed, "shown": shown})[0]
        z[~shown.any(1)] = np.nan
        return z
