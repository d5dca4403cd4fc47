"""A LeRobotDataset annotated by a reward model: a copy with columns that other trainers can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.lerobot import iterate_clips, read_info
from robo_reward.data.lerobot_columns import check_target, copy_with_columns, read_note
from robo_reward.runtime.stages import file_digest
from robo_reward.terminal import progress, say

NAMES = ("progress", "progress_confidence", "progress_stage", "progress_success", "ra_bc_weight")
LEROBOT_PROGRESS = "sarm_progress.parquet"
"""The file in which LeRobot's trainer looks for progress with `use_rabc=true`."""


def annotate_dataset(
    dataset: str | Path,
    to: str | Path,
    reward: str | Path,
    *,
    chunk: int = 8,
    instruction: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Copy the dataset with a column for each of `NAMES`, values between the model's queries held.

    Repeated, it finds the finished copy; interrupted and repeated, it makes it anew.

    Args:
        dataset: folder of a LeRobotDataset v3, of any tool and with any actions; never changed.
        to: folder of the copy.
        reward: folder of a trained reward model; it looks at those of the dataset's views that it knows.
        chunk: rows over which `ra_bc_weight` measures the progress gained.
        instruction: in place of the dataset's own.
        quiet: print nothing.

    Returns:
        Counts and means for summary.json.

    Raises:
        FileNotFoundError, ValueError: no such dataset or model, nothing that the model has seen, an instruction that
            it does not know, a folder that is in the way.
    """
    from robo_reward.progress.annotate import track_id, track_many
    from robo_reward.progress.columns import columns_of
    from robo_reward.progress.completion import VERDICTS
    from robo_reward.progress.reward_aligned import chunk_gain, reward_aligned_weights
    from robo_reward.progress.reward_model import load_reward

    if instruction is not None and not instruction.strip():
        raise ValueError("instruction is empty: leave it out for the dataset's own, or set one that the model knows")
    trained, info = load_reward(Path(reward)), read_info(dataset)
    model, tracker, references = trained.model, trained.tracker, trained.references
    made_from = {
        "dataset": str(info.root.resolve()),
        "info_sha256": file_digest(info.root / "meta" / "info.json"),
        "reward_model_id": track_id(model, tracker, references),
        "chunk": chunk,
        "instruction": instruction,
    }
    if (note := read_note(to)) is not None and note.get("made_from") == made_from:
        say(f"annotated copy: already there, {to}", quiet)
        return dict(note["summary"])
    check_target(info.root.resolve(), Path(to), dict.fromkeys(NAMES))
    views = [view for view in info.views if view in model.settings.views]
    if not views:
        raise ValueError(
            f"dataset {dataset} has the views {', '.join(info.views) or 'none'}, the reward model knows "
            f"{', '.join(model.settings.views)}: rename the dataset's, or train a model on it"
        )
    clips = iterate_clips(info.root, query_every=tracker.every, views=views, size=model.settings.image_size)
    tracks = []
    for clip in progress(clips, info.episodes, "annotate", quiet):
        (track,) = track_many([clip], model, tracker, references, instruction)
        if not any(p.answered for p in track.progress):
            raise ValueError(
                f"dataset {dataset}, {clip.episode_id}: its pictures are of a single colour in all views, there is "
                "nothing to annotate: remove the episode"
            )
        tracks.append(track)
    if not tracks:
        raise ValueError(f"dataset {dataset} has no episodes: record some first")
    found = [columns_of(track, model.settings.stages, tracker.completion) for track in tracks]
    verdicts = [track.verdict(tracker.completion) for track in tracks]
    gains = [chunk_gain(each.progress, chunk) for each in found]
    weights = reward_aligned_weights(gains)
    columns = [
        dict(zip(NAMES, (each.progress, each.confidence, each.stage, each.success, weight), strict=True))
        for each, weight in zip(found, weights, strict=True)
    ]
    lengths, gain, weight = [len(each.progress) for each in found], np.concatenate(gains), np.concatenate(weights)
    summary = {
        "annotated_episodes": len(found),
        "annotated_rows": len(gain),
        "unanswered_queries": sum(not p.answered for track in tracks for p in track.progress),
        **{f"{name}_episodes": verdicts.count(name) for name in VERDICTS},
        "final_progress": float(np.mean([each.progress[-1] for each in found])),
        "chunk_gain_mean": float(gain.mean(dtype=np.float64)),
        "chunk_gain_std": float(gain.std(dtype=np.float64)),
        "ra_bc_weight_mean": float(weight.mean()),
        "ra_bc_weight_zero_share": float((weight == 0).mean()),
        "reward_model_id": made_from["reward_model_id"],
        "dataset": str(to),
    }
    table = {
        "index": np.arange(len(gain)),
        "episode_index": np.repeat(np.arange(len(found)), lengths),
        "frame_index": np.concatenate([np.arange(length) for length in lengths]),
        "progress_sparse": np.concatenate([each.progress for each in found]),
    }
    note = {"made_from": made_from, "summary": summary}
    copy_with_columns(info.root, to, columns, note, {LEROBOT_PROGRESS: table})
    say(f"{len(found)} episodes with {', '.join(NAMES)} in {to}", quiet)
    return summary
