"""A copy of a LeRobotDataset v3 with further columns; the source is only read.

Row data, per-episode index and statistics are rewritten, videos are linked (copied where the file system cannot link),
everything else is copied. The copy is made under the name `<target>.partial` and renamed when whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.disk import DISK
from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.data.lerobot_schema import read_info

Columns = Mapping[str, np.ndarray]
"""Column name -> one value a row of an episode."""
NOTE = "meta/progress.json"
"""Who wrote the columns, and from what."""


def copy_with_columns(
    source: str | Path,
    target: str | Path,
    columns: Sequence[Columns],
    note: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> None:
    """Write the dataset at `source` with further columns to the new folder `target`.

    Args:
        source: a dataset that `read_info` accepts.
        target: must not exist.
        columns: of every episode in order, the same names and types in each: float32, int64 or bool.
        note: JSON values kept in meta/progress.json.
        tables: further parquet files, by name.

    Raises:
        ValueError: the target exists or lies inside the source; columns that the source has of its own; numbers of
            episodes or rows that differ.
    """
    source, target = Path(source).resolve(), Path(target)
    check_target(source, target, columns[0] if columns else {})
    partial = _begin(_partial(target), note)
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and name != Path(NOTE) and not any(part.startswith(".") for part in name.parts):
            _take(path.resolve(), partial / name)
    info = json.loads((source / "meta" / "info.json").read_text(encoding="utf-8"))
    if len(columns) != info["total_episodes"]:
        raise ValueError(f"dataset {source} has {info['total_episodes']} episodes, the new columns have {len(columns)}")
    dtypes = {name: str(values.dtype) for name, values in columns[0].items()} if columns else {}
    info["features"] |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in dtypes.items()}
    for path in sorted((partial / "data").rglob("*.parquet")):
        _add_to_rows(path, columns, dtypes)
    _add_to_statistics(partial, columns)
    (partial / "meta" / "info.json").write_text(json.dumps(info, indent=4, ensure_ascii=False), encoding="utf-8")
    for file, table in (tables or {}).items():
        _write_table(partial / file, table)
    for path in sorted(partial.rglob("*"), key=Path.is_dir):  # content first, then the names
        DISK.sync_folder(path)
    DISK.sync_folder(partial)
    DISK.rename(partial, target)
    DISK.sync_folder(target.parent)


def check_target(source: Path, target: Path, names: Mapping[str, Any]) -> None:
    """ValueError when a copy of `source` with columns of these names cannot become `target`."""
    whole = target.resolve()
    if whole == source or source in whole.parents:
        raise ValueError(f"to={target} lies in the dataset {source}, which is never changed: choose another folder")
    if target.exists():
        raise ValueError(f"to={target} exists already: choose another folder, or remove it")
    partial = _partial(target)
    if any(path.is_file() for path in partial.rglob("*")) and not (partial / NOTE).is_file():
        raise ValueError(f"{partial} is needed for writing but holds other files: choose another to=, or remove it")
    own = [name for name in names if name in read_info(source).features]
    if own and not (source / NOTE).is_file():
        raise ValueError(f"dataset {source} has a column {own[0]!r} of its own: rename it first")


def read_note(root: str | Path) -> dict[str, Any] | None:
    """What `copy_with_columns` noted in the dataset at `root`; None where it has not written it."""
    try:
        note = json.loads((Path(root) / NOTE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _begin(partial: Path, note: Mapping[str, Any]) -> Path:
    """The empty folder to write in; the note comes first, so that what an interrupted copy left is known as such."""
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "meta").mkdir(parents=True)
    (partial / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    return partial


def _take(path: Path, target: Path) -> None:
    """Videos are large and nobody writes into them; whatever is edited in place must not be shared."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mp4":
        try:
            os.link(path, target)
            return
        except OSError:
            pass  # another file system, or one without links
    shutil.copyfile(path, target)


def _add_to_rows(path: Path, columns: Sequence[Columns], dtypes: Mapping[str, str]) -> None:
    """Rewrite a file of rows, a row group at a time as LeRobot reads them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    aside = path.with_suffix(".aside")
    with pq.ParquetFile(path) as file:
        schema = _extended(file.schema_arrow, dtypes)
        with pq.ParquetWriter(aside, schema) as writer:
            for number in range(file.num_row_groups):
                table = file.read_row_group(number)
                where = f"{path.parent.name}/{path.name}"
                found = _values_of(table, columns, where)
                kept = {name: table[name] for name in table.column_names if name not in dtypes}
                new = {name: pa.array(found[name], schema.field(name).type) for name in dtypes}
                writer.write_table(pa.table({**kept, **new}, schema=schema))
    os.replace(aside, path)


def _values_of(table: Any, columns: Sequence[Columns], where: str) -> dict[str, np.ndarray]:
    """The new columns' values at the table's rows."""
    episode, frame = table["episode_index"].to_numpy(), table["frame_index"].to_numpy()
    found: dict[str, np.ndarray] = {}
    for number in np.unique(episode):
        rows = episode == number
        if not 0 <= number < len(columns):
            raise ValueError(f"{where} holds rows of episode {number}, but the index lists {len(columns)}: damaged")
        for name, values in columns[number].items():
            if frame[rows].max() >= len(values):
                raise ValueError(f"{where}: episode {number} has more rows than its column {name}: {len(values)}")
            found.setdefault(name, np.zeros(len(table), values.dtype))[rows] = values[frame[rows]]
    return found


def _extended(schema: Any, dtypes: Mapping[str, str]) -> Any:
    """The Arrow schema with the new columns at its end, and so too what the `datasets` library keeps in it."""
    import pyarrow as pa

    fields = [field for field in schema if field.name not in dtypes]
    fields += [
        pa.field(name, pa.bool_() if dtype == "bool" else pa.type_for_alias(dtype)) for name, dtype in dtypes.items()
    ]
    metadata = dict(schema.metadata or {})
    if b"huggingface" in metadata:
        known = json.loads(metadata[b"huggingface"])
        known["info"]["features"] |= {name: {"dtype": dtype, "_type": "Value"} for name, dtype in dtypes.items()}
        metadata[b"huggingface"] = json.dumps(known).encode()
    return pa.schema(fields, metadata)


def _add_to_statistics(root: Path, columns: Sequence[Columns]) -> None:
    """Statistics of the new columns: of every episode in the index, of all rows in stats.json; made by LeRobot."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lerobot = import_lerobot()
    of_episode = [
        {name: lerobot.compute_stats.get_feature_stats(v, axis=0, keepdims=True) for name, v in found.items()}
        for found in columns
    ]
    for path in sorted((root / "meta" / "episodes").rglob("*.parquet")):
        table = pq.read_table(path)
        flat = [
            {
                f"stats/{name}/{kind}": list(value)
                for name, kinds in of_episode[number].items()
                for kind, value in kinds.items()
            }
            for number in table["episode_index"].to_pylist()
        ]
        for name in flat[0] if flat else ():
            values = pa.array([row[name] for row in flat])
            place = table.column_names.index(name) if name in table.column_names else None
            table = table.append_column(name, values) if place is None else table.set_column(place, name, values)
        pq.write_table(table, path)
    if of_episode:
        stats = lerobot.utils.load_stats(root) or {}
        lerobot.utils.write_stats({**stats, **lerobot.compute_stats.aggregate_stats(of_episode)}, root)


def _write_table(path: Path, table: Columns) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(table)), path)
