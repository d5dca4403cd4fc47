"""Keyframe files: what is read, and one clear line for each way they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from robo_reward.data.keyframes import load_dataset_keyframes, load_keyframes


def subtasks(*spans: tuple[object, object]) -> list[dict[str, object]]:
    return [
        {"annotation": f"step {i}", "start_frame_id": start, "end_frame_id": end}
        for i, (start, end) in enumerate(spans)
    ]


def written(folder: Path, content: object) -> Path:
    path = folder / "keyframes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_consecutive_subtasks_share_their_keyframes(tmp_path):
    path = written(tmp_path, subtasks((8, 20), (20, 31), (31, 40)))
    assert load_keyframes(path, 41).tolist() == [8, 20, 31, 40]


def test_a_pause_between_subtasks_counts_to_the_second(tmp_path):
    assert load_keyframes(written(tmp_path, subtasks((0, 10), (15, 30))), 40).tolist() == [0, 10, 30]


def test_both_spellings_of_annotation_are_read(tmp_path):
    table = [{"anotation": "reach", "start_frame_id": 9, "end_frame_id": 3}]
    with pytest.raises(ValueError, match="'reach'"):
        load_keyframes(written(tmp_path, table), 40)


@pytest.mark.parametrize(
    ("spans", "length", "words"),
    [
        ([(0, 10), (9, 20)], 40, "starts at frame 9, before the one ahead of it ends"),
        ([(20, 30), (0, 10)], 40, "starts at frame 0, before the one ahead of it ends"),
        ([(10, 10)], 40, "ends at frame 10, which is not after its start 10"),
        ([(0, 40)], 40, "keyframe 40 lies outside the episode, whose frames are 0 to 39"),
        ([(-1, 4)], 40, "keyframe -1 lies outside the episode"),
        ([(0, 3.5)], 40, "end_frame_id 3.5, expected a whole number"),
        ([(True, 3)], 40, "start_frame_id True, expected a whole number"),
        ([(None, 3)], 40, "start_frame_id None, expected a whole number"),
        ([("0", 3)], 40, "start_frame_id '0', expected a whole number"),
    ],
)
def test_wrong_subtasks_are_named(tmp_path, spans, length, words):
    with pytest.raises(ValueError, match=words) as caught:
        load_keyframes(written(tmp_path, subtasks(*spans)), length)
    assert "keyframes.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[], {}, "not json", [3], "[{}]"])
def test_other_content_is_refused_in_one_line(tmp_path, content):
    with pytest.raises(ValueError, match=r"keyframes\.json"):
        load_keyframes(written(tmp_path, content), 40)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json does not exist"):
        load_keyframes(tmp_path / "nowhere.json", 40)


def test_a_dataset_is_addressed_by_id_or_index(tmp_path):
    path = written(tmp_path, {"pick-7": [0, 5, 9], "1": [2, 29]})
    keyframes = load_dataset_keyframes(path, {"pick-7": 10, "pick-8": 30, "pick-9": 30})
    assert {name: frames.tolist() for name, frames in keyframes.items()} == {"pick-7": [0, 5, 9], "pick-8": [2, 29]}
    assert all(frames.dtype == np.int64 for frames in keyframes.values())


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"3": [0, 1]}, "no episode '3' in the dataset"),
        ({"a": [0, 1], "0": [0, 1]}, "listed twice"),
        ({"a": [0, 5, 5]}, "keyframe 5 follows 5, keyframes must increase"),
        ({"a": [0, 10]}, "keyframe 10 lies outside the episode, whose frames are 0 to 9"),
        ({"a": [0, 1.5]}, "keyframe 1.5 is no whole number"),
        ({"a": [0]}, "1 keyframes given"),
        ({"a": 3}, "expected a list of frames"),
        ([1, 2], "expected an object"),
    ],
)
def test_wrong_tables_are_named(tmp_path, table, words):
    with pytest.raises(ValueError, match=words):
        load_dataset_keyframes(written(tmp_path, table), {"a": 10, "b": 30})


def test_the_annotations_of_a_real_episode(shared_data):
    path = shared_data / "clear_table" / "episode_001" / "annotated_keyframes.json"
    if not path.is_file():
        pytest.skip("this recording is not here")
    keyframes = load_keyframes(path, 1277)
    assert len(keyframes) == 17 and keyframes[0] == 8 and keyframes[-1] == 1263
    with pytest.raises(ValueError, match="outside the episode"):
        load_keyframes(path, 1200)
