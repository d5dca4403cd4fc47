"""All answers of a closed list as one tree of tokens, so that a model is asked about their common beginnings once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

PROMPT = 0
"""The node before any token of an answer: what the prompt's last token predicts."""


@dataclass(frozen=True)
class AnswerTrie:
    """F tokens to feed after the prompt, parents first; node n > 0 is what the model predicts after token n - 1.

    The probability of answer a is the product over its steps s of p(token_AS[a, s] | node_AS[a, s]).
    """

    token_F: Int64[np.ndarray, "F"]
    depth_F: Int64[np.ndarray, "F"]
    """Tokens between the prompt and this one."""
    sees_FF: Bool[np.ndarray, "F F"]
    """Which of the fed tokens stand on the way to this one, itself among them."""
    node_AS: Int64[np.ndarray, "A S"]
    token_AS: Int64[np.ndarray, "A S"]
    """-1 behind an answer's last step."""


def answer_trie(answers: Sequence[Sequence[int]], whole: bool = False) -> AnswerTrie:
    """The tree of these answers.

    Args:
        answers: token ids of each answer; none may be the beginning of another.
        whole: count every token of an answer; by default only those up to where it differs from all others, since
            what follows then, such as `%</score>`, says nothing more.

    Raises:
        ValueError: an answer that is empty, there twice, or the beginning of another.
    """
    shared = _lengths_shared(answers)
    for answer, length in zip(answers, shared, strict=True):
        if length >= len(answer):
            raise ValueError(f"answer {list(answer)} is empty or also begins another one: the tokenizer cannot be used")
    nodes: dict[tuple[int, ...], int] = {(): PROMPT}
    steps = []
    for answer, length in zip(answers, shared, strict=True):
        last = len(answer) if whole else length + 1
        path = []
        for i in range(last):
            path.append((nodes.setdefault(tuple(answer[:i]), len(nodes)), answer[i]))
        steps.append(path)
    node_AS = np.zeros((len(answers), max(map(len, steps))), np.int64)
    token_AS = np.full_like(node_AS, -1)
    for a, path in enumerate(steps):
        node_AS[a, : len(path)], token_AS[a, : len(path)] = zip(*path, strict=True)
    fed = list(nodes)[1:]
    sees = np.eye(len(fed), dtype=bool)
    for n, node in enumerate(fed):
        if len(node) > 1:
            sees[n] |= sees[nodes[node[:-1]] - 1]  # parents come first
    return AnswerTrie(
        np.array([p[-1] for p in fed], np.int64), np.array([len(p) - 1 for p in fed], np.int64), sees,
        node_AS, token_AS,
    )  # fmt: skip


def _lengths_shared(answers: Sequence[Sequence[int]]) -> list[int]:
    """For each answer, the tokens that it has in common with the most similar other one."""
    order = sorted(range(len(answers)), key=lambda i: list(answers[i]))
    common = [0] * len(answers)  # between neighbours in order
    for left, (i, j) in enumerate(zip(order, order[1:], strict=False)):
        while common[left] < min(len(answers[i]), len(answers[j])) and (
            answers[i][common[left]] == answers[j][common[left]]
        ):
            common[left] += 1
    shared = [0] * len(answers)
    for rank, i in enumerate(order):
        shared[i] = max(common[rank - 1] if rank else 0, common[rank])
    return shared
