"""The released training data of Robo-Dopamine's general reward models: one JSON list, and the pictures it names.

    FOLDER/train_data/train_jsons/finetune_data_final.json
    FOLDER/train_data/episode_000/cam_high/frame_000012.png   (and cam_left_wrist, cam_right_wrist)

An entry has an `id`, eight `image` paths below FOLDER, the `task`, and two `conversations`: the question, with
`<image>` where a picture belongs, and the answer. The released trainer reads it with this file as its annotation
path and FOLDER as its data path. Its answers have one decimal, `<score>+12.5%</score>`, and so have those written here.
Source: arXiv 2512.23703 and its repository (Apache-2.0). Pictures are PNG: nothing is lost on the way back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.data.disk import DISK, replace_file
from robo_reward.progress.grm_examples import SLOTS, GrmBatch, Picture
from robo_reward.progress.models.grm_prompt import parse_answer, prompt_texts

ANNOTATION = "train_data/train_jsons/finetune_data_final.json"
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
SLOT_CAMERAS = (CAMERAS[0], CAMERAS[0], *CAMERAS, *CAMERAS)


@dataclass(frozen=True)
class GrmItem:
    """One question with its answer, its pictures in files."""

    item_id: str
    task: str
    images: tuple[Path, ...]
    """Eight of them, in the order of the question."""
    hop: float
    """In [-1, 1]."""
    question: str
    """Its text, with `<image>` eight times; other tools may word it otherwise than `grm_prompt` does."""


def question_text(task: str) -> str:
    """The question as one text, `<image>` in the place of each picture."""
    return "<image>".join(prompt_texts(task))


def score_text(hop: float) -> str:
    """The answer as the released data writes it: in percent, with its sign and one decimal."""
    return f"<score>{100 * hop:+.1f}%</score>"


def write_grm(folder: Path, batches: Iterable[tuple[GrmBatch, np.ndarray]]) -> int:
    """Write questions and their pictures below `folder`, the list last; returns how many questions.

    batches: with each batch, as `PairExamples.draw` returns them, (B, 8, 2) episode number and step of every picture.
    A picture that is there already is not written again, so an interrupted export is gone on with by the same call.
    Raises ValueError when the folder holds a finished list already, or without questions.
    """
    target = folder / ANNOTATION
    if target.exists():
        raise ValueError(f"{target} exists already: give a new folder, or remove it")
    entries: list[dict[str, Any]] = []
    for batch, places in batches:
        for row, task, hop, shown in zip(batch.slot_B8, batch.task_B, batch.hop_B, places.tolist(), strict=True):
            images = [
                f"train_data/episode_{episode:03d}/{camera}/frame_{step:06d}.png"
                for (episode, step), camera in zip(shown, SLOT_CAMERAS, strict=True)
            ]
            for name, picture in zip(images, row, strict=True):
                _write_picture(folder / name, batch.pictures[picture])
            (episode, before), after = shown[2], shown[5][1]
            sign = "plus" if hop > 0 else "minus" if hop < 0 else "zero"
            entries.append({
                "id": f"episode_{episode:03d}-bf_{before:06d}-af_{after:06d}-{sign}-{len(entries):07d}",
                "image": images,
                "task": task,
                "conversations": [
                    {"from": "human", "value": question_text(task)},
                    {"from": "gpt", "value": score_text(float(hop))},
                ],
            })  # fmt: skip
    if not entries:
        raise ValueError(f"no questions to write to {folder}: raise tune.questions, or give labelled episodes")
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, (json.dumps(entries, ensure_ascii=False, indent=1) + "\n").encode())
    return len(entries)


def read_grm(folder: str | Path) -> list[GrmItem]:
    """The questions of a folder as `write_grm` or the released tools leave it, or of a JSON or JSONL file.

    A file's pictures are looked for below the nearest folder above it in which the first one is.
    Raises FileNotFoundError for a missing list or picture; ValueError, naming the entry, for one that is no such
    question: not eight pictures, no task, an answer that cannot be read.
    """
    path = Path(folder)
    path = path / ANNOTATION if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give a folder that holds {ANNOTATION}, or the JSON file itself"
        )
    try:
        text = path.read_text(encoding="utf-8")
        entries = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); write it again") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: expected a list of questions, with one at least")
    root: Path | None = None
    items = []
    for number, entry in enumerate(entries):
        item = _item(path, number, entry)
        root = root or next((p for p in path.parents if (p / item.images[0]).is_file()), path.parent)
        images = tuple(root / image for image in item.images)
        for image in images:
            if not image.is_file():
                raise FileNotFoundError(f"{path}: entry {number} names the picture {image}, which does not exist")
        items.append(GrmItem(item.item_id, item.task, images, item.hop, item.question))
    return items


class FileExamples:
    """Draws batches of `count` questions from a list, each as likely as the others; its `rng` is all its memory."""

    def __init__(self, items: Sequence[GrmItem], count: int, seed: int) -> None:
        self.items, self.count, self.rng = items, count, np.random.default_rng(seed)

    def batch(self) -> GrmBatch:
        """The next questions. Raises ValueError for a picture that cannot be read."""
        return batch_of([self.items[i] for i in self.rng.integers(len(self.items), size=self.count)])


def batch_of(items: Sequence[GrmItem]) -> GrmBatch:
    """These questions with their pictures, each read once."""
    paths = sorted({image for item in items for image in item.images})
    row = {path: n for n, path in enumerate(paths)}
    hop = np.array([item.hop for item in items], dtype=np.float32)
    return GrmBatch(
        tuple(read_picture(path) for path in paths),
        np.array([[row[image] for image in item.images] for item in items], dtype=np.int64).reshape(-1, SLOTS),
        tuple(item.task for item in items),
        hop,
        hop,
        hop,
    )


def read_picture(path: Path) -> Picture:
    """RGB. Raises ValueError for a file that is no picture."""
    import cv2

    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a picture, or damaged; write the training data again")
    return np.ascontiguousarray(picture[..., ::-1])


def _item(path: Path, number: int, entry: Any) -> GrmItem:
    """An entry, its pictures as the list names them."""

    def refuse(why: str) -> ValueError:
        return ValueError(f"{path}: entry {number} {why}; expected id, image, task and conversations, see grm_format")

    if not isinstance(entry, dict):
        raise refuse("is no object")
    images, turns = entry.get("image", entry.get("images")), entry.get("conversations")
    if not isinstance(images, list) or len(images) != SLOTS or not all(isinstance(i, str) and i for i in images):
        count = len(images) if isinstance(images, list) else "no"
        raise refuse(f"has {count} pictures in place of {SLOTS}")
    task = entry.get("task")
    if not isinstance(task, str) or not task.strip():
        raise refuse("has no task")
    said = {t.get("from"): t.get("value") for t in turns if isinstance(t, dict)} if isinstance(turns, list) else {}
    question, answer = said.get("human"), said.get("gpt")
    if not isinstance(question, str) or question.count("<image>") != SLOTS:
        raise refuse(f"asks no question with <image> {SLOTS} times")
    hop = parse_answer(answer) if isinstance(answer, str) else None
    if hop is None:
        raise refuse(f"has the answer {answer!r}, which holds no <score>")
    return GrmItem(str(entry.get("id", number)), task, tuple(Path(i) for i in images), hop, question)


def _write_picture(path: Path, picture: Picture) -> None:
    import cv2

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}")
    aside.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    DISK.rename(aside, path)
