"""The released question word for word, what counts as an answer, and the tree of all answers."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from robo_reward.progress.models.answer_trie import answer_trie
from robo_reward.progress.models.grm_prompt import (
    ANSWERS,
    answer_text,
    image_slots,
    messages,
    parse_answer,
    prompt_texts,
    read_distribution,
)

RELEASED = "f123e36f34c44e146fd9993a9ddf85799c25a07999cb8a659c45157be3fe5988"
"""sha256 of the released question for the task `open the drawer`, `<image>` for each picture."""


def test_the_question_is_the_released_one_to_the_letter():
    text = "<image>".join(prompt_texts("open the drawer"))
    assert hashlib.sha256(text.encode()).hexdigest() == RELEASED


def test_the_other_order_has_the_same_sentences_with_the_rules_in_front():
    released, first = (prompt_texts("open the drawer", order) for order in ("released", "rules_first"))
    assert len(released) == len(first) == 9 and released[1:-1] == first[1:-1]
    assert sorted("".join(released).split()) == sorted("".join(first).split())
    assert len(first[-1].split()) == 0 and "Output Format" in first[0]


def test_an_instruction_with_braces_stays_as_it_is():
    assert "`put {a} on {task}`" in prompt_texts("put {a} on {task}")[0]


def test_messages_put_a_picture_between_texts():
    (turn,) = messages(prompt_texts("go"), [{"type": "image_url", "n": n} for n in range(8)])
    assert turn["role"] == "user"
    assert [part["type"] for part in turn["content"]] == ["text", "image_url"] * 8 + ["text"]
    assert [part["n"] for part in turn["content"][1::2]] == list(range(8))
    with pytest.raises(ValueError, match="2 images for 9 texts"):
        messages(prompt_texts("go"), [{}, {}])


@pytest.mark.parametrize(
    ("views", "slots"),
    [
        ("a", ["aaa"]),
        ("ab", ["abb"]),
        ("abc", ["abc"]),
        ("abcd", ["abc", "add"]),
        ("abcde", ["abc", "ade"]),
    ],
)
def test_any_number_of_views_fills_the_slots(views, slots):
    assert image_slots(tuple(views)) == tuple(tuple(triple) for triple in slots)


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("<score>+35%</score>", 0.35),
        ("<score>-7%</score>", -0.07),
        ("<score>0%</score>", 0.0),
        ("I think <score> 50 </score>\n", 0.5),
        ("<score>+NN%</score> or <score>-12.5%</score>", -0.125),
        ("<score>+300%</score>", 1.0),
        ("<score>+NN%</score>", None),
        ("+35%", None),
        ("<score>+35%", None),
        ("<score>nan%</score>", None),
        ("<html>502 Bad Gateway</html>", None),
        ("", None),
    ],
)
def test_what_does_not_parse_is_no_answer_and_never_zero(text, hop):
    assert parse_answer(text) == hop


def test_every_answer_reads_back():
    assert [parse_answer(answer_text(p)) for p in ANSWERS] == [p / 100 for p in ANSWERS]
    with pytest.raises(ValueError, match="101 %"):
        answer_text(101)


def test_expectation_spread_and_mass():
    log_p = np.full((3, len(ANSWERS)), -np.inf)
    log_p[0, [100, 150]] = math.log(0.2), math.log(0.6)  # 0 % and +50 %
    log_p[1, 0] = math.log(1e-9)
    log_p[2, 7] = np.nan
    read = read_distribution(log_p)
    np.testing.assert_allclose(read.hop_B[:2], [0.375, -1])
    np.testing.assert_allclose(read.std_B[:2], [0.5 * math.sqrt(0.25 * 0.75), 0], atol=1e-12)
    np.testing.assert_allclose(read.mass_B[:2], [0.8, 1e-9])
    assert np.isnan(read.hop_B[2]) and np.isnan(read.mass_B[2])
    assert np.isnan(read_distribution(np.full((1, 201), -np.inf)).hop_B[0]), "no answer is possible: none, not 0"


@pytest.mark.parametrize("whole", [False, True])
def test_the_tree_gives_the_probability_that_each_answer_alone_would_have(whole):
    """Against a made-up language: the next token's probabilities hang on all tokens before."""
    answers = [[ord(c) for c in answer_text(percent)] for percent in ANSWERS]
    trie = answer_trie(answers, whole)

    def log_p(before, token):
        return math.log(np.random.default_rng([9, *before]).dirichlet(np.ones(128))[token])

    paths = [()] + [
        tuple(t for t, seen in zip(trie.token_F.tolist(), trie.sees_FF[n], strict=True) if seen)
        for n in range(len(trie.token_F))
    ]
    assert [len(path) - 1 for path in paths[1:]] == trie.depth_F.tolist()
    for a in range(0, 201, 20):
        steps = [(n, t) for n, t in zip(trie.node_AS[a], trie.token_AS[a], strict=True) if t >= 0]
        assert [t for _, t in steps] == answers[a][: len(steps)]
        assert len(steps) == len(answers[a]) or not whole
        for i, (node, token) in enumerate(steps):
            assert paths[node] == tuple(answers[a][:i]) and np.isfinite(log_p(paths[node], token))


def test_only_what_tells_answers_apart_is_fed():
    answers = [[ord(c) for c in answer_text(percent)] for percent in ANSWERS]
    short, long = answer_trie(answers), answer_trie(answers, whole=True)
    assert len(short.token_F) < 30 < 1000 < len(long.token_F) < sum(map(len, answers))
    assert answer_trie([[5], [6], [7]]).token_F.size == 0, "answers of one token need nothing but the prompt"


@pytest.mark.parametrize("answers", [[[1, 2], [1]], [[1], [1]], [[], [1]]])
def test_answers_that_begin_others_are_refused(answers):
    with pytest.raises(ValueError, match="the tokenizer cannot be used"):
        answer_trie(answers)
