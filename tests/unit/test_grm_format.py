"""Questions of the GRM contract drawn from labelled episodes, in the released training format and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robo_reward.progress.grm_examples import PairExamples, one_shot, pair_settings
from robo_reward.progress.grm_format import ANNOTATION, FileExamples, batch_of, read_grm, write_grm
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.labels import label_episode
from robo_reward.progress.models.grm_prompt import prompt_texts
from robo_reward.testing.episodes import make_episode
from robo_reward.types import Episode

VIEWS = ("front", "side", "wrist")
LENGTH = 20


def clip(name: str, task: str, success: bool = True) -> Episode:
    """Every picture says by its grey level which observation it shows, and by its size nothing."""
    n = LENGTH + 1
    steps = np.append(np.arange(0, LENGTH, 4), LENGTH)
    base = {"a": 0, "b": 100}[name[0]]
    frames = {}
    for v, view in enumerate(VIEWS):
        frames[view] = np.zeros((len(steps), 32, 32, 3), np.uint8)
        frames[view][..., 0], frames[view][..., 1] = (base + steps)[:, None, None], 50 * v
        frames[view][:, 0, 0, 2] = 255
    stage = np.minimum(np.arange(n) * (4 if success else 2) // LENGTH, 4)
    return make_episode(
        LENGTH, name, success=success, instruction=task, source="expert" if success else "weak", stage=stage,
        frame_steps=steps, frames=frames,
    )  # fmt: skip


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    tasks = {"a": "go to the red one", "b": "go to the blue one"}
    return [clip(f"{k}{i}", tasks[k], success=i != 2) for k in "ab" for i in range(3)]


def examples(episodes, count=32, **more) -> PairExamples:
    labels = [label_episode(e, 4) for e in episodes]
    return PairExamples(episodes, labels, 4, pair_settings(count), 0, VIEWS, **more)


def as_taken(episodes, count=32) -> PairExamples:
    return examples(episodes, count, shift=0, brightness=0.0)


def test_a_question_shows_references_from_the_front_then_three_views_before_and_after(episodes):
    batch, places = as_taken(episodes).draw()
    shown = np.array([[batch.pictures[n][5, 5] for n in row] for row in batch.slot_B8])
    assert (shown[:, :, 1] == np.array([0, 0, 0, 50, 100, 0, 50, 100])).all()  # views
    base = np.array([0, 0, 0, 100, 100, 100])[places[:, :, 0]]
    assert (shown[:, :, 0] == base + places[:, :, 1]).all()  # the very observations that `places` names
    assert (places[:, 0, 1] == 0).all() and (places[:, 1, 1] == LENGTH).all()
    assert (places[:, 2:5] == places[:, 2:3]).all() and (places[:, 5:] == places[:, 5:6]).all()


def test_the_answer_is_the_hop_between_the_two_sets(episodes):
    batch, places = as_taken(episodes, 64).draw()
    labels = [label_episode(e, 4) for e in episodes]
    own = [i for i, (row, task) in enumerate(zip(places, batch.task_B, strict=True))
           if {episodes[e].instruction for e in row[:, 0]} == {task} and batch.exact_B[i]]  # fmt: skip
    assert len(own) > 10
    for i in own:
        (b, bs), (a, at) = places[i, 2], places[i, 5]
        expected = hop_from_potentials(labels[b].phi[bs], labels[a].phi[at])
        assert batch.hop_B[i] == pytest.approx(expected, abs=1e-5)


def test_an_interval_label_is_answered_somewhere_within(episodes):
    batches = [as_taken(episodes, 64).batch() for _ in range(2)]
    assert not batches[0].exact_B.all()
    assert (np.abs(batches[0].hop_B) <= 1).all()
    assert batches[0].hop_B.tobytes() == batches[1].hop_B.tobytes()  # the same seed, the same questions


def test_pictures_are_shown_once_whatever_slots_they_stand_in(episodes):
    batch = as_taken(episodes).batch()
    assert len({p.tobytes() for p in batch.pictures}) == len(batch.pictures) < batch.slot_B8.size // 2
    assert set(batch.slot_B8.ravel()) == set(range(len(batch.pictures)))


def test_one_camera_fills_all_slots(episodes):
    labels = [label_episode(e, 4) for e in episodes]
    batch = PairExamples(episodes, labels, 4, pair_settings(8), 0, ("wrist",), shift=0).batch()
    assert {int(p[5, 5, 1]) // 80 for p in batch.pictures} == {1}


def test_one_demonstration_is_enough_for_questions():
    demo = clip("a0", "go to the red one")
    batch = PairExamples([demo], [label_episode(demo, 4)], 4, one_shot(pair_settings(16)), 0, VIEWS).batch()
    assert len(batch) == 16 and set(batch.task_B) == {"go to the red one"}


def test_written_and_read_back_questions_are_the_same(episodes, tmp_path):
    source = as_taken(episodes)
    drawn = [source.draw() for _ in range(2)]
    assert write_grm(tmp_path, drawn) == 64
    with pytest.raises(ValueError, match="raise tune.questions"):
        write_grm(tmp_path / "empty", [])
    items = read_grm(tmp_path)
    back = batch_of(items)
    first = drawn[0][0]
    assert len(items) == 64 and back.task_B[:32] == first.task_B
    for row in range(32):
        for slot in range(8):
            shown = first.pictures[first.slot_B8[row, slot]]
            assert np.array_equal(back.pictures[back.slot_B8[row, slot]], shown)
    assert np.abs(back.hop_B[:32] - first.hop_B).max() <= 0.0005 + 1e-6  # one decimal of a percent


def test_an_entry_has_what_the_released_trainer_reads(episodes, tmp_path):
    write_grm(tmp_path, [as_taken(episodes).draw()])
    entry = json.loads((tmp_path / ANNOTATION).read_text(encoding="utf-8"))[0]
    assert set(entry) == {"id", "image", "task", "conversations"}
    assert [turn["from"] for turn in entry["conversations"]] == ["human", "gpt"]
    question, answer = (turn["value"] for turn in entry["conversations"])
    assert question.split("<image>") == list(prompt_texts(entry["task"]))
    assert answer.startswith("<score>") and answer.endswith("%</score>") and "." in answer
    cameras = [image.split("/")[2] for image in entry["image"]]
    wrists = ["cam_left_wrist", "cam_right_wrist"]
    assert cameras == ["cam_high", "cam_high", "cam_high", *wrists, "cam_high", *wrists]
    assert all((tmp_path / image).is_file() for image in entry["image"])


def test_the_released_tools_file_can_be_read(episodes, tmp_path):
    """Their answers have signs and decimals, pictures are found from the file upwards."""
    write_grm(tmp_path, [as_taken(episodes).draw()])
    entries = json.loads((tmp_path / ANNOTATION).read_text(encoding="utf-8"))[:2]
    entries[0]["conversations"][1]["value"] = "<score>-33.3%</score>"
    entries[1]["conversations"][1]["value"] = "<score>0.0%</score>"
    (tmp_path / ANNOTATION).unlink()
    lines = tmp_path / "train_data" / "episode_000" / "some.jsonl"
    lines.write_text("".join(json.dumps(e) + "\n" for e in entries), encoding="utf-8")
    assert [item.hop for item in read_grm(lines)] == pytest.approx([-0.333, 0])


def test_examples_from_files_go_on_where_their_generator_was(episodes, tmp_path):
    write_grm(tmp_path, [as_taken(episodes).draw()])
    source = FileExamples(read_grm(tmp_path), 4, 0)
    source.batch()
    state, expected = source.rng.bit_generator.state, source.batch()
    again = FileExamples(read_grm(tmp_path), 4, 7)
    again.rng.bit_generator.state = state
    assert np.array_equal(again.batch().hop_B, expected.hop_B)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"image": ["a.png"]}, "1 pictures in place of 8"),
        ({"image": None}, "no pictures in place of 8"),
        ({"task": " "}, "no task"),
        ({"conversations": []}, "asks no question"),
        (
            {"conversations": [{"from": "human", "value": "<image>" * 8}, {"from": "gpt", "value": "done"}]},
            "no <score>",
        ),
    ],
)
def test_what_is_no_question_is_named(episodes, tmp_path, change, words):
    write_grm(tmp_path, [as_taken(episodes).draw()])
    entries = json.loads((tmp_path / ANNOTATION).read_text(encoding="utf-8"))
    entries[3] |= change
    (tmp_path / ANNOTATION).write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(ValueError, match=f"entry 3 .*{words}") as error:
        read_grm(tmp_path)
    assert "\n" not in str(error.value)


def test_bad_folders_and_pictures_are_named(episodes, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_grm(tmp_path / "nothing")
    write_grm(tmp_path, [as_taken(episodes).draw()])
    with pytest.raises(ValueError, match="exists already"):
        write_grm(tmp_path, [as_taken(episodes).draw()])
    item = read_grm(tmp_path)[0]
    item.images[4].write_bytes(b"no picture")
    with pytest.raises(ValueError, match="not a picture"):
        batch_of([item])
    item.images[4].unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_grm(tmp_path)
    (tmp_path / ANNOTATION).write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON"):
        read_grm(tmp_path)
