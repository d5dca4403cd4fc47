"""Brings a dataset whose writer was killed back to its last closed episode.

LeRobot keeps a parquet file open while episodes are appended; without its footer such a file is lost. The episodes
listed in readable files of the index (meta/episodes) are whole, because the index is closed last; all else is removed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.data.lerobot_schema import IMAGE_PREFIX, read_info


def unreadable_parquet(root: Path) -> list[Path]:
    """The parquet files of the dataset at `root` that have no valid footer, in order."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    damaged = []
    for path in sorted(root.rglob("*.parquet")):
        try:
            pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError):
            damaged.append(path)
    return damaged


def repair(root: Path) -> list[str]:
    """Remove everything that was not closed; return the ids of the episodes that were, in order.

    A dataset without any closed episode is emptied. Raises FileNotFoundError or ValueError when `root` holds no
    dataset of this version, so that no other folder is ever touched.
    """
    import pyarrow.parquet as pq

    info = read_info(root)
    if not info.ours:
        raise ValueError(f"dataset {root} was not written by robo_reward: read it, or write to another folder")
    for path in unreadable_parquet(root):
        path.unlink()
    rows: list[dict[str, Any]] = []
    for path in sorted((root / "meta" / "episodes").rglob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    if not rows:
        shutil.rmtree(root)
        root.mkdir()
        return []

    keep = {root / "data" / _file(row, "data", "parquet") for row in rows}
    for key in (f"videos/{IMAGE_PREFIX}{view}" for view in info.views):
        keep |= {root / key / _file(row, key, "mp4") for row in rows}
    for path in (*(root / "data").rglob("*.parquet"), *(root / "videos").rglob("*.mp4")):
        if path not in keep:
            path.unlink()
    for folder in root.iterdir():
        if folder.is_dir() and (folder.name.startswith("tmp") or folder.name == "images"):
            shutil.rmtree(folder)
    ids = [name for path in sorted(keep) if path.suffix == ".parquet" for name in _trim(path, len(rows))]
    if len(ids) != len(rows):
        raise ValueError(f"dataset {root} lists {len(rows)} episodes but holds {len(ids)}: remove it and collect again")
    if (info.episodes, info.rows) != (len(rows), rows[-1]["dataset_to_index"]):
        _rewrite_totals(root, rows)
    return ids


def _file(row: dict[str, Any], key: str, suffix: str) -> str:
    return f"chunk-{row[f'{key}/chunk_index']:03d}/file-{row[f'{key}/file_index']:03d}.{suffix}"


def _trim(path: Path, episodes: int) -> list[str]:
    """Drop the rows of unlisted episodes, which a failure between the two files' updates leaves; return the ids."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not path.is_file():
        return []
    table = pq.read_table(path)
    listed = table.filter(pc.less(table["episode_index"], episodes))
    if len(listed) < len(table):
        pq.write_table(listed, path.with_suffix(".part"))
        os.replace(path.with_suffix(".part"), path)
    return list(dict.fromkeys(listed["episode_id"].to_pylist()))


def _rewrite_totals(root: Path, rows: list[dict[str, Any]]) -> None:
    """Make info.json and stats.json those of the listed episodes."""
    lerobot = import_lerobot()
    utils = lerobot.utils
    info = utils.load_info(root)
    info |= {
        "total_episodes": len(rows),
        "total_frames": rows[-1]["dataset_to_index"],
        "total_tasks": len(utils.load_tasks(root)),
        "splits": {"train": f"0:{len(rows)}"},
    }
    stats = []
    for row in rows:
        flat = {key.removeprefix("stats/"): value for key, value in row.items() if key.startswith("stats/")}
        stats.append(utils.cast_stats_to_numpy(utils.unflatten_dict(flat)))
    utils.write_stats(lerobot.compute_stats.aggregate_stats(stats), root)
    utils.write_info(info, root)
