"""`train-reward reward=grm` on training data in the released format, as the command line runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from robo_reward.cli import main
from robo_reward.data.export import export_episodes
from robo_reward.progress.grm_examples import GrmBatch
from robo_reward.progress.grm_format import batch_of, read_grm, write_grm
from robo_reward.progress.grm_tuning import Tuning
from robo_reward.progress.models.grm import GrmSettings, load_grm
from robo_reward.testing.episodes import make_episode
from robo_reward.testing.tiny_vlm import build_vlm
from robo_reward.types import UNKNOWN_STAGE, Episode, HopQuery


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> dict[str, Path]:
    """A tiny model, and a dozen questions about pictures that get brighter."""
    folder = tmp_path_factory.mktemp("material")
    pictures = tuple(np.full((32, 32, 3), 40 * n, np.uint8) for n in range(6))
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 6, (2, 12))
    slots = np.stack([np.zeros(12, int), np.full(12, 5), before, before, before, after, after, after], axis=1)
    hop = ((after - before) / 5).astype(np.float32)
    places = np.stack([np.zeros_like(slots), slots], axis=-1)
    write_grm(folder / "questions", [(GrmBatch(pictures, slots, ("light it up",) * 12, hop, hop, hop), places)])
    return {"questions": folder / "questions", "model": build_vlm(folder / "model")}


def words(material: dict[str, Path], root: Path, *more: str) -> list[str]:
    return [
        "train-reward", "reward=grm", f"reward.model={material['model']}", f"dataset={material['questions']}",
        f"run.root={root}", "quiet=true", "tune.steps=4", "tune.batch=2", "tune.at_once=2", "tune.save_every=1",
        "tune.learning_rate=1e-3", "tune.lora=4", "reward.device=cpu", *more,
    ]  # fmt: skip


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def trained(root: Path) -> Path:
    (stage,) = (p for p in (root / "stages").glob("tune-reward-*") if not p.name.endswith(".partial"))
    return stage / "model"


def test_an_interrupted_command_goes_on_to_the_same_model_and_it_answers(material, tmp_path, monkeypatch, capsys):
    assert run(words(material, tmp_path / "whole")) == 0
    step = Tuning.step

    def interrupted(self, number, batch):
        if number == 2:
            raise KeyboardInterrupt
        return step(self, number, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Tuning, "step", interrupted)
        assert run(words(material, tmp_path / "cut")) == 130
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(Tuning, "step", lambda self, number, batch: seen.append(number) or step(self, number, batch))
        assert run(words(material, tmp_path / "cut")) == 0
    assert seen == [2, 3]
    weights = [(trained(tmp_path / name) / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1] != (material["model"] / "model.safetensors").read_bytes()
    (summary,) = (json.loads(p.read_text()) for p in (tmp_path / "cut").glob("train-reward-*/summary.json"))
    assert summary["steps"] == 4 and summary["questions"] == 8 and summary["skipped_steps"] == 0
    model = load_grm(GrmSettings(str(trained(tmp_path / "cut")), views=("front",), device="cpu", answer_mass=0.0))
    frames = {"front": np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)}
    zero, one = np.array([0]), np.array([1])
    assert model.hop(HopQuery(frames, zero, one, zero, one, ("light it up",))).valid_B.all()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["tune.batch=6"], "tune.batch=6 cannot be shared evenly by 4 processes: set a multiple of that"),
        (
            ["tune.from_scratch=true", "tune.batch=4", "reward.model=null"],
            "tune.from_scratch=true trains in one process",
        ),
    ],
)
def test_what_several_processes_cannot_share_is_refused(material, tmp_path, monkeypatch, capsys, more, says):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert run(words(material, tmp_path, *more)) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_episodes_become_questions_that_can_be_learned_from(material, tmp_path):
    """A LeRobotDataset out as the released format, and that in again."""
    pytest.importorskip("lerobot")
    export_episodes([brightening(n) for n in range(2)], tmp_path / "episodes", fps=10, robot_type="none", videos=True)
    common = [f"run.root={tmp_path}", "quiet=true", "env.cameras=[front]", "env.image_size=64"]
    arguments = ["export", "format=grm", f"dataset={tmp_path / 'episodes'}", f"to={tmp_path / 'out'}",
                 "tune.questions=8", *common]  # fmt: skip
    assert run(arguments) == 0
    items = read_grm(tmp_path / "out")
    assert len(items) == 8 and {item.task for item in items} == {"light it up"}
    picture = batch_of(items).pictures[0]
    assert picture.shape == (64, 64, 3)
    assert run(arguments) == 2  # a finished list is not written over
    learned = words({**material, "questions": tmp_path / "out"}, tmp_path, "tune.steps=1")
    assert run(learned) == 0
    one = [w for w in learned if not w.startswith("dataset=")]
    assert run([*one, *common, f"demo={tmp_path / 'episodes'}:0"]) == 0  # a single demonstration will do
    assert len(list((tmp_path / "stages").glob("tune-reward-*/model/model.safetensors"))) == 2


def brightening(number: int) -> Episode:
    frames = np.repeat((np.arange(13) * 20).astype(np.uint8), 64 * 64 * 3).reshape(13, 64, 64, 3).copy()
    frames[:, :8, :8] = 255 - 20 * number
    nothing = np.zeros((13, 2), np.float32)
    return make_episode(
        12, f"e{number}", instruction="light it up", source="human", seed=number, agent_pos=nothing, estimate=nothing,
        action=nothing[1:], stage=np.full(13, UNKNOWN_STAGE, np.int64), frames={"front": frames},
    )  # fmt: skip


@pytest.mark.parametrize(
    "more, what",
    [
        (("tune.hop_weight=1",), "tune.hop_weight=1 needs a tokenizer with one token for each answer"),
        (("tune.from_scratch=true",), "tune.from_scratch=true with reward.model="),
        (("tune.lora=-1",), "tune.lora=-1: must be >= 0"),
        (("adapt_from=there", "demo=here"), "adapt_from= trains the compact model only"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(material, tmp_path, more, what, capsys):
    assert run(words(material, tmp_path, *more)) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("robo-reward")]
    assert len(lines) == 1 and what in lines[0]


def test_from_scratch_needs_episodes(material, tmp_path, capsys):
    arguments = [w for w in words(material, tmp_path, "tune.from_scratch=true") if not w.startswith("reward.model=")]
    assert run(arguments) == 2
    assert "tune.from_scratch=true learns from episodes" in capsys.readouterr().err
