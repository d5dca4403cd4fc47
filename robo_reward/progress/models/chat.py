"""A vision-language reward model behind chat completions, as vLLM, SGLang and `transformers serve` offer them.

The question is that of the local one (`grm_prompt`), its pictures PNG in data URLs. Where the server tells the
probabilities of tokens, the hop is an expectation over the sampled answer and those that differ from it in one token;
what differs in several, such as sign and digit, a server does not tell. Elsewhere it is what the text says.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_reward.interfaces import Unanswered
from robo_reward.progress.calls import Call, Caller, Refused
from robo_reward.progress.models.grm_prompt import (
    IMAGES,
    MAX_NEW_TOKENS,
    TEMPERATURE,
    messages,
    parse_answer,
    prompt_texts,
    read_distribution,
)
from robo_reward.progress.models.grm_query import Question, checked_frames, questions_of
from robo_reward.progress.models.recent import Recent
from robo_reward.progress.models.remote import Served, write_remote
from robo_reward.progress.tracker import confidence_from_std
from robo_reward.types import HopEstimate, HopQuery

PATH = "/v1/chat/completions"
REMEMBERED = 100_000
"""Answers that are kept: so that nothing is asked twice, and what was answered before another question stayed open."""
URL_BYTES = 64 << 20
"""Of pictures as text that are kept, because each stands in several questions."""
UNKNOWN = 0.5
"""Confidence of a text, which says nothing of its own."""
MASS = 0.5
"""Probability of answers in the right form below which the text is believed instead."""
TOKENS = {"logprobs": True, "top_logprobs": 20}
Answer = tuple[float, float]
"""Hop in [-1, 1], NaN for no answer, and confidence in [0, 1]."""
NOTHING: Answer = (math.nan, 0.0)


class ChatModel:
    """A `ProcessRewardModel` behind a chat server.

    Args:
        caller: where it is; its address ends where /v1 begins.
        settings: the cameras, in the order front, left wrist, right wrist, and as `model_id` what the server called
            itself when this run began; one that calls itself otherwise since has no answer.
        name: what the server is asked for.
    """

    kind = "remote"

    def __init__(self, caller: Caller, settings: Served, name: str) -> None:
        self.caller, self.settings, self.name = caller, settings, name
        text = json.dumps([settings.model_id, prompt_texts("x"), settings.views])
        self.model_id = f"chat-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        self._known, self._urls, self._tokens = Recent(REMEMBERED), Recent(URL_BYTES), True

    def hop(self, query: HopQuery) -> HopEstimate:
        """Answer B pairs, every distinct question once, and once more where the answer does not parse.

        A pair whose answer does not parse has none. Raises ValueError as `checked_frames` and `questions_of`, and
        `Unanswered` when the server fails, or when nothing that it says of all these pairs is an answer.
        """
        asked, pixels = questions_of(query, checked_frames(query.frames, self.settings.views))
        distinct = dict.fromkeys(question for row in asked for question in row)
        answers: dict[Question, Answer] = {question: self._known.get(question) or NOTHING for question in distinct}
        for temperature in (0.0, TEMPERATURE):
            fresh = [question for question, answer in answers.items() if math.isnan(answer[0])]
            if fresh:
                answers |= zip(fresh, self._ask(fresh, pixels, temperature), strict=True)
        if answers and all(math.isnan(hop) for hop, _ in answers.values()):
            raise Unanswered(
                f"reward server {self.caller.url}: nothing that {self.name} says of {len(answers)} questions is "
                "<score>NN%</score>: is it a reward model of this kind?"
            )
        hop, confidence, valid = np.zeros((3, len(query)), np.float32)
        for b, row in enumerate(asked):
            if said := [answers[question] for question in row if not math.isnan(answers[question][0])]:
                hop[b], confidence[b] = np.mean(said, axis=0)
                valid[b] = True
        return HopEstimate(hop, confidence, valid.astype(bool))

    def _ask(self, questions: list[Question], pixels: Mapping[bytes, np.ndarray], temperature: float) -> list[Answer]:
        def calls() -> list[Call[Answer]]:
            return [
                Call(PATH, partial(self._read, question), partial(self._body, question, pixels, temperature))
                for question in questions
            ]

        try:
            return self.caller.ask(calls())
        except Refused as refused:
            if not self._tokens or refused.status not in (400, 422):
                raise
        self._tokens = False  # not every server takes the question for the probabilities of tokens
        return self.caller.ask(calls())

    def _body(self, question: Question, pixels: Mapping[bytes, np.ndarray], temperature: float) -> bytes:
        urls = [self._url(digest, pixels[digest]) for digest in question.images]
        return completion(self.name, question.instruction, urls, temperature, self._tokens)

    def _url(self, digest: bytes, picture: np.ndarray) -> str:
        known: str | None = self._urls.get(digest)
        if known is None:
            known = data_url(picture)
            self._urls.put(digest, known, len(known))
        return known

    def _read(self, question: Question, body: bytes) -> Answer:
        said, answer = read_completion(body)
        if said != self.settings.model_id:
            raise ValueError(f"it is {said[:80]} that answers now, and this run began with {self.settings.model_id}")
        if not math.isnan(answer[0]):
            self._known.put(question, answer, 1)
        return answer

    def save(self, folder: Path) -> None:
        """As `RemoteModel.save`."""
        write_remote(folder, self.caller, self.settings, self.name)


def ask_name(caller: Caller, name: str) -> str:
    """What the server calls the model that it is asked for by this name, by one question. Unanswered without one."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    body = partial(completion, name, "do the task", [data_url(noise)] * IMAGES, 0.0, False)
    return caller.ask([Call(PATH, lambda answer: read_completion(answer)[0], body)])[0]


def completion(name: str, instruction: str, urls: Sequence[str], temperature: float, tokens: bool) -> bytes:
    """A chat request about eight pictures; `tokens`: with the probabilities of the answer's tokens."""
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    asked = {"model": name, "messages": messages(prompt_texts(instruction), images), "max_tokens": MAX_NEW_TOKENS}
    return json.dumps({**asked, "temperature": temperature, **(TOKENS if tokens else {})}).encode()


def read_message(body: bytes) -> tuple[str, str, Any]:
    """Who answers, the text, and what is told of its tokens, None without. ValueError for no chat completion."""
    try:
        found = json.loads(body)
        said, choice = found["model"], found["choices"][0]
        text, told = choice["message"]["content"], choice.get("logprobs")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no chat completion ({str(error)[:80] or type(error).__name__})") from None
    if type(said) is not str or type(text) not in (str, type(None)):
        raise ValueError("no chat completion")
    return said, text or "", told


def read_completion(body: bytes) -> tuple[str, Answer]:
    """Who answers, and what. ValueError for a body that is no chat completion, or has NaN for a probability."""
    said, text, told = read_message(body)
    try:
        places = [] if told is None else [_place(token) for token in told.get("content") or []]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no chat completion ({str(error)[:80] or type(error).__name__})") from None
    hop = parse_answer(text)
    return said, expected_hop(places) or (NOTHING if hop is None else (hop, UNKNOWN))


def expected_hop(places: Sequence[Sequence[tuple[str, float]]]) -> Answer | None:
    """Expectation over an answer and those that differ from it in one token.

    Args:
        places: of every token of the answer, the one that came and then its alternatives, with log-probabilities.

    Returns:
        Hop and confidence; None where too little of the probability lies on answers in the right form.
    """
    texts = [place[0][0] for place in places]
    came = parse_answer("".join(texts))
    if came is None:
        return None
    hops, log_ps, so_far = [], [], 0.0
    for n, ((text, log_p), *others) in enumerate(places):
        for other, other_log_p in others:
            hop = parse_answer("".join([*texts[:n], other, *texts[n + 1 :]])) if other != text else None
            if hop is not None:
                hops.append(hop)
                log_ps.append(so_far + other_log_p)
        so_far += log_p
    read = read_distribution(np.array([[*log_ps, so_far]]), 100 * np.array([*hops, came]))
    if not read.mass_B[0] >= MASS:
        return None
    return float(read.hop_B[0]), float(confidence_from_std(read.std_B)[0])


def _place(told: Any) -> list[tuple[str, float]]:
    place = [(told["token"], told["logprob"]), *((t["token"], t["logprob"]) for t in told.get("top_logprobs") or [])]
    for text, log_p in place:
        if type(text) is not str or type(log_p) not in (int, float) or not log_p <= 1e-3:  # nor is NaN
            raise ValueError(f"a token's log-probability is {log_p}")
    return place


def data_url(picture: np.ndarray) -> str:
    """A picture, uint8 (H, W, 3), as PNG: what the model sees is what was recorded."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
