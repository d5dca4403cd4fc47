"""A slow teacher beside a run: which episodes it looks at first, and when its students take over."""

import numpy as np
import pytest

pytest.importorskip("torch")

from robo_reward.config import load_config
from robo_reward.data.store import TransitionStore
from robo_reward.data.tracks import TrackStore
from robo_reward.interfaces import Unanswered
from robo_reward.runtime import training_stage
from robo_reward.runtime.distil import teach, teaching
from robo_reward.runtime.pipeline import train
from robo_reward.runtime.stages import StageResult
from robo_reward.testing.episodes import make_episode
from robo_reward.types import PhiTrack


def rollout(name):
    long = np.zeros((3, 2), np.float32)
    return make_episode(
        2, name, success=False, instruction="do", agent_pos=long, estimate=long,
        action=np.full((2, 2), 0.5, np.float32), base_action=long,
    )  # fmt: skip


class Teacher:
    """Says how many episodes it has seen, and does what a test has planned for then."""

    track_id = "teacher"

    def __init__(self, plan=None):
        self.seen, self.plan = [], plan or {}

    def annotate(self, episodes):
        [episode] = episodes
        self.plan.pop(len(self.seen), lambda: None)()
        self.seen.append(episode.episode_id)
        return [PhiTrack("teacher", np.full(3, len(self.seen) / 100, np.float32), np.ones(3, np.float32))]


class Student:
    """Loaded from a folder that holds how many answers it has learned from."""

    def __init__(self, folder):
        self.track_id = f"student-{(folder / 'answers').read_text()}"

    def annotate(self, episodes):
        return [PhiTrack(self.track_id, np.zeros(3, np.float32), np.ones(3, np.float32)) for _ in episodes]


def make_student(episodes, answers, folder):
    assert [answers[e.episode_id].model_id for e in episodes] == ["teacher"] * len(episodes)
    folder.mkdir()
    (folder / "answers").write_text(str(len(answers)))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A training stage's folder with two demonstrations and three rollouts; teaches until nothing is left to do."""
    monkeypatch.setattr("robo_reward.progress.scorer.load_scorer", Student)
    store = TransitionStore(tmp_path / "store", writable=True)
    sequence = 0
    for name in ("d0", "d1"):
        sequence = store.append_episode("demonstrations", sequence, rollout(name))
    online = 0
    for name in ("r0", "r1", "r2"):
        online = store.append_episode("online", online, rollout(name))

    class Run:
        folder = tmp_path

        def add(self, name):
            nonlocal online
            online = store.append_episode("online", online, rollout(name))

        def teach(self, teacher, every=2, looks=12):
            left = iter(range(looks))
            teach(tmp_path, teacher, make_student, every, lambda: next(left, None) is None, pause_s=0)
            return teacher.seen

    yield Run()
    store.close()


def test_demonstrations_first_then_the_newest_rollout_also_one_that_came_in_meanwhile(run):
    teacher = Teacher({3: lambda: run.add("r3")})
    assert run.teach(teacher) == ["d0", "d1", "r2", "r1", "r3", "r0"]
    assert set(TrackStore(run.folder / "tracks").read("teacher")) == set(teacher.seen)


def test_every_so_many_answers_a_student_is_proposed_that_has_annotated_everything(run):
    run.teach(Teacher())
    tracks = TrackStore(run.folder / "tracks")
    assert sorted(path.name for path in (run.folder / "students").iterdir()) == ["2", "4"]
    assert tracks.proposal.model_id == "student-4"
    assert set(tracks.read("student-4")) == {"d0", "d1", "r0", "r1", "r2"}


def test_a_teacher_without_an_answer_is_asked_again(run):
    def silent():
        raise Unanswered("nobody there")

    assert run.teach(Teacher({0: silent})) == ["d0", "d1", "r2", "r1", "r0"]


def test_begun_again_it_knows_what_was_answered_and_proposes_the_last_student(run):
    assert run.teach(Teacher(), looks=2) == ["d0", "d1"]
    (run.folder / "tracks" / "next.json").unlink()
    (run.folder / "students" / "4.partial").mkdir()  # it was stopped in the middle of the next one
    assert run.teach(Teacher(), looks=1) == ["r2"]
    assert TrackStore(run.folder / "tracks").proposal.model_id == "student-2"
    run.teach(Teacher(), looks=1)
    assert TrackStore(run.folder / "tracks").proposal.model_id == "student-4"


def test_a_student_that_cannot_be_trained_is_told_and_the_teacher_goes_on(run, capsys):
    def refusing(episodes, answers, folder):
        raise ValueError("no successful demonstration among the episodes")

    left, teacher = iter(range(6)), Teacher()
    teach(run.folder, teacher, refusing, 2, lambda: next(left, None) is None, pause_s=0)
    assert len(teacher.seen) == 5 and TrackStore(run.folder / "tracks").proposal is None
    assert "no student of 2 annotated episodes: no successful demonstration" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["reward=oracle", "shaping=none", "shaping=gated"])
def test_a_teacher_where_no_student_can_take_over_is_refused(wrong):
    with pytest.raises(ValueError, match=r"reward\.teacher=there teaches a compact model"):
        load_config(["reward.teacher=there", wrong])


def test_a_teacher_that_is_not_there_is_told_before_anything_is_collected(tmp_path):
    config = load_config(["quiet=true", f"reward.teacher={tmp_path / 'x'}", f"run.root={tmp_path / 'runs'}"])
    for refused in (lambda: train(config), lambda: teaching(config, tmp_path).__enter__()):
        with pytest.raises(FileNotFoundError, match="no reward model there; run train-reward first"):
            refused()
    assert not (tmp_path / "runs").exists()


def test_a_run_is_another_one_with_another_teacher_wherever_that_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(training_stage, "_train", lambda *_: {})
    stage = StageResult("any", tmp_path, "", {}, 0.0, False)

    def trained(teacher):
        config = load_config(["quiet=true", f"reward.teacher={teacher}", f"run.root={tmp_path}"])
        return training_stage.residual_stage(config, stage, stage, stage, lambda *_, **__: None).path

    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "weights").write_text("1")
    first = trained(tmp_path / "teacher")
    moved = (tmp_path / "teacher").rename(tmp_path / "moved")
    assert trained(moved) == first
    (moved / "weights").write_text("2")
    assert trained(moved) != first
