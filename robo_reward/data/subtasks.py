"""Sub-task columns of LeRobotDatasets: where an annotator's label changes from one row to the next.

LeRobot keeps a row's label as `subtask_index`, its name in meta/subtasks.parquet; a column `subtask` of names is taken
too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from robo_reward.data.lerobot_schema import read_info

COLUMNS = ("subtask_index", "subtask")


def read_subtasks(root: str | Path) -> dict[str, Int64[np.ndarray, "N+1"]] | None:
    """Keyframes of every episode: its first row, every row on which a new sub-task begins, its last row.

    Returns episode id -> rows, increasing, in the dataset's order; None where the dataset has no such column.
    Raises FileNotFoundError or ValueError as `read_info` does, and ValueError for a damaged file.
    """
    info = read_info(root)
    column = next((name for name in COLUMNS if name in info.features), None)
    if column is None:
        return None
    import pyarrow
    import pyarrow.parquet as pq

    names = ["episode_index", column, *(["episode_id"] if "episode_id" in info.features else [])]
    found: dict[int, tuple[str, Int64[np.ndarray, "N+1"]]] = {}
    for path in sorted((info.root / "data").rglob("*.parquet")):
        try:
            table = pq.read_table(path, columns=names)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path} does not read ({error}): copy the dataset again") from error
        number = table["episode_index"].to_numpy()
        label = np.array(table[column].to_pylist(), dtype=object)
        for episode in np.unique(number):
            rows = np.flatnonzero(number == episode)
            name = str(table["episode_id"][int(rows[0])]) if "episode_id" in names else f"episode-{episode}"
            changes = np.flatnonzero(label[rows[1:]] != label[rows[:-1]]) + 1
            found[int(episode)] = (name, np.unique([0, *changes, len(rows) - 1]).astype(np.int64))
    return dict(found[episode] for episode in sorted(found))
