"""Named arrays in one .npz file, without pickle: read as a whole or not at all."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from robo_reward.data.disk import replace_file


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of the file by their names. Raises FileNotFoundError, or ValueError for a damaged file."""
    try:
        with zipfile.ZipFile(path) as archive:  # numpy reads an array's head before it has met the checksum
            if (bad := archive.testzip()) is not None:
                raise ValueError(f"{bad} does not match its checksum")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged, or no file of arrays ({error})") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace the file by these arrays, all or nothing."""
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    replace_file(path, out.getvalue())
