"""Questions in words and pictures to any vision-language model, here or behind chat completions, answered in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from robo_reward.progress.calls import Call, Caller
from robo_reward.progress.models.chat import PATH, data_url, read_message
from robo_reward.progress.models.recent import Recent
from robo_reward.progress.models.vlm_files import Vlm, check_context

T = TypeVar("T")
TEMPERATURE = 0.1
"""Of the second attempt at an answer; the first takes the likeliest text."""
REMEMBERED = 4096
"""Answers that are kept."""


class Turn(NamedTuple):
    """What a user says: texts and pictures (H, W, 3) uint8 in their order."""

    parts: tuple[str | np.ndarray, ...]
    system: str = ""

    @property
    def key(self) -> bytes:
        """Names all of it."""
        sha = hashlib.blake2b(self.system.encode(), digest_size=16)
        for part in self.parts:
            shape, told = ("text", part.encode()) if isinstance(part, str) else (part.shape, part.tobytes())
            sha.update(f"{shape}:{len(told)}:".encode() + told)
        return sha.digest()


class Talker(Protocol):
    """A model that answers in words."""

    def __call__(self, turns: Sequence[Turn], longest: int, temperature: float) -> list[str]:
        """One text of at most `longest` tokens for each turn. A model elsewhere may raise `Unanswered`."""


class Interview:
    """Asks every distinct question once, and once more where the answer does not parse."""

    def __init__(self, talk: Talker) -> None:
        self._talk, self._known = talk, Recent(REMEMBERED)

    def ask(self, turns: Sequence[Turn], parse: Callable[[str], T | None], longest: int) -> list[T | None]:
        """What `parse` makes of each answer, None where neither of two texts says anything."""
        keys = [turn.key for turn in turns]
        distinct = dict(zip(keys, turns, strict=True))
        found: dict[bytes, T | None] = {key: self._known.get(key) for key in distinct}
        for temperature in (0.0, TEMPERATURE):
            open_ = [key for key, answer in found.items() if answer is None]
            if not open_:
                break
            for key, text in zip(open_, self._talk([distinct[k] for k in open_], longest, temperature), strict=True):
                found[key] = parse(text)
                if found[key] is not None:
                    self._known.put(key, found[key], 1)
        return [found[key] for key in keys]


def local_talker(vlm: Vlm, batch: int) -> Talker:
    """A loaded model; `batch` turns in one call."""
    import torch
    from PIL import Image

    processor = vlm.processor

    @torch.inference_mode()
    def some(turns: Sequence[Turn], longest: int, temperature: float) -> list[str]:
        texts = [
            processor.apply_chat_template(_messages(turn, lambda _: {"type": "image"}), tokenize=False,
                                          add_generation_prompt=True)
            for turn in turns
        ]  # fmt: skip
        images = [[Image.fromarray(p) for p in turn.parts if not isinstance(p, str)] for turn in turns]
        inputs = processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")
        inputs = inputs.to(vlm.device)
        check_context(vlm, inputs["input_ids"].shape[1] + longest)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(vlm.model.dtype)
        how = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        with torch.random.fork_rng(devices=[vlm.device] if vlm.device.type == "cuda" else []):
            torch.manual_seed(0)
            try:
                out = vlm.model.generate(**inputs, max_new_tokens=longest, **how)
            except RuntimeError as error:
                if "probability" not in str(error):
                    raise
                return [""] * len(turns)  # logits that are not numbers: nothing was said
        return list(processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True))

    def talk(turns: Sequence[Turn], longest: int, temperature: float) -> list[str]:
        starts = range(0, len(turns), batch)
        return [text for n in starts for text in some(turns[n : n + batch], longest, temperature)]

    return talk


def served_talker(caller: Caller, name: str, said: str | None = None) -> Talker:
    """A model behind chat completions.

    name: what the server is asked for. said: what it called itself when this run began; one that calls itself
    otherwise since has no answer.
    """

    def read(body: bytes) -> str:
        who, text, _ = read_message(body)
        if said not in (None, who):
            raise ValueError(f"it is {who[:80]} that answers now, and this run began with {said}")
        return text

    def body(turn: Turn, longest: int, temperature: float) -> bytes:
        messages = _messages(turn, lambda picture: {"type": "image_url", "image_url": {"url": data_url(picture)}})
        asked = {"model": name, "messages": messages, "max_tokens": longest, "temperature": temperature}
        return json.dumps(asked).encode()

    def talk(turns: Sequence[Turn], longest: int, temperature: float) -> list[str]:
        return caller.ask([Call(PATH, read, partial(body, turn, longest, temperature)) for turn in turns])

    return talk


def ask_own_name(caller: Caller, name: str) -> str:
    """What the server calls the model that it is asked for by this name. Unanswered without one."""
    asked = {"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0.0}
    return caller.ask([Call(PATH, lambda answer: read_message(answer)[0], lambda: json.dumps(asked).encode())])[0]


def _messages(turn: Turn, image: Callable[[np.ndarray], dict[str, object]]) -> list[dict[str, object]]:
    told = [{"type": "text", "text": part} if isinstance(part, str) else image(part) for part in turn.parts]
    user: dict[str, object] = {"role": "user", "content": told}
    return [{"role": "system", "content": [{"type": "text", "text": turn.system}]}, user] if turn.system else [user]
