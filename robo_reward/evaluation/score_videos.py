"""Videos of a robot at work, scored by a reward model: progress at every frame, a verdict, and a film of both."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.demonstration import Recording, read_recording
from robo_reward.data.disk import replace_file
from robo_reward.data.video import read_video
from robo_reward.evaluation.reward_page import PERSPECTIVES
from robo_reward.evaluation.video import VIEW_HEIGHT, write_episode_video
from robo_reward.progress.annotate import QueryTrack, held, track_id, track_many
from robo_reward.progress.blank import shows_nothing
from robo_reward.progress.columns import columns_of
from robo_reward.progress.completion import SUCCESS
from robo_reward.progress.reward_model import RewardModel
from robo_reward.types import Episode

SCORES, FILM = "scores.csv", "scored.mp4"
FILM_FRAMES = 400
"""Most frames of the film, which is made in memory; longer recordings are shown in larger steps."""


def score_videos(
    videos: Mapping[str, str], reward: RewardModel, instruction: str | None, folder: str | Path
) -> dict[str, Any]:
    """Score one recording, and write scores.csv and scored.mp4 (the views over the progress curve) to the folder.

    Args:
        videos: camera -> file, all of the same moments; any of the cameras that the model was trained with.
        reward: the model; it is asked every `tracker.every` frames and at the last one, and holds in between.
        instruction: what the robot is told; None where the model knows a single task.
        folder: made if need be.

    Returns:
        Numbers and texts for summary.json, among them `final_progress` in [0, 1] and `verdict`: success, partial or
        failure.

    Raises:
        FileNotFoundError, ValueError: a missing or damaged file, files of different lengths or of a single frame, a
            camera or an instruction that the model does not know, or pictures of a single colour throughout.
    """
    folder = Path(folder)
    told = _instruction(instruction, reward)
    recording = _read(videos, reward, told)
    clip, fps = recording.episode, recording.fps
    (track,) = track_many([clip], reward.model, reward.tracker, reward.references)
    answered = np.array([p.answered for p in track.progress])
    if not answered.any():
        raise ValueError(
            f"no frame of {', '.join(f'video.{v}={p}' for v, p in videos.items())} got an answer: the pictures are of "
            "a single colour; give a recording that shows the task"
        )
    columns = columns_of(track, reward.model.settings.stages, reward.tracker.completion)
    last = held(track.steps, len(clip))
    curves = {name: np.array([getattr(p, name) for p in track.progress])[last] for name in PERSPECTIVES}
    verdict = track.verdict(reward.tracker.completion)

    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["frame", "time_s", "progress", "confidence", *PERSPECTIVES, "success", "answered"])
    known_from = track.steps[answered.argmax()]  # before the first answer nothing is known, which is not 0
    for frame in range(len(clip) + 1):
        numbers = (
            frame / fps,
            columns.progress[frame],
            columns.confidence[frame],
            *(c[frame] for c in curves.values()),
        )
        cells = [f"{number:.4f}" if frame >= known_from else "" for number in numbers[1:]]
        mark = int(answered[last[frame]])
        table.writerow([frame, f"{numbers[0]:.4f}", *cells, int(columns.success[frame]), mark])
    replace_file(folder / SCORES, text.getvalue().encode())

    stride = math.ceil((len(clip) + 1) / FILM_FRAMES)
    sizes = {view: _shown_size(size) for view, size in recording.file_sizes.items()}
    shown = {view: read_video(path, stride=stride, size=sizes[view]).frames for view, path in videos.items()}
    write_episode_video(
        folder / FILM, shown, columns.progress[::stride], fps=fps / stride,
        perspectives={name: curve[::stride] for name, curve in curves.items()}, success=verdict == SUCCESS, title=told,
    )  # fmt: skip
    return {
        "final_progress": float(columns.progress[-1]),
        "highest_progress": float(columns.progress.max()),
        "success": verdict == SUCCESS,
        "verdict": verdict,
        "mean_confidence": float(columns.confidence.mean()),
        "frames": len(clip) + 1,
        "answered_share": float(answered.mean()),
        "remarks": "; ".join(_remarks(clip, track)),
        "fps": fps,
        "views": ",".join(videos),
        "instruction": told,
        "reward_model_id": track_id(reward.model, reward.tracker, reward.references),
        "scores": str(folder / SCORES),
        "film": str(folder / FILM),
    }


def _instruction(instruction: str | None, reward: RewardModel) -> str:
    """The instruction, checked against those that the model has references of."""
    known = sorted(reward.references)
    if instruction is None and len(known) == 1:
        return known[0]
    if instruction is None or not instruction.strip():
        what = "not set" if instruction is None else "empty"
        raise ValueError(f"instruction is {what}: set it to one that the reward model knows: {' | '.join(known)}")
    _ = reward.references[instruction]  # raises for an unknown one, before the videos are read
    return instruction


def _read(videos: Mapping[str, str], reward: RewardModel, instruction: str) -> Recording:
    """The recording, after the cameras were checked."""
    known = sorted(set(reward.model.settings.views) & set(reward.references[instruction].start))
    if not videos:
        raise ValueError(f"no videos to score: give video.CAMERA=FILE, with cameras from {', '.join(known)}")
    for view in videos:
        if view not in known:
            raise ValueError(f"video.{view}: the reward model has never seen this camera, it knows {', '.join(known)}")
    return read_recording(videos, reward.model.settings.image_size, instruction)


def _remarks(clip: Episode, track: QueryTrack) -> list[str]:
    """What makes a recording's answers doubtful, or missing, camera by camera."""
    found = []
    for view, pictures in clip.frames.items():
        blank = shows_nothing(pictures[track.steps])
        if blank.any():
            found.append(f"video.{view} shows a single colour in {blank.sum()} of {len(blank)} queried frames")
        elif (pictures == pictures[0]).all():
            found.append(f"video.{view} shows the same picture throughout")
    unanswered = [p.answered for p in track.progress].count(False)
    if unanswered:
        found.append(f"{unanswered} of {len(track.steps)} queries had no answer, and the progress is held there")
    return found


def _shown_size(file_size: tuple[int, int]) -> tuple[int, int]:
    height, width = file_size
    high = min(height, VIEW_HEIGHT)
    return high, max(1, round(high * width / height))
