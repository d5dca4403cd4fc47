"""Episodes as a recording of Rerun (.rrd), to be looked at: pictures, actions, rewards and progress on one timeline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from robo_reward.extras import missing_extra
from robo_reward.types import Episode


def write_rerun(episodes: Iterable[Episode], file: Path, fps: int) -> int:
    """Write one recording; each episode is a branch of its own, named by its id.

    Args:
        episodes: their frames as far as they are stored.
        file: made anew; the folder is there.
        fps: control steps a second.

    Returns:
        How many episodes it holds.

    Raises:
        ValueError: no episodes, or Rerun is not installed.
    """
    try:
        import rerun
    except ImportError as error:
        raise ValueError(missing_extra(error) or f"rerun does not load: {error}") from error
    recording, count = rerun.RecordingStream("robo_reward"), 0
    recording.save(file)
    for episode in episodes:
        count += 1
        root, picture = episode.episode_id, {int(step): n for n, step in enumerate(episode.frame_steps)}
        curves = {
            "agent_pos": episode.agent_pos, "estimate": episode.estimate, "action": episode.action,
            "reward": episode.reward[:, None], "stage": episode.stage[:, None],
            **({} if episode.oracle is None else {"progress_oracle": episode.oracle[:, None]}),
            **({} if episode.intervention is None else {"intervention": episode.intervention[:, None]}),
        }  # fmt: skip
        for step in range(len(episode) + 1):
            recording.set_time("step", sequence=step)
            recording.set_time("time", duration=step / fps)
            for name, rows in curves.items():
                if step < len(rows) and rows.shape[1]:
                    recording.log(f"{root}/{name}", rerun.Scalars(rows[step].astype(np.float64)))
            for view, frames in episode.frames.items() if step in picture else ():
                recording.log(f"{root}/cameras/{view}", rerun.Image(frames[picture[step]]).compress(jpeg_quality=90))
        recording.log(root, rerun.TextDocument(_about(episode)), static=True)
    recording.disconnect()
    if not count:
        raise ValueError(f"no episodes to write to {file}: collect or train first")
    return count


def _about(episode: Episode) -> str:
    outcome = "success" if episode.success else "failure"
    return f"{episode.instruction}: {outcome} after {len(episode)} steps, source {episode.source}"
