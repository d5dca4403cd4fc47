"""A slow reward model teaches a fast one while a run goes on: `train reward.teacher=FOLDER`.

A process of its own lets the teacher annotate the run's episodes, the newest first (as ONI does, arXiv 2410.23022), and
trains a compact model on those answers. That one annotates all episodes and is proposed to the run, which takes it up
between two rollouts, as any other. The run never waits for the teacher; the teacher's own tracks never enter a batch.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_reward.config import Config
from robo_reward.data.store import TransitionStore, find_store
from robo_reward.data.tracks import TrackStore
from robo_reward.interfaces import Unanswered
from robo_reward.runtime.experience import DEMONSTRATIONS
from robo_reward.runtime.reannotate import reannotate
from robo_reward.terminal import say
from robo_reward.types import Episode, PhiTrack

if TYPE_CHECKING:
    from robo_reward.progress.scorer import EpisodeScorer

MakeStudent = Callable[[Sequence[Episode], Mapping[str, PhiTrack], Path], Any]
"""Trains on episodes and the teacher's tracks of them, by episode id, and fills the folder."""
STUDENTS = "students"
PAUSE_S = 0.5
"""[s] between two looks at a store in which there is nothing to do"""


def find_teacher(config: Config) -> Path | None:
    """The folder of `reward.teacher`, None where there is no teacher.

    Raises FileNotFoundError where no reward model is.
    """
    if config.reward.teacher is None:
        return None
    from robo_reward.progress.reward_model import reward_folder

    if not (teacher := reward_folder(config.reward.teacher)).is_dir():
        raise FileNotFoundError(
            f"reward.teacher={config.reward.teacher}: no reward model there; run train-reward first"
        )
    return teacher


@contextmanager
def teaching(config: Config, folder: Path) -> Iterator[None]:
    """The teacher of `reward.teacher`, if there is one, beside a run in this folder. Raises as `find_teacher`."""
    if (teacher := find_teacher(config)) is None:
        yield
        return
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    process = context.Process(target=_work, args=(config, folder, teacher, ended, os.getpid()), daemon=True)
    process.start()
    try:
        yield
    finally:
        ended.set()
        process.join(2)
        process.terminate()  # what it has written is whole: tracks are a log, a student's folder is renamed when done
        process.join()


def _work(config: Config, folder: Path, teacher: Path, ended: Any, parent: int) -> None:
    import torch

    from robo_reward.progress.scorer import load_scorer
    from robo_reward.runtime.steps import student_of

    os.nice(10)
    torch.set_num_threads(1)

    def stopped() -> bool:
        return bool(ended.is_set()) or os.getppid() != parent

    try:
        make = student_of(config)
        while not stopped() and not (folder / "store" / "store.json").is_file():
            time.sleep(PAUSE_S)
        if not stopped():
            teach(folder, load_scorer(teacher), make, config.reward.teacher_every, stopped)
    except (ValueError, OSError) as error:
        say(f"the teacher gave up: {error}", config.quiet)


def teach(
    folder: Path, teacher: EpisodeScorer, make_student: MakeStudent, every: int, stopped: Callable[[], bool],
    pause_s: float = PAUSE_S,
) -> None:  # fmt: skip
    """Annotate a run's episodes by the teacher until `stopped`, and propose a new student after every so many of them.

    Demonstrations come first, because a student needs them, then the newest rollout. Called again it goes on.

    Args:
        folder: of the run's training stage; students are put into `students/` in it.
        every: answered episodes between two students.
    """
    source, tracks, students = TransitionStore(find_store(folder)), TrackStore(folder / "tracks"), folder / STUDENTS
    known, taught_by = tracks.read(teacher.track_id), 0
    students.mkdir(exist_ok=True)
    if made := sorted(int(path.name) for path in students.iterdir() if path.name.isdigit()):
        taught_by = made[-1]
        reannotate(folder, students / str(taught_by), quiet=True)
    while not stopped():
        source.refresh()
        missing = [entry for entry in source.episodes() if entry.episode_id not in known]
        shown = [entry for entry in missing if entry.actor == DEMONSTRATIONS]
        fresh: dict[str, PhiTrack] = {}
        if missing:
            name = (shown[0] if shown else missing[-1]).episode_id
            try:
                [fresh[name]] = teacher.annotate([source.read(name)])
            except Unanswered:
                pass  # it is asked again
        if not fresh:
            time.sleep(pause_s)
            continue
        tracks.write(teacher.track_id, fresh)
        known |= fresh
        if not shown[1:] and len(known) >= taught_by + every:
            taught_by = len(known)
            _propose(folder, students / str(taught_by), [source.read(name) for name in known], known, make_student)


def _propose(
    folder: Path, student: Path, episodes: Sequence[Episode], answers: Mapping[str, PhiTrack], make_student: MakeStudent
) -> None:
    working = student.with_name(student.name + ".partial")
    shutil.rmtree(working, ignore_errors=True)
    try:
        make_student(episodes, answers, working)
        os.rename(working, student)
        reannotate(folder, student, quiet=True)
    except ValueError as error:
        say(f"no student of {len(answers)} annotated episodes: {error}")
