"""Calling a server: deadlines, attempts, the breaker, and where a token goes."""

import json
import threading
from dataclasses import replace

import pytest

pytest.importorskip("aiohttp")

from robo_reward.interfaces import Unanswered
from robo_reward.progress import calls
from robo_reward.progress.calls import Call, Caller, CallSettings
from robo_reward.testing.reward_server import BadServer

MODEL = Call("/model", json.loads, lambda: b"{}")  # a POST: the library repeats a GET by itself
QUICK = CallSettings(deadline_s=0.3, attempts=2, cool_down_s=30.0)
PATIENT = replace(QUICK, deadline_s=20.0)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(calls, "PAUSE_S", 0.01)
    with BadServer(about={"a": 1}) as found:
        yield found


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("html", "answered nonsense"),
        ("crash", "is not there"),
        ("hang", r"did not answer within 0\.3 s"),
        ("trickle", r"did not answer within 0\.3 s"),
        ("busy", r"answered 429 \(later\)"),
        ("huge", "its answer exceeds"),
    ],
)
def test_a_server_that_fails_is_tried_again_then_left_alone_then_tried_once(server, way, says):
    now = [0.0]
    caller = Caller(server.url, QUICK if way in ("hang", "trickle") else PATIENT, token="", clock=lambda: now[0])
    server.way = way
    with pytest.raises(Unanswered, match=says + r".*\(2 attempts\)"):
        caller.ask([MODEL])
    assert len(server.requests) == 2
    now[0] = 29.0
    with pytest.raises(Unanswered, match="left alone for another 1 s"):
        caller.ask([MODEL])
    assert len(server.requests) == 2, "nobody was asked"
    now[0] = 31.0
    with pytest.raises(Unanswered, match=r"\(1 attempt\)"):
        caller.ask([MODEL])
    now[0] = 90.0
    with pytest.raises(Unanswered, match="left alone for another 1 s"):  # twice as long
        caller.ask([MODEL])
    now[0], server.way, caller.settings = 92.0, "well", PATIENT
    assert caller.ask([MODEL]) == [{"a": 1}]
    caller.settings = QUICK if way in ("hang", "trickle") else PATIENT
    server.way = way
    with pytest.raises(Unanswered, match=r"\(2 attempts\)"):
        caller.ask([MODEL])


@pytest.mark.parametrize(("way", "says"), [("forbidden", "does not take this token"), ("redirect", "answered 307")])
def test_a_refusal_is_not_repeated_and_a_redirect_not_followed(server, way, says):
    server.way = way
    with pytest.raises(Unanswered, match=says):
        Caller(server.url, PATIENT, token="").ask([MODEL])
    assert len(server.requests) == 1


def test_an_unreachable_server_is_told_in_one_line():
    with pytest.raises(Unanswered, match="http://127.0.0.1:9 is not there") as told:
        Caller("http://127.0.0.1:9", CallSettings(attempts=1), token="").ask([MODEL])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80", "ftp://host", "http://", "http://host:port", "http://me:secret@127.0.0.1"]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="expected http://HOST:PORT"):
        Caller(url, token="")


def test_a_token_travels_in_the_clear_on_this_machine_only(server, monkeypatch):
    monkeypatch.setenv(calls.TOKEN, "secret")
    Caller(server.url).ask([MODEL])
    assert server.headers["Authorization"] == "Bearer secret"
    with pytest.raises(ValueError, match="does not travel over plain http beyond this machine"):
        Caller("http://192.0.2.1:80")
    Caller("https://192.0.2.1")
    monkeypatch.delenv(calls.TOKEN)
    Caller("http://192.0.2.1:80")


def test_answers_come_in_order_and_never_more_requests_at_once_than_allowed(server):
    at_once, most, lock = [0], [0], threading.Lock()
    answer = server._answer

    def watched(*arguments):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        try:
            threading.Event().wait(0.02)
            return answer(*arguments)
        finally:
            with lock:
                at_once[0] -= 1

    server._answer = watched
    numbered = [Call("/model", lambda body, n=n: n) for n in range(8)]
    assert Caller(server.url, CallSettings(concurrency=3), token="").ask(numbered) == list(range(8))
    assert 1 < most[0] <= 3
