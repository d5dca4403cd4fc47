"""Supervised fine-tuning of a vision-language reward model on the answers to its own questions.

The loss is the cross-entropy of the answer's tokens and of the token that ends the turn; the question is only read.
Every picture of a batch is looked at once, in whichever slots it stands. Recipe and prompt: Robo-Dopamine
(arXiv 2512.23703, section 3.2.1 and its repository): AdamW, warm-up and cosine, another rate for the vision tower.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from robo_reward.progress.grm_examples import GrmBatch
from robo_reward.progress.models.grm_prompt import (
    ANSWERS,
    MAX_PIXELS,
    MIN_PIXELS,
    answer_text,
    prompt_texts,
    read_distribution,
)
from robo_reward.progress.models.grm_query import Question, digest_of
from robo_reward.progress.models.vlm_files import Vlm
from robo_reward.progress.models.vlm_questions import Asker, question_layout
from robo_reward.progress.ranks import rank, ranks, shared_like, whole

TEXT_LAYERS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""What low-rank adapters are put beside."""


@dataclass(frozen=True)
class TuneSettings:
    """Everything that decides the weights, together with the model to start from and the questions."""

    seed: int = 0
    steps: int = 200
    at_once: int = 4
    """Questions in one pass; a batch of more is added up."""
    learning_rate: float = 1e-5
    vision_learning_rate: float = 5e-7
    """Of the vision tower but for its last layer, which joins it to the language model."""
    warm_up: float = 0.03
    """Share of the steps over which the rates rise; then they fall as a cosine to 0."""
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    lora_rank: int = 16
    """Of adapters beside the language model's layers, all else frozen; 0 trains all weights."""
    lora_alpha: int = 32
    hop_weight: float = 0.0
    """Of the squared error of the expected hop, beside the cross-entropy; for tokenizers with one token an answer."""


class Answering(nn.Module):
    """A model with its questions: batch in, loss out. Its parameters are the model's."""

    def __init__(self, vlm: Vlm, hop_weight: float = 0.0) -> None:
        super().__init__()
        self.model, self.hop_weight = vlm.model, hop_weight
        self._no_split_modules = vlm.model._no_split_modules  # what FSDP keeps together
        self._vlm = vlm
        self._layouts: dict[Any, Any] = {}
        self._answers = [vlm.processor.tokenizer(answer_text(p), add_special_tokens=False)["input_ids"]
                         for p in ANSWERS]  # fmt: skip
        self._end = vlm.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
        if hop_weight and any(len(ids) > 1 for ids in self._answers):
            raise ValueError(
                f"tune.hop_weight={hop_weight:g} needs a tokenizer with one token for each answer, which a model from "
                "scratch has: set it to 0"
            )
        images = vlm.processor.image_processor
        images.size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}

    def forward(self, batch: GrmBatch) -> Tensor:
        """Mean cross-entropy of the answers' tokens, and `hop_weight` times the squared error of the expected hop: its
        distance from the label, or from the interval that the label leaves open."""
        pictures, grids = self._see(batch)
        layouts = [
            self._layout(task, tuple(grids[n] for n in row))
            for task, row in zip(batch.task_B, batch.slot_B8.tolist(), strict=True)
        ]
        answers = [[*self._answers[round(100 * float(hop)) + 100], self._end] for hop in batch.hop_B]
        length = max(len(lay.id_T) + len(a) for lay, a in zip(layouts, answers, strict=True))
        ids = torch.full((len(batch), length), self._padding, dtype=torch.long)
        target = torch.full_like(ids, -100)
        position = torch.zeros(3, *ids.shape, dtype=torch.long)
        for b, (lay, answer) in enumerate(zip(layouts, answers, strict=True)):
            asked, whole = len(lay.id_T), len(lay.id_T) + len(answer)
            ids[b, :asked], ids[b, asked:whole] = lay.id_T, torch.tensor(answer)
            position[:, b, :asked] = lay.position_3T
            position[:, b, asked:whole] = lay.position_3T[:, -1:] + 1 + torch.arange(len(answer))
            target[b, asked - 1 : whole - 1] = ids[b, asked:whole]  # a place predicts the next one
        device = self.model.device
        # Padding stands on the right, where no token of the text looks.
        out = self.model.model(
            input_ids=ids.to(device), position_ids=position.to(device), mm_encoder_outputs={"image": pictures},
            use_cache=False,
        )  # fmt: skip
        said = target >= 0
        logits = self.model.lm_head(out.last_hidden_state[said.to(device)]).float()
        loss = functional.cross_entropy(logits, target[said].to(device))
        if self.hop_weight:
            ids = torch.tensor(self._answers, device=device)[:, 0]
            expected = logits[::2, ids].softmax(-1) @ torch.tensor(ANSWERS, device=device).float() / 100
            low, high = (torch.from_numpy(x).to(device) for x in (batch.low_B, batch.high_B))
            loss = loss + self.hop_weight * ((low - expected).relu() + (expected - high).relu()).square().mean()
        return loss

    @property
    def _padding(self) -> int:
        tokenizer = self._vlm.processor.tokenizer
        return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)

    def _see(self, batch: GrmBatch) -> tuple[Any, list[tuple[int, int, int]]]:
        """What the vision tower says, in the order of the batch's slots, and each picture's patches."""
        from PIL import Image

        images = [Image.fromarray(picture) for picture in batch.pictures]
        inputs = self._vlm.processor.image_processor(images=images, return_tensors="pt")
        grid = inputs["image_grid_thw"]
        values = inputs["pixel_values"].to(self.model.device)
        seen = self.model.model.get_image_features(values, grid.to(self.model.device), return_dict=True)
        slots = batch.slot_B8.ravel().tolist()
        seen.pooler_output = [seen.pooler_output[n] for n in slots]
        if getattr(seen, "deepstack_features", None):
            seen.deepstack_features = [[level[n] for n in slots] for level in seen.deepstack_features]
        return seen, [tuple(g) for g in grid.tolist()]

    def _layout(self, task: str, grids: tuple[tuple[int, int, int], ...]) -> Any:
        key = task, grids
        if key not in self._layouts:
            self._layouts[key] = question_layout(self._vlm, prompt_texts(task), grids)
        return self._layouts[key]


class Tuning:
    """Fine-tuning in progress: `step` by step, saved and restored whole by its tensors.

    With the same model, settings, batches and thread count the weights are the same, also when it was interrupted in
    between. accelerate places it: the GPU with bfloat16 arithmetic where there is one. Several processes, started by
    `accelerate launch`, draw the same batches, and each learns from its share of them.
    """

    def __init__(self, vlm: Vlm, settings: TuneSettings) -> None:
        from accelerate import Accelerator

        self.vlm, self.settings, self._dtype = vlm, settings, vlm.model.dtype
        vlm.model.config.use_cache = False
        if settings.lora_rank:
            self._adapters = with_adapters(vlm.model, settings)
        else:
            self._adapters = None
            vlm.model.float().requires_grad_(True)  # steps of 1e-5 are lost in bfloat16
        cuda = vlm.device.type == "cuda"
        if cuda:
            vlm.model.gradient_checkpointing_enable({"use_reentrant": False})
        vlm.model.train()
        self.accelerator = Accelerator(cpu=not cuda, mixed_precision="bf16" if cuda else "no")
        answering = Answering(vlm, settings.hop_weight)
        optimiser = torch.optim.AdamW(parameter_groups(_trained(answering), settings))
        self._peaks = [group["lr"] for group in optimiser.param_groups]
        self.answering, self.optimiser = self.accelerator.prepare(answering, optimiser)
        self._trained = _trained(self.answering)  # which may be others now

    def step(self, number: int, batch: GrmBatch) -> float | None:
        """Learn from a batch as step `number`, counted from 0; the loss, None where it was not finite: no step then."""
        s = self.settings
        for group, peak in zip(self.optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = peak * schedule(number, s.steps, s.warm_up)
        self.optimiser.zero_grad(set_to_none=True)
        own = range(rank(), len(batch), ranks())
        total = torch.zeros((), device=self.accelerator.device)
        for begin in range(0, len(own), s.at_once):
            part = rows_of(batch, own[begin : begin + s.at_once])
            with self.accelerator.autocast():
                loss = self.answering(part) * (len(part) / len(own))
            self.accelerator.backward(loss)
            total += loss.detach()
        mean = float(self.accelerator.reduce(total, "mean"))
        norm = self.accelerator.clip_grad_norm_(self.answering.parameters(), s.gradient_clip)
        if not (math.isfinite(mean) and bool(torch.isfinite(whole(torch.as_tensor(norm))))):
            return None
        self.optimiser.step()
        return mean

    def state_dict(self) -> dict[str, Tensor]:
        """Trained weights and the optimiser's moments, flat. Of several processes all have to ask for it."""
        state = {f"weight.{name}": whole(p.detach()) for name, p in self._trained.items()}
        for name, p in self._trained.items():
            for key, value in self.optimiser.state.get(p, {}).items():
                state[f"{key}.{name}"] = whole(torch.as_tensor(value))
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave. KeyError for the tensors of another model."""
        with torch.no_grad():
            for name, p in self._trained.items():
                p.copy_(shared_like(state[f"weight.{name}"], p))
                moments = {key: state[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
                           if f"{key}.{name}" in state}  # fmt: skip
                # Its counter of steps stays where AdamW keeps it, on the processor.
                self.optimiser.state[p] = {
                    key: value.clone() if key == "step" else shared_like(value.to(p.device, copy=True), p)
                    for key, value in moments.items()
                }

    def export(self, folder: Path, fresh: Callable[[], Vlm] | None = None) -> Vlm | None:
        """Write the merged model as safetensors, with its processor: a folder like the one that it began from.

        fresh: loads the model that it began from, for several processes, of which the first writes. None in the others.
        """
        state = self.state_dict() if ranks() > 1 else {}
        if rank():
            return None
        answering, adapters = self.accelerator.unwrap_model(self.answering), self._adapters
        if fresh is not None and ranks() > 1:  # nobody may hold all of the trained model
            vlm = fresh()
            adapters = with_adapters(vlm.model, self.settings) if self.settings.lora_rank else None
            answering = Answering(vlm)
            with torch.no_grad():
                for name, p in answering.named_parameters():
                    if f"weight.{name}" in state:
                        p.copy_(state[f"weight.{name}"])
        model = answering.model if adapters is None else adapters.merge_and_unload()
        model.config.use_cache = True
        model.eval().to(self._dtype).save_pretrained(folder, safe_serialization=True)
        self.vlm.processor.save_pretrained(folder)
        return Vlm(model, self.vlm.processor, self.vlm.architecture, self.vlm.weights, self.vlm.precision)


def _trained(answering: nn.Module) -> dict[str, nn.Parameter]:
    """Names as of `Answering`, without what wraps it."""
    return {name.removeprefix("module."): p for name, p in answering.named_parameters() if p.requires_grad}


def with_adapters(model: Any, settings: TuneSettings) -> Any:
    """The model with low-rank adapters put into it, all else frozen."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, lora_dropout=0.0, target_modules=TEXT_LAYERS
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return get_peft_model(model, config)


def parameter_groups(trained: dict[str, nn.Parameter], settings: TuneSettings) -> list[dict[str, Any]]:
    """Vision tower and the rest, each with and without weight decay, which biases and norms are spared."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in trained.items():
        vision = ".visual." in name and ".merger" not in name
        groups.setdefault((vision, p.ndim > 1), []).append(p)
    return [
        {
            "params": members,
            "lr": settings.vision_learning_rate if vision else settings.learning_rate,
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (vision, decays), members in sorted(groups.items(), key=lambda item: item[0])
    ]


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the peak rate at a step: up in a line, then down as a cosine, 0 after the last one."""
    rising = max(1, math.ceil(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def rows_of(batch: GrmBatch, rows: Sequence[int]) -> GrmBatch:
    """Some questions of a batch, with the pictures that they show."""
    slots = batch.slot_B8[list(rows)]
    shown, row = np.unique(slots, return_inverse=True)
    return GrmBatch(
        tuple(batch.pictures[n] for n in shown), row.reshape(slots.shape), tuple(batch.task_B[i] for i in rows),
        *(x[list(rows)] for x in (batch.hop_B, batch.low_B, batch.high_B)),
    )  # fmt: skip


def hop_errors(vlm: Vlm, batches: Sequence[GrmBatch], at_once: int) -> dict[str, float]:
    """Mean |hop - true hop| of questions with an exact answer: the model's expected one, and, beside it, that of the
    best constant, which knows these very answers (their median)."""
    asker = Asker(vlm, batch=at_once)
    said, true = [], []
    for batch in batches:
        digests = [digest_of(picture) for picture in batch.pictures]
        questions = [
            Question(task, tuple(digests[n] for n in row))
            for task, row, exact in zip(batch.task_B, batch.slot_B8.tolist(), batch.exact_B, strict=True) if exact
        ]  # fmt: skip
        pixels = dict(zip(digests, batch.pictures, strict=True))
        said.append(read_distribution(asker.ask(questions, pixels)).hop_B)
        true.append(batch.hop_B[batch.exact_B])
    answer, truth = np.concatenate(said), np.concatenate(true)
    return {
        "hop_mae": float(np.abs(answer - truth).mean()),
        "constant_hop_mae": float(np.abs(np.median(truth) - truth).mean()),
        "questions": len(truth),
    }
