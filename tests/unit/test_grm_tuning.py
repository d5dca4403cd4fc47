"""Fine-tuning of tiny random vision-language models: what the loss sees and changes, and that it goes on exactly."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from robo_reward.data.torchvision_cure import cure
from robo_reward.progress.grm_examples import GrmBatch
from robo_reward.progress.grm_tuning import (
    Answering,
    TuneSettings,
    Tuning,
    hop_errors,
    parameter_groups,
    rows_of,
    schedule,
)
from robo_reward.progress.models.grm import GrmSettings, load_grm
from robo_reward.progress.models.grm_prompt import MAX_PIXELS, MIN_PIXELS, answer_text, messages, prompt_texts
from robo_reward.progress.models.small_vlm import SmallSize, build_small_vlm, standardise
from robo_reward.progress.models.vlm_files import Vlm, load_vlm
from robo_reward.runtime.checkpoint import Checkpoint
from robo_reward.testing.tiny_vlm import build_vlm
from robo_reward.types import HopQuery

cure()
TASK = "push the red block"
FULL = TuneSettings(steps=4, at_once=2, learning_rate=1e-3, vision_learning_rate=1e-3, lora_rank=0)
ADAPTERS = TuneSettings(steps=4, at_once=2, learning_rate=1e-2, lora_rank=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return {name: build_vlm(folder / name, name) for name in ("qwen2_5_vl", "qwen3_vl")}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    size = SmallSize(hidden=32, layers=1, vision_hidden=32, vision_layers=1, patch=28, merge=4)
    return build_small_vlm(tmp_path_factory.mktemp("small"), [TASK], size)


def questions(count: int = 3, seed: int = 0) -> GrmBatch:
    rng = np.random.default_rng(seed)
    pictures = tuple(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(5))
    hop = np.linspace(-0.8, 0.8, count).astype(np.float32)
    return GrmBatch(pictures, rng.integers(0, 5, (count, 8)), (TASK,) * count, hop, hop, hop)


@pytest.mark.parametrize("architecture", ["qwen2_5_vl", "qwen3_vl"])
def test_the_loss_is_that_of_the_models_own_processor_and_forward(tiny, architecture):
    """Shared pictures, cached layouts and padded answers change nothing."""
    from PIL import Image

    vlm, batch = load_vlm(str(tiny[architecture]), device="cpu"), questions(2)
    with torch.no_grad():
        ours = float(Answering(vlm)(batch))
    text = vlm.processor.apply_chat_template(messages(prompt_texts(TASK)), tokenize=False, add_generation_prompt=True)
    total, count = 0.0, 0
    for row, hop in zip(batch.slot_B8, batch.hop_B, strict=True):
        images = [Image.fromarray(batch.pictures[n]) for n in row]
        answer = answer_text(round(100 * float(hop))) + "<|im_end|>"
        size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
        vlm.processor.image_processor.size = size
        inputs = vlm.processor(text=[text + answer], images=images, return_tensors="pt")
        length = len(vlm.processor.tokenizer(answer, add_special_tokens=False)["input_ids"])
        with torch.no_grad():
            logits = vlm.model(**inputs).logits[0, -length - 1 : -1]
        total += float(torch.nn.functional.cross_entropy(logits, inputs["input_ids"][0, -length:], reduction="sum"))
        count += length
    assert ours == pytest.approx(total / count, rel=1e-4)


def run(source: Path, settings: TuneSettings, steps: range, checkpoints: Path | None = None) -> tuple[Tuning, list]:
    tuning = Tuning(load_vlm(str(source), device="cpu"), settings)
    if checkpoints is not None:
        checkpoint = Checkpoint(checkpoints, quiet=True)
        checkpoint.tuning = tuning
        checkpoint.load()
    losses = [tuning.step(n, questions(seed=n)) for n in steps]
    if checkpoints is not None:
        checkpoint.save()
    return tuning, losses


@pytest.mark.parametrize(
    "architecture, settings", [("qwen2_5_vl", FULL), ("qwen2_5_vl", ADAPTERS), ("qwen3_vl", ADAPTERS)], ids=str
)
def test_interrupted_and_resumed_fine_tuning_ends_in_the_same_bits(tiny, tmp_path, architecture, settings):
    whole, losses = run(tiny[architecture], settings, range(4))
    run(tiny[architecture], settings, range(2), tmp_path / "checkpoints")
    resumed, last = run(tiny[architecture], settings, range(2, 4), tmp_path / "checkpoints")
    assert last == losses[2:]
    whole.export(tmp_path / "whole")
    resumed.export(tmp_path / "resumed")
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "resumed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != (tiny[architecture] / "model.safetensors").read_bytes()


def test_adapters_are_merged_into_a_model_that_answers_hops(tiny, tmp_path):
    tuning, _ = run(tiny["qwen2_5_vl"], ADAPTERS, range(4))
    batch = questions()
    with torch.no_grad():
        before = float(tuning.answering.eval()(batch))
    tuning.export(tmp_path / "model")
    merged = load_vlm(str(tmp_path / "model"), device="cpu")
    with torch.no_grad():
        assert float(Answering(merged)(batch)) == pytest.approx(before, abs=1e-4)
    start = load_vlm(str(tiny["qwen2_5_vl"]), device="cpu").model.state_dict()
    changed = {name for name, tensor in merged.model.state_dict().items() if not torch.equal(tensor, start[name])}
    assert changed and all("language_model.layers" in name and "proj" in name for name in changed)
    model = load_grm(GrmSettings(str(tmp_path / "model"), views=("front",), image_size=64, device="cpu"))
    frames = {"front": np.stack(batch.pictures[:4])}
    ask = [np.array([n]) for n in (2, 3, 0, 1)]
    assert abs(float(model.hop(HopQuery(frames, *ask, (TASK,))).hop_B[0])) <= 1


def test_batches_are_added_up_to_the_same_step(tiny, tmp_path):
    """Answers of equal length: a step on four questions at once is a step on twice two."""
    from dataclasses import replace

    batch = rows_of(questions(4), range(4))
    tuned = []
    for at_once in (4, 2):
        tuning = Tuning(load_vlm(str(tiny["qwen2_5_vl"]), device="cpu"), replace(FULL, at_once=at_once))
        loss = tuning.step(0, batch)
        tuned.append((loss, torch.cat([p.detach().flatten() for p in tuning.answering.parameters()])))
    assert tuned[0][0] == pytest.approx(tuned[1][0], rel=1e-4)
    assert torch.allclose(tuned[0][1], tuned[1][1], atol=5e-4)


def test_the_vision_tower_has_a_rate_of_its_own_and_norms_no_decay(tiny):
    model = load_vlm(str(tiny["qwen2_5_vl"]), device="cpu").model
    named = dict(model.named_parameters())
    groups = parameter_groups(named, TuneSettings(learning_rate=1e-5, vision_learning_rate=5e-7, weight_decay=0.01))
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert len(rates) == len(named)
    found = {name: rates[id(p)] for name, p in named.items()}
    assert found["model.visual.blocks.0.attn.qkv.weight"] == (5e-7, 0.01)
    assert found["model.visual.blocks.0.norm1.weight"] == (5e-7, 0.0)
    assert found["model.visual.merger.mlp.0.weight"] == (1e-5, 0.01)
    assert found["model.language_model.layers.0.self_attn.q_proj.weight"] == (1e-5, 0.01)


def test_the_rate_rises_then_falls_to_nothing():
    rates = [schedule(n, 100, 0.03) for n in range(100)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1]) and max(rates) == 1
    assert all(a >= b for a, b in zip(rates[3:], rates[4:], strict=False)) and rates[-1] < 1e-3
    assert schedule(0, 1, 0.5) == 1


def test_a_loss_that_is_not_finite_changes_nothing(tiny):
    tuning, _ = run(tiny["qwen2_5_vl"], FULL, range(1))
    before = {name: p.clone() for name, p in tuning.state_dict().items()}
    norm = tuning.vlm.model.model.language_model.norm.weight
    kept = norm.detach().clone()
    with torch.no_grad():
        norm[0] = math.nan
    assert tuning.step(1, questions()) is None
    with torch.no_grad():
        norm.copy_(kept)
    after = tuning.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_small_model_from_scratch_has_one_token_an_answer_and_learns_it(small):
    vlm = load_vlm(str(small), device="cpu")
    ids = [vlm.processor.tokenizer(answer_text(p), add_special_tokens=False)["input_ids"] for p in range(-100, 101)]
    assert {len(i) for i in ids} == {1} and len({i[0] for i in ids}) == 201
    settings = TuneSettings(
        steps=80, at_once=8, learning_rate=5e-3, vision_learning_rate=5e-3, warm_up=0.1, lora_rank=0, hop_weight=10.0
    )
    batch = questions(8)
    tuning = Tuning(vlm, settings)
    losses = [tuning.step(n, batch) for n in range(80)]
    assert losses[-1] < losses[0] / 4
    errors = hop_errors(Vlm(vlm.model.eval(), vlm.processor, vlm.architecture, "", "float32"), [batch], 8)
    assert errors["hop_mae"] < errors["constant_hop_mae"] / 2 and errors["questions"] == 8


def test_the_expected_hop_needs_one_token_an_answer(tiny):
    with pytest.raises(ValueError, match="tune.hop_weight=10 needs a tokenizer"):
        Answering(load_vlm(str(tiny["qwen2_5_vl"]), device="cpu"), 10.0)


def test_standardising_begins_with_what_varies_within_a_camera(small):
    """Two cameras of pictures that differ by a grey level or two each."""
    vlm, rng = load_vlm(str(small), device="cpu"), np.random.default_rng(0)
    Answering(vlm)
    scenes = {v: rng.integers(40, 200, (56, 56, 3)) for v in ("front", "wrist")}
    pictures = {v: [np.clip(s + rng.integers(-2, 3, s.shape), 0, 255).astype(np.uint8) for _ in range(40)]
                for v, s in scenes.items()}  # fmt: skip
    seen = []
    hook = vlm.model.model.visual.merger.mlp[0].register_forward_hook(lambda *x: seen.append(x[2].detach()))

    def spread() -> float:
        seen.clear()
        batch = [pictures["front"][n] for n in range(40)]
        inputs = vlm.processor.image_processor(images=batch, return_tensors="pt")
        vlm.model.model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"], return_dict=True)
        return float(seen[0].std(0).mean())

    before = spread()
    standardise(vlm, pictures, components=16)
    assert before < 0.1 < 0.5 < spread() < 2
    hook.remove()
