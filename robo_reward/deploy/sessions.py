"""Reading what `export` wrote: the description beside a graph, and a session of onnxruntime. No torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

FORMAT = 1


def read_description(folder: Path, name: str) -> dict[str, Any]:
    """The JSON file `name` in an exported folder. Raises FileNotFoundError, or ValueError for what is none of ours."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path}: nothing exported here; run `robo-reward export to={folder}` first")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version = found["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a description that export wrote ({error}); export again") from error
    if version != FORMAT:
        raise ValueError(f"{path}: format {version}, this version reads {FORMAT}; export again")
    return dict(found)


def open_session(file: Path, sha256: str) -> Any:
    """An onnxruntime session on one thread. Raises FileNotFoundError, or ValueError for a file that was changed."""
    import onnxruntime

    if not file.is_file():
        raise FileNotFoundError(f"{file}: the graph is missing; export again")
    if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"{file}: checksum differs from its description's; the file is damaged, export again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # small networks: more threads only wait
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
