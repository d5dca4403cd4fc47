"""How probable each answer of a closed list is to a vision-language model, for many questions that share pictures.

Three things are computed once and used again: each picture's features, in whichever role it stands; the key-value cache
of the beginning that questions share (instruction and two references; and the three pictures before, where those are a
reference); and the common beginnings of the answers, whose tokens are fed as a tree behind the question, in the same
pass. None of them changes a probability by more than rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from robo_reward.progress.models.answer_trie import AnswerTrie, answer_trie
from robo_reward.progress.models.grm_prompt import (
    ANSWERS,
    IMAGES,
    MAX_PIXELS,
    MIN_PIXELS,
    REFERENCE_IMAGES,
    answer_text,
    messages,
    prompt_texts,
)
from robo_reward.progress.models.grm_query import Question
from robo_reward.progress.models.recent import Recent
from robo_reward.progress.models.vlm_files import Vlm

IMAGE_BATCH = 32
"""Pictures whose features are computed together."""
WINDOW = 8
"""Batches of questions that are sorted so that those of a batch share a beginning of the same length."""
KeyValues = list[tuple[Tensor, Tensor]]


@dataclass
class Work:
    """What has been computed so far."""

    tokens: int = 0
    """Through the language model, padding not counted."""
    attended: int = 0
    """Sum over those of the tokens that each looks at."""
    patches: int = 0
    """Through the vision tower."""
    images: int = 0
    questions: int = 0


@dataclass(frozen=True)
class _Layout:
    """A question's tokens, without its pictures' content."""

    id_T: Int64[Tensor, "T"]
    position_3T: Int64[Tensor, "3 T"]
    image_T: Bool[Tensor, "T"]
    end: tuple[int, ...]
    """Position behind each picture, and behind the last token."""

    def start(self, images: int) -> int:
        """Position behind so many pictures."""
        return self.end[images - 1] if images else 0


@dataclass(frozen=True)
class _Picture:
    feature_Lnd: Tensor
    """What stands in the picture's n places; L - 1 more of them that go into the first layers (DeepStack)."""
    grid: tuple[int, int, int]


@dataclass
class Asker:
    """Asks one model. `reuse=False` computes everything for every question anew, as a call for each of them would."""

    vlm: Vlm
    order: str = "released"
    whole: bool = False
    """Whether every token of an answer counts, see `answer_trie`; slower."""
    batch: int = 8
    """Questions in one pass."""
    reuse: bool = True
    memory: int = 2**30
    """[bytes] for pictures' features, and as much for key-value caches."""
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    work: Work = field(default_factory=Work)

    def __post_init__(self) -> None:
        tokenizer = self.vlm.processor.tokenizer
        self.trie: AnswerTrie = answer_trie([_ids(tokenizer, answer_text(percent)) for percent in ANSWERS], self.whole)
        device = self.vlm.device
        self._node, self._token = (torch.from_numpy(x).to(device) for x in (self.trie.node_AS, self.trie.token_AS))
        self._sees = torch.from_numpy(self.trie.sees_FF)
        self._pictures, self._beginnings, self._layouts = Recent(self.memory), Recent(self.memory), Recent(64)
        images = self.vlm.processor.image_processor
        images.size = {"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels}

    @torch.inference_mode()
    def ask(self, questions: Sequence[Question], pixels: Mapping[bytes, np.ndarray]) -> Float64[np.ndarray, "B A"]:
        """Log-probability of each of `ANSWERS`, not normalised; NaN where the model's numbers are none.

        pixels: digest -> (H, W, 3) uint8, of all pictures. Raises ValueError for a question beyond the context.
        """
        found = np.zeros((len(questions), len(ANSWERS)))
        for begin in range(0, len(questions), WINDOW * self.batch):
            window = range(begin, min(begin + WINDOW * self.batch, len(questions)))
            order = sorted(window, key=lambda i: questions[i].shared) if self.reuse else list(window)
            for chunk in range(0, len(order), self.batch):
                rows = order[chunk : chunk + self.batch]
                found[rows] = self._batch([questions[i] for i in rows], pixels)
        self.work.questions += len(questions)
        return found

    def _batch(self, questions: Sequence[Question], pixels: Mapping[bytes, np.ndarray]) -> Float64[np.ndarray, "B A"]:
        pictures = self._see([digest for q in questions for digest in q.images], pixels)
        seen = [pictures[i * IMAGES : (i + 1) * IMAGES] for i in range(len(questions))]
        layouts = [self._layout(q.instruction, tuple(p.grid for p in s)) for q, s in zip(questions, seen, strict=True)]
        cuts = [q.shared if self.reuse else 0 for q in questions]
        pasts = [self._beginning(*row) for row in zip(questions, layouts, seen, cuts, strict=True)]
        hidden, _ = self._pass(layouts, seen, cuts, [IMAGES + 1] * len(cuts), pasts, tree=True)
        places = len(self.trie.token_F) + 1
        found = []
        for row in hidden[:, -places:]:  # one at a time: a vocabulary of 152,000 takes room
            logits = self.vlm.model.lm_head(row).float()
            log_p = logits[self._node, self._token.clamp(min=0)] - logits.logsumexp(-1)[self._node]
            found.append(log_p.masked_fill(self._token < 0, 0).double().sum(-1))
        return torch.stack(found).cpu().numpy()

    def _see(self, digests: Sequence[bytes], pixels: Mapping[bytes, np.ndarray]) -> list[_Picture]:
        """The features of these pictures; of those that are there twice or remembered, not computed again."""
        if not self.reuse:
            return self._encode([pixels[d] for d in digests])
        found = {d: self._pictures.get(d) for d in dict.fromkeys(digests)}
        fresh = [d for d, picture in found.items() if picture is None]
        for digest, picture in zip(fresh, self._encode([pixels[d] for d in fresh]), strict=True):
            f = picture.feature_Lnd
            self._pictures.put(digest, picture, f.numel() * f.element_size())
            found[digest] = picture
        return [found[d] for d in digests]

    def _encode(self, images: Sequence[np.ndarray]) -> list[_Picture]:
        from PIL import Image

        model, processor = self.vlm.model, self.vlm.processor.image_processor
        found = []
        for begin in range(0, len(images), IMAGE_BATCH):
            chunk = [Image.fromarray(image) for image in images[begin : begin + IMAGE_BATCH]]
            inputs = processor(images=chunk, return_tensors="pt")
            grid = inputs["image_grid_thw"]
            values = inputs["pixel_values"].to(model.device, model.dtype)
            out = model.model.get_image_features(values, grid.to(model.device), return_dict=True)
            levels = [out.pooler_output, *(getattr(out, "deepstack_features", None) or [])]
            for i, shape in enumerate(grid.tolist()):
                found.append(_Picture(torch.stack([level[i] for level in levels]), tuple(shape)))
            self.work.patches += len(values)
        self.work.images += len(images)
        return found

    def _layout(self, instruction: str, grids: tuple[tuple[int, int, int], ...]) -> _Layout:
        known = self._layouts.get((instruction, grids))
        if known is None:
            known = question_layout(self.vlm, prompt_texts(instruction, self.order), grids, self.trie)
            self._layouts.put((instruction, grids), known, 1)
        return known

    def _beginning(self, question: Question, layout: _Layout, seen: list[_Picture], images: int) -> KeyValues | None:
        """The key-value cache of a question up to behind so many pictures."""
        if not images:
            return None
        key = (question.instruction, question.images[:images])
        known = self._beginnings.get(key)
        if known is None:
            before = REFERENCE_IMAGES if images > REFERENCE_IMAGES else 0
            past = self._beginning(question, layout, seen, before)
            _, cache = self._pass([layout], [seen], [before], [images], [past], tree=False)
            known = [(layer.keys, layer.values) for layer in cache.layers]
            self._beginnings.put(key, known, sum(2 * k.numel() * k.element_size() for k, _ in known))
        return known

    def _pass(
        self, layouts: Sequence[_Layout], seen: Sequence[Sequence[_Picture]], begins: Sequence[int],
        ends: Sequence[int], pasts: Sequence[KeyValues | None], tree: bool,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """Last hidden states (B, longest part + answers' tokens, d) of the parts between so many pictures, padded on
        the left, and the key-value cache behind them."""
        model, device = self.vlm.model.model, self.vlm.device
        fed = len(self.trie.token_F) if tree else 0
        spans = [(lay.start(b), lay.start(e)) for lay, b, e in zip(layouts, begins, ends, strict=True)]
        old = [0 if past is None else past[0][0].shape[2] for past in pasts]
        rows, new, known = len(layouts), max(e - b for b, e in spans), max(old)
        ids = torch.zeros(rows, new + fed, dtype=torch.long)
        position = torch.zeros(3, rows, new + fed, dtype=torch.long)
        image = torch.zeros(rows, new + fed, dtype=torch.bool)
        mask = torch.zeros(rows, new + fed, known + new + fed, dtype=torch.bool)
        mask[:, range(new + fed), range(known, known + new + fed)] = True  # padding looks at itself, or it were NaN
        for r, (layout, (begin, end)) in enumerate(zip(layouts, spans, strict=True)):
            pad = new - (end - begin)
            ids[r, pad:new], image[r, pad:new] = layout.id_T[begin:end], layout.image_T[begin:end]
            position[:, r, pad:new] = layout.position_3T[:, begin:end]
            mask[r, pad:, known - old[r] : known] = True
            mask[r, pad:new, known + pad : known + new] = torch.ones(new - pad, new - pad, dtype=torch.bool).tril()
            self.work.tokens += new - pad + fed
            self.work.attended += (new - pad + fed) * old[r] + (new - pad) * (new - pad + 1) // 2
            if tree:
                ids[r, new:] = torch.from_numpy(self.trie.token_F)
                position[:, r, new:] = layout.position_3T[:, -1:] + 1 + torch.from_numpy(self.trie.depth_F)
                mask[r, new:, known + pad : known + new] = True
                mask[r, new:, known + new :] = self._sees
                self.work.attended += fed * (new - pad) + int(self.trie.sees_FF.sum())
        image = image.to(device)
        features = torch.cat([p.feature_Lnd for s, b, e in zip(seen, begins, ends, strict=True) for p in s[b:e]], dim=1)
        embeds = model.get_input_embeddings()(ids.to(device))
        embeds = embeds.masked_scatter(image[..., None], features[0].to(embeds.dtype))
        deepstack = (
            {"visual_pos_masks": image, "deepstack_visual_embeds": list(features[1:])} if len(features) > 1 else {}
        )
        cache = _joined(pasts, known) if known else DynamicCache()
        out = model.language_model(
            inputs_embeds=embeds, position_ids=position.to(device), attention_mask=mask[:, None].to(device),
            past_key_values=cache, use_cache=True, **deepstack,
        )  # fmt: skip
        return out.last_hidden_state, cache


def question_layout(
    vlm: Vlm, texts: Sequence[str], grids: Sequence[tuple[int, int, int]], trie: AnswerTrie | None = None
) -> _Layout:
    """A question's tokens as the model's own template and processor make them.

    grids: of each picture, patches in time, height and width. Raises ValueError beyond the context.
    """
    processor, config = vlm.processor, vlm.model.config
    text = processor.apply_chat_template(messages(texts), tokenize=False, add_generation_prompt=True)
    pieces = text.split(processor.image_token)
    if len(pieces) != IMAGES + 1:
        raise ValueError(
            f"the question holds {len(pieces) - 1} places for pictures in place of {IMAGES}: the instruction contains "
            f"{processor.image_token}, or the model's chat template leaves pictures out"
        )
    merged = processor.image_processor.merge_size**2
    ids, image, end = _ids(processor.tokenizer, pieces[0]), [0] * len(_ids(processor.tokenizer, pieces[0])), []
    for (t, h, w), piece in zip(grids, pieces[1:], strict=True):
        places, after = t * h * w // merged, _ids(processor.tokenizer, piece)
        ids += [processor.image_token_id] * places
        image += [1] * places
        end.append(len(ids))
        ids += after
        image += [0] * len(after)
    longest = config.get_text_config().max_position_embeddings
    length = len(ids) + (int(trie.depth_F.max(initial=-1)) + 1 if trie is not None else 0)
    if length > longest:
        raise ValueError(
            f"the question has {length} tokens, the model's context {longest}: shorten the instruction "
            f"({len(texts[0])} characters with what stands before it), or lower reward.max_pixels"
        )
    position, _ = vlm.model.model.get_rope_index(
        torch.tensor([ids]), mm_token_type_ids=torch.tensor([image]), image_grid_thw=torch.tensor(grids)
    )
    return _Layout(torch.tensor(ids), position[:, 0], torch.tensor(image).bool(), (*end, len(ids)))


def _joined(pasts: Sequence[KeyValues | None], length: int) -> Any:
    """One cache of rows of different lengths, padded on the left."""
    rows = [past for past in pasts if past is not None]
    layers = []
    for layer in zip(*rows, strict=True):
        keys, values = zip(*layer, strict=True)
        layers.append(tuple(torch.cat([_padded(x, length) for x in side]) for side in (keys, values)))
    return DynamicCache(layers)


def _padded(x_1htd: Tensor, length: int) -> Tensor:
    missing = length - x_1htd.shape[2]
    return functional.pad(x_1htd, (0, 0, missing, 0)) if missing else x_1htd


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
