"""A vision-language reward model behind chat completions: the released question, and what is made of answers."""

import base64
import io
import json
import math

import numpy as np
import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("PIL")

from PIL import Image

from robo_reward.interfaces import Unanswered
from robo_reward.progress import calls
from robo_reward.progress.calls import Caller, CallSettings
from robo_reward.progress.completion import CompletionRule
from robo_reward.progress.models.chat import ChatModel, ask_name, expected_hop, read_completion
from robo_reward.progress.models.grm_prompt import answer_text, prompt_texts
from robo_reward.progress.models.remote import Served, load_remote
from robo_reward.testing.reward_server import BadServer
from robo_reward.types import HopQuery

VIEWS = ("front", "left", "right")
SERVED = Served("the-model", VIEWS, 32, 4, 1, False, CompletionRule())
rng = np.random.default_rng(0)


def query(rows=3, views=VIEWS):
    """Rows 0, 1 and 2 ask about frames 2, 3 and 4, from frame 2 on; 0 is the start and 1 the goal."""
    frames = {v: rng.integers(0, 256, (5, 32, 32, 3), np.uint8) for v in views}
    after = np.arange(rows) + 2
    two, zero = np.full(rows, 2), np.zeros(rows, np.int64)
    return HopQuery(frames, two, after, zero, zero + 1, ("push the button",) * rows)


def pictures_of(asked):
    parts = asked["messages"][0]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for url in urls]


class Chat:
    """Answers by how bright the last picture is; remembers what it was asked."""

    def __init__(self, text=None, tokens=False):
        self.text, self.tokens, self.asked = text, tokens, []

    def __call__(self, asked):
        self.asked.append(asked)
        text = answer_text(int(pictures_of(asked)[-1].mean()) % 50) if self.text is None else self.text
        choice = {"message": {"role": "assistant", "content": text}}
        if self.tokens and asked.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": c, "logprob": 0.0, "top_logprobs": []} for c in text]}
        return choice


@pytest.fixture
def serving(monkeypatch):
    monkeypatch.setattr(calls, "PAUSE_S", 0.0)
    opened = []

    def start(chat, served=SERVED, **settings):
        opened.append(BadServer(chat=chat))
        settings = {"attempts": 2, "cool_down_s": 0.0, "deadline_s": 5.0, **settings}
        return opened[-1], ChatModel(Caller(opened[-1].url, CallSettings(**settings), ""), served, served.model_id)

    yield start
    for server in opened:
        server.close()


def hops(asked):
    return [int(f.mean()) % 50 / 100 for f in asked.frames["right"][asked.after_B]]


def test_the_released_question_is_asked_with_the_frames_as_they_are(serving):
    chat, asked = Chat(), query()
    _, model = serving(chat)
    np.testing.assert_allclose(model.hop(asked).hop_B, hops(asked), atol=1e-6)
    found = {json.dumps(each["messages"]) for each in chat.asked}
    assert len(chat.asked) == len(found) == 3
    [each] = [each for each in chat.asked if (pictures_of(each)[7] == asked.frames["right"][4]).all()]
    texts = [part["text"] for part in each["messages"][0]["content"] if part["type"] == "text"]
    assert tuple(texts) == prompt_texts("push the button") and each["model"] == "the-model"
    f = asked.frames
    expected = [f["front"][0], f["front"][1], f["front"][2], f["left"][2], f["right"][2], f["front"][4], f["left"][4]]
    for picture, frame in zip(pictures_of(each), expected, strict=False):
        np.testing.assert_array_equal(picture, frame)


def test_nothing_is_asked_twice_and_one_camera_fills_all_places(serving):
    chat, asked = Chat(), query(views=("right",))
    _, model = serving(chat)
    np.testing.assert_allclose(model.hop(asked).hop_B, hops(asked), atol=1e-6)
    model.hop(asked)
    assert len(chat.asked) == 3


@pytest.mark.parametrize("text", ["no idea", "", None, "<score>NN%</score>", "<score>nan%</score>"])
def test_what_does_not_parse_is_asked_once_more_and_then_no_answer(serving, text):
    chat, first, n = Chat(), query(rows=1), [0]

    def answer(asked):
        n[0] += 1
        return chat(asked) if n[0] == 1 else {"message": {"content": text}}

    server, model = serving(answer)
    assert model.hop(first).valid_B.all()
    asked = query(rows=1)
    both = HopQuery(
        {v: np.concatenate([first.frames[v], asked.frames[v]]) for v in VIEWS}, np.array([2, 7]), np.array([2, 7]),
        np.array([0, 5]), np.array([1, 6]), ("push the button",) * 2,
    )  # fmt: skip
    assert model.hop(both).valid_B.tolist() == [True, False]
    assert n[0] == 3, "the new question was asked twice, the known one not at all"
    with pytest.raises(Unanswered, match="nothing that the-model says of 1 questions is <score>NN%</score>"):
        model.hop(asked)


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("html", "answered nonsense: no chat completion"),
        ("nan", "a token's log-probability is nan"),
        ("short", "no chat completion"),
        ("other", "it is another that answers now, and this run began with the-model"),
        ("crash", "is not there"),
    ],
)
def test_a_server_that_fails_has_not_answered(serving, way, says):
    server, model = serving(Chat())
    server.way = way
    with pytest.raises(Unanswered, match=says):
        model.hop(query())
    server.way = "well"
    assert model.hop(query()).valid_B.all()


def test_what_was_answered_before_another_question_stayed_open_is_kept(serving):
    chat, broken = Chat(), [True]

    def answer(asked):
        if broken[0] and len(chat.asked) == 2:
            raise OSError("gone")
        return chat(asked)

    _, model = serving(answer, concurrency=1, attempts=1)
    asked = query()
    with pytest.raises(Unanswered):
        model.hop(asked)
    broken[0] = False
    assert model.hop(asked).valid_B.all()
    assert len(chat.asked) == 3


def test_a_server_that_refuses_to_tell_token_probabilities_is_asked_without(serving):
    chat = Chat()
    server, model = serving(chat)
    plain = server._handle

    def refusing(request, body):
        if b'"logprobs"' in body:
            request.send_response(422)
            request.send_header("Content-Length", "0")
            return request.end_headers()
        return plain(request, body)

    server._handle = refusing
    assert model.hop(query()).valid_B.all() and not any("logprobs" in asked for asked in chat.asked)


def test_its_name_is_asked_for_and_kept_in_the_folder(serving, tmp_path):
    server, model = serving(Chat())
    assert ask_name(model.caller, "the-model") == "the-model"
    model.save(tmp_path)
    loaded = load_remote(tmp_path)
    assert isinstance(loaded, ChatModel) and loaded.model_id == model.model_id and loaded.name == "the-model"
    asked = query()
    np.testing.assert_array_equal(loaded.hop(asked).hop_B, model.hop(asked).hop_B)


def place(*told):
    return [(text, math.log(p)) for text, p in told]


def test_the_expectation_is_over_the_answers_that_differ_in_one_token():
    sure = [[("<score>", 0.0)]]
    digits = place(("4", 0.5), ("2", 0.25), ("x", 0.25))
    found = expected_hop([*sure, place(("+", 1.0)), digits, *[[("%</score>", 0.0)]]])
    assert found is not None
    assert found[0] == pytest.approx((0.04 * 0.5 + 0.02 * 0.25) / 0.75)
    signs = place(("+", 0.7), ("-", 0.3))
    both = expected_hop([*sure, signs, place(("50", 0.8), ("60", 0.2)), [("%</score>", 0.0)]])
    p = np.array([0.7 * 0.8, 0.7 * 0.2, 0.3])
    assert both is not None and both[0] == pytest.approx(p @ [0.5, 0.6, -0.5] / p.sum())
    certain = expected_hop([*sure, [("+50", 0.0)], [("%</score>", 0.0)]])
    assert certain == (pytest.approx(0.5), pytest.approx(1.0)) and both[1] < 0.3
    assert expected_hop([*sure, place(("+", 1.0)), place(("4", 0.2), ("x", 0.8)), [("%</score>", 0.0)]]) is None
    assert expected_hop([]) is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>", b"[]", b"{}", b'{"model": "m", "choices": []}', b'{"model": "m", "choices": [{"message": {}}]}',
        b'{"model": 3, "choices": [{"message": {"content": "x"}}]}',
        b'{"model": "m", "choices": [{"message": {"content": ["x"]}}]}',
        b'{"model": "m", "choices": [{"message": {"content": "x"}, "logprobs": 3}]}',
        b'{"model": "m", "choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"token": "x"}]}}]}',
        b'{"model": "m", "choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"token": "x", '
        b'"logprob": NaN}]}}]}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_no_other_body_is_taken_for_a_completion(body):
    with pytest.raises(ValueError):
        read_completion(body)
