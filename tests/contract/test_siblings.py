"""Other pretrained reward models: their published questions and what becomes of answers, with tiny random models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from robo_reward.data.torchvision_cure import cure
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.models import contrasting, robometer, roboreward, topreward, vlm_rm
from robo_reward.progress.models.sibling import Clip, SiblingModel, SiblingSettings, load_sibling
from robo_reward.progress.models.vlm_files import load_vlm
from robo_reward.progress.models.vlm_video import continuation_log_p, video_turn
from robo_reward.testing.tiny_clip import build_clip
from robo_reward.testing.tiny_vlm import build_vlm
from robo_reward.types import HopQuery

cure()
TASK = "push the red block"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    qwen, clip = build_vlm(root / "qwen", "qwen3_vl"), build_clip(root / "clip")
    return {"roboreward": qwen, "topreward": qwen, "robometer": with_heads(root / "robometer"), "vlm_rm": clip,
            "contrasting": clip}  # fmt: skip


def with_heads(folder: Path, bins: int = 10) -> Path:
    """A random model with the released one's extra tokens and heads, its weights where the release has them."""
    vlm = load_vlm(str(build_vlm(folder, "qwen3_vl")), device="cpu")
    vlm.processor.tokenizer.add_tokens(list(robometer.TOKENS), special_tokens=True)
    vlm.model.resize_token_embeddings(len(vlm.processor.tokenizer))
    torch.manual_seed(1)
    heads = {"progress_head": robometer.head(32, bins), "success_head": robometer.head(32, 1),
             "preference_head": robometer.head(32, 1)}  # fmt: skip
    more = {f"{name}.{key}": 3 * value for name, head in heads.items() for key, value in head.state_dict().items()}
    vlm.model.save_pretrained(folder, state_dict=vlm.model.state_dict())
    vlm.processor.save_pretrained(folder)
    file = folder / "model.safetensors"
    save_file({**load_file(file), **more}, file, metadata={"format": "pt"})
    return folder


def query(pairs: list[tuple[int, int]], count: int = 5) -> HopQuery:
    frames = np.random.default_rng(0).integers(0, 255, (count, 48, 48, 3), dtype=np.uint8)
    before, after = np.array(pairs).T
    none = np.zeros(len(pairs), np.int64)
    return HopQuery({"front": frames}, before, after, none, none + 1, (TASK,) * len(pairs))


@pytest.mark.parametrize("kind", ["roboreward", "topreward", "robometer", "vlm_rm", "contrasting"])
def test_hops_are_those_between_the_values_of_two_moments(folders, kind, tmp_path):
    model = load_sibling(SiblingSettings(kind, str(folders[kind]), device="cpu"))
    asked = query([(0, 2), (2, 3), (3, 2), (2, 2)])
    found = model.hop(asked)
    frames = asked.frames["front"]
    value = np.clip(model._score([Clip(frames[[0, n]], TASK) for n in (0, 2, 3)]), 0, 1)
    assert len(set(value.tolist())) == 3
    expected = hop_from_potentials(value[[0, 1, 2, 1]], value[[1, 2, 1, 1]])
    assert found.valid_B.all() and found.hop_B == pytest.approx(expected, abs=1e-5)
    model.save(tmp_path)
    again = SiblingModel.load(tmp_path)
    assert again.model_id == model.model_id
    assert again.hop(asked).hop_B.tobytes() == found.hop_B.tobytes()


def test_a_picture_that_shows_nothing_has_no_answer(folders):
    model = load_sibling(SiblingSettings("vlm_rm", str(folders["vlm_rm"]), device="cpu"))
    asked = query([(0, 2), (2, 3)])
    asked.frames["front"][3] = 7
    assert model.hop(asked).valid_B.tolist() == [True, False]


@pytest.mark.parametrize("kind", ["roboreward", "topreward", "robometer"])
def test_a_question_beyond_the_context_and_pictures_of_no_use_are_refused(folders, kind):
    model = load_sibling(SiblingSettings(kind, str(folders[kind]), device="cpu"))
    asked = query([(0, 2)])
    with pytest.raises(ValueError, match="tokens, the model's context 4096: shorten the instruction"):
        model.hop(replace(asked, instruction_B=("x " * 9000,)))
    for side, told in ((1, "1 x 1 pixels"), (4320, "4320 x 4320 pixels")):
        with pytest.raises(ValueError, match=f"{told}, expected sides of 28 to 4096"):
            model.hop(replace(asked, frames={"front": np.zeros((5, side, side, 3), np.uint8)}))
    with pytest.raises(ValueError, match="0 views: cameras"):
        model.hop(replace(asked, frames={"top": asked.frames["front"]}))


def test_weights_that_changed_are_noticed(folders, tmp_path):
    model = load_sibling(SiblingSettings("vlm_rm", str(folders["vlm_rm"]), device="cpu"))
    model.save(tmp_path)
    path = tmp_path / "sibling.json"
    path.write_text(path.read_text().replace(model.weights[0], "0" * 12))
    with pytest.raises(ValueError, match="not the weights"):
        SiblingModel.load(tmp_path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a description"):
        SiblingModel.load(tmp_path)


def test_clip_is_asked_for_by_name(folders):
    with pytest.raises(ValueError, match="architecture 'qwen3_vl', and this reward model asks CLIP"):
        load_sibling(SiblingSettings("contrasting", str(folders["roboreward"]), device="cpu"))


# ---- RoboReward ----


def test_roboreward_asks_as_the_released_weights_expect():
    lines = roboreward.PROMPT.replace("{task}", TASK).splitlines()
    assert lines[0].endswith("discrete progress score reward (1,2,3,4,5) for the robot in the video in the format: "
                             "ANSWER: <score>")  # fmt: skip
    assert [line[:4] for line in lines[2:7]] == [f"{grade} - " for grade in range(1, 6)]
    assert lines[-2:] == ["", f"Task: {TASK}"]
    assert roboreward.answer_text(3) == "ANSWER: 3"


def test_roborewards_value_is_the_expected_grade():
    assert roboreward.expected_value(np.log([1.0, 1e-9, 1e-9, 1e-9, 1e-9])) == pytest.approx(0, abs=1e-6)
    assert roboreward.expected_value(np.log([1e-9, 1e-9, 1e-9, 1e-9, 0.2])) == pytest.approx(1, abs=1e-6)
    assert roboreward.expected_value(np.array([-1.0] * 5)) == 0.5


def test_the_video_stands_before_the_question(folders):
    vlm = load_vlm(str(folders["roboreward"]), device="cpu")
    text = video_turn(vlm, "what is it?")
    assert text.index("<|video_pad|>") < text.index("what is it?") < text.index("<|im_start|>assistant")


def test_continuations_are_scored_as_the_models_own_forward_does(folders):
    vlm = load_vlm(str(folders["roboreward"]), device="cpu")
    frames = np.random.default_rng(1).integers(0, 255, (2, 48, 48, 3), dtype=np.uint8)
    text = video_turn(vlm, "what is it?")
    ids = [vlm.processor.tokenizer(f"ANSWER: {g}", add_special_tokens=False)["input_ids"] for g in (1, 4)]
    found = continuation_log_p(vlm, frames, text, ids, 1.0)
    clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
    meta = {"fps": 1.0, "frames_indices": [0, 1], "total_num_frames": 2}
    for tokens, log_p in zip(ids, found, strict=True):
        whole = text + vlm.processor.tokenizer.decode(tokens)
        inputs = vlm.processor(text=[whole], videos=[clip], video_metadata=[meta], do_sample_frames=False,
                               return_tensors="pt")  # fmt: skip
        assert inputs["input_ids"][0, -len(tokens) :].tolist() == tokens
        with torch.no_grad():
            logits = vlm.model(**inputs).logits[0, -2].double()
        assert log_p == pytest.approx(float(logits.log_softmax(-1)[tokens[-1]]), abs=1e-4)


# ---- TOPReward ----


def test_topreward_leaves_the_users_turn_open(folders):
    vlm = load_vlm(str(folders["topreward"]), device="cpu")
    text = topreward.prompt(vlm, TASK)
    assert text.startswith("<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>The above video shows a robot")
    assert text.endswith(
        f"completes the following task: {TASK} Decide whether the above statement is True or not. The answer is:"
    )
    assert "<|im_end|>" not in text and topreward.TRUE == " True"


def test_toprewards_values_are_probabilities_that_episodes_share(folders):
    """No scaling within an episode: the same moment has the same value wherever it is asked about."""
    model = load_sibling(SiblingSettings("topreward", str(folders["topreward"]), device="cpu"))
    frames = query([(0, 1)]).frames["front"]
    alone = model._score([Clip(frames[[0, 2]], TASK)])
    beside = model._score([Clip(frames[[0, 3]], TASK), Clip(frames[[0, 2]], TASK)])
    assert 0 < alone[0] < 1 and alone[0] == pytest.approx(beside[1], abs=1e-9)


# ---- Robometer ----


def test_robometer_shows_a_token_behind_every_picture(folders):
    vlm = load_vlm(str(folders["robometer"]), device="cpu")
    text = robometer.text_of(vlm, Clip(np.zeros((2, 48, 48, 3), np.uint8), TASK))
    shown = "<|vision_start|><|image_pad|><|vision_end|><|prog_token|>"
    asked = robometer.PROMPT.replace("{task}", TASK)
    assert text == f"<|im_start|>user\n{asked}{shown}{shown}<|im_end|>\n"
    assert asked.startswith(
        f"The task for the robot is '{TASK}'. Given the trajectory video, predict the task progress"
    )
    assert asked.endswith("If the robot is not performing the same task, predict 0 progress.")


def test_robometers_heads_read_the_last_pictures_token(folders):
    folder = folders["robometer"]
    vlm, heads = load_vlm(str(folder), device="cpu"), robometer.load_heads(folder, 32)
    frames = query([(0, 1)]).frames["front"]
    clip, other = Clip(frames[[0, 2]], TASK), Clip(frames[[0, 3]], TASK)
    progress, success = robometer.progress_and_success(vlm, heads, clip)
    assert 0 < progress < 1 and 0 < success < 1
    assert (progress, success) != robometer.progress_and_success(vlm, heads, other)
    images = list(frames[[0, 2]])
    inputs = vlm.processor(text=[robometer.text_of(vlm, clip)], images=images, return_tensors="pt")
    with torch.no_grad():
        hidden = vlm.model(**inputs, output_hidden_states=True).hidden_states[-1][0]
    weights = load_file(folder / "model.safetensors")
    at = inputs["input_ids"][0].tolist()
    last = hidden[len(at) - 1 - at[::-1].index(vlm.processor.tokenizer.convert_tokens_to_ids("<|prog_token|>"))]
    first = torch.nn.functional.linear(last, weights["success_head.0.weight"], weights["success_head.0.bias"])
    inner = torch.nn.functional.layer_norm(
        first, (16,), weights["success_head.1.weight"], weights["success_head.1.bias"]
    )
    logit = torch.nn.functional.gelu(inner) @ weights["success_head.4.weight"][0] + weights["success_head.4.bias"][0]
    assert success == pytest.approx(float(logit.sigmoid()), abs=1e-5)
    model = load_sibling(SiblingSettings("robometer", str(folder), device="cpu"))
    assert model._score([clip])[0] == pytest.approx((progress + success) / 2, abs=1e-6)


def test_robometers_progress_is_the_mean_over_even_bins(folders):
    folder = folders["robometer"]
    vlm, heads = load_vlm(str(folder), device="cpu"), robometer.load_heads(folder, 32)
    clip = Clip(query([(0, 1)]).frames["front"][[0, 2]], TASK)
    with torch.no_grad():
        heads["progress_head"][4].weight.zero_()
        heads["progress_head"][4].bias[:] = torch.tensor([-99.0] * 3 + [0.0] + [-99.0] * 5 + [0.0])
    assert robometer.progress_and_success(vlm, heads, clip)[0] == pytest.approx((3 / 9 + 1) / 2)


def test_heads_that_say_no_number_have_no_answer(folders, monkeypatch):
    monkeypatch.setattr(robometer, "progress_and_success", lambda *_: (np.nan, 0.5))
    model = load_sibling(SiblingSettings("robometer", str(folders["robometer"]), device="cpu"))
    assert not model.hop(query([(0, 2)])).valid_B.any()


def test_a_model_without_robometers_heads_is_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="no room for <|prog_token|>"):
        load_sibling(SiblingSettings("robometer", str(folders["roboreward"]), device="cpu"))
    with pytest.raises(ValueError, match="no progress_head of Robometer among its weights"):
        robometer.load_heads(folders["roboreward"], 32)


# ---- CLIP ----


def unit(*values: float) -> np.ndarray:
    return np.array(values) / np.linalg.norm(values)


def test_vlm_rms_reward_is_one_at_the_goal_and_clips_similarity_without_projection():
    goal, baseline, state = unit(1, 0, 0), unit(0, 1, 0), unit(1, 1, 1)
    assert vlm_rm.projected_reward(goal[None], goal, baseline)[0] == pytest.approx(1)
    assert vlm_rm.projected_reward(state[None], goal, baseline, 0.0)[0] == pytest.approx(state @ goal)


def test_vlm_rms_projection_leaves_out_what_does_not_tell_goal_from_baseline():
    goal, baseline = unit(1, 0, 0), unit(0, 1, 0)
    plain, odd = unit(1, 1, 0), unit(1, 1, 1)
    far = vlm_rm.projected_reward(np.stack([plain, odd]), goal, baseline, 0.0)
    along = (goal - baseline) / np.linalg.norm(goal - baseline)
    only = vlm_rm.projected_reward(np.stack([plain, odd]), goal, baseline, 1.0)
    assert only == pytest.approx([1 - ((s - goal) @ along) ** 2 / 2 for s in (plain, odd)])
    assert far[0] - far[1] > only[0] - only[1]


def test_contrasting_goals_subtract_the_negative_ones_similarity():
    good, bad, state = unit(1, 0), unit(0, 1), unit(3, 4)
    assert contrasting.contrast(np.stack([state, good]), good, bad) == pytest.approx([-0.2, 1.0])


def test_the_description_names_model_and_settings(folders, tmp_path):
    settings = SiblingSettings("contrasting", str(folders["contrasting"]), device="cpu", baseline="an empty table")
    model = load_sibling(settings)
    model.save(tmp_path)
    assert json.loads((tmp_path / "sibling.json").read_text())["settings"]["baseline"] == "an empty table"
    other = load_sibling(SiblingSettings("contrasting", str(folders["contrasting"]), device="cpu"))
    assert other.model_id != model.model_id
