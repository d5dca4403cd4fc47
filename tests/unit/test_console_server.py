"""The console's socket: who gets in, who commands, and what hostile or broken browsers get."""

from __future__ import annotations

import asyncio
import json
import threading

import gymnasium
import numpy as np
import pytest

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("PIL")

from robo_reward.console import server  # noqa: E402
from robo_reward.console.server import MESSAGE_BYTES, MESSAGES_PER_S, Console, Server  # noqa: E402
from robo_reward.console.session import Session  # noqa: E402

TOKEN = "a-token"


class World(gymnasium.Env):
    """Goes on for ever."""

    action_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    now = 0

    def reset(self, *, seed=None, options=None):
        return self.seen()[0], self.seen()[4]

    def step(self, action):
        self.now += 1
        return self.seen(np.asarray(action))

    def seen(self, action=None):
        rows = {"agent_pos": np.zeros(1, np.float32), "estimate": np.zeros(1, np.float32)}
        info = {"instruction": "<script>alert(1)</script>", "stage": 0, "progress_oracle": 0.5, "is_success": False,
                "executed_action": action}  # fmt: skip
        return rows, 0.0, False, False, info

    def render_views(self):
        return {"front": np.full((8, 8, 3), self.now % 250, np.uint8), "side": np.zeros((8, 8, 3), np.uint8)}


class Still:
    base_id = "still"

    def __call__(self, agent_pos, estimate):
        return np.zeros(4, np.float32), np.zeros(4, np.float32)

    def flush(self):
        pass


@pytest.fixture
def console(tmp_path):
    """(session, port) of a running console."""
    session = Session(World(), Still, tmp_path, fps=50, first_seed=0, stale_s=5.0)
    thread = threading.Thread(target=session.run)
    thread.start()
    server = Server(Console(session, TOKEN, ("dx", "dy", "dz", "dyaw")), 0)
    yield session, server.port
    server.close()
    session.stop()
    thread.join()


class Browser:
    """A connection as the page makes one."""

    def __init__(self, socket):
        self.socket, self.state, self.frames = socket, {}, {}

    async def say(self, **word):
        await self.socket.send_str(json.dumps(word))

    async def hear(self):
        """The next message; states and frames are kept too."""
        message = await asyncio.wait_for(self.socket.receive(), 20)
        if message.type == aiohttp.WSMsgType.BINARY:
            name, _, picture = message.data.partition(b"\0")
            self.frames[name.decode()] = picture
            return None
        if message.type != aiohttp.WSMsgType.TEXT:
            return message
        word = json.loads(message.data)
        if word["type"] == "state":
            if word["first"] > 0:
                curves = ("sources", "oracle", "model", "rewards", "gated")
                word |= {curve: self.state[curve] + word[curve] for curve in curves}
            # Between two episodes there is nothing to show, whatever the number of the last curve.
            assert len(word["oracle"]) == len(word["sources"]) + bool(word["oracle"])
            assert len(word["rewards"]) == len(word["gated"]) == len(word["sources"])
            self.state = word
        return word

    async def until(self, condition):
        while not condition():
            word = await self.hear()
            assert not isinstance(word, aiohttp.WSMessage), f"closed: {self.socket.close_code}"

    async def refusal(self):
        while True:
            word = await self.hear()
            if isinstance(word, dict) and word["type"] == "refused":
                return word["reason"]

    async def closed(self):
        while not isinstance(await self.hear(), aiohttp.WSMessage):
            pass
        return self.socket.close_code


def browse(port, visit, browsers=1, token=TOKEN):
    """Run `visit(*browsers)` with connected browsers."""

    async def go():
        async with aiohttp.ClientSession() as http:
            url, found = f"http://127.0.0.1:{port}", []
            for _ in range(browsers):
                browser = Browser(await http.ws_connect(f"{url}/socket", headers={"Origin": url}))
                await browser.say(token=token)
                found.append(browser)
                if token == TOKEN:
                    await browser.until(lambda browser=browser: browser.state)
            return await visit(*found)

    return asyncio.run(go())


def get(port, path="/", **headers):
    async def go():
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}{path}", headers=headers) as answer:
                return answer.status, await answer.text(), answer.headers

    return asyncio.run(go())


def test_the_page_and_its_parts_come_from_here_and_from_nowhere_else(console):
    _, port = console
    for path in ("/", "/console.js", "/console.css"):
        status, text, headers = get(port, path)
        assert status == 200 and "://" not in text.replace("ws://${location.host}", "")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert get(port, "/../command.py")[0] == 404
    assert get(port, "/", Host="evil.example")[0] == 403


@pytest.mark.parametrize("token", ["", "wrong", None, 7])
def test_a_wrong_token_is_turned_away(console, token):
    async def visit(browser):
        return await browser.closed()

    assert browse(console[1], visit, token=token) == 4001


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
def test_a_foreign_page_cannot_connect(console, origin):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "x" * 22 + "=="}  # fmt: skip
    assert get(console[1], "/socket", **headers, **({"Origin": origin} if origin else {}))[0] == 403


def test_an_operator_sees_drives_judges_and_undoes(console):
    session, port = console

    async def visit(browser):
        await browser.say(type="event", event="arm")
        await browser.say(type="event", event="start")
        await browser.until(lambda: len(browser.state["oracle"]) > 2 and len(browser.frames) == 2)
        assert all(picture.startswith(b"\xff\xd8") for picture in browser.frames.values())
        drive = {"type": "drive", "action": [0.5, 0, 0, 0], "held": True, "n": 12}
        await browser.say(**drive, clock=browser.state["clock"])
        await browser.until(lambda: browser.state["state"] == "taken_over" and browser.state["driven"] == 12)
        await browser.say(type="event", event="success")
        await browser.until(lambda: browser.state["labels"] == ["success"])
        await browser.until(lambda: browser.state["state"] == "armed")
        await browser.say(type="event", event="undo")
        await browser.say(type="event", event="failure")
        await browser.until(lambda: browser.state["labels"] == ["failure"])

    browse(port, visit)
    assert "session-00000" in session.store.index.episodes


def test_an_input_that_answers_to_an_old_picture_does_not_drive(console):
    async def visit(browser):
        await browser.say(type="event", event="arm")
        await browser.say(type="event", event="start")
        await browser.until(lambda: browser.state["state"] == "running")
        for clock in (browser.state["clock"] - 60, browser.state["clock"] + 60):  # a laptop that slept; a liar
            await browser.say(type="drive", action=[1, 0, 0, 0], held=True, n=5, clock=clock)
            await browser.until(lambda: browser.state["driven"] == 5)
            assert browser.state["state"] == "running"
            await browser.say(type="drive", action=[0, 0, 0, 0], held=False, n=6, clock=browser.state["clock"])
            await browser.until(lambda: browser.state["driven"] == 6)

    browse(console[1], visit)


def test_one_drives_the_others_watch_and_everybody_may_stop(console):
    session, port = console

    async def visit(first, second):
        assert (first.state["you"], second.state["you"]) == ("operator", "watcher")
        await second.say(type="event", event="arm")
        assert "you are watching" in await second.refusal()
        await second.say(type="drive", action=[1, 0, 0, 0], held=True, n=1, clock=0)
        assert "you are watching" in await second.refusal()
        await second.say(type="control")
        assert "somebody else has control" in await second.refusal()
        await second.say(type="event", event="e_stop")
        await first.until(lambda: first.state["state"] == "e_stopped")
        await first.say(type="give_back")
        await second.until(lambda: second.state["free"])
        await second.say(type="control")
        await second.until(lambda: second.state["you"] == "operator")

    browse(port, visit, browsers=2)


def test_an_operator_who_vanishes_while_driving_leaves_a_paused_arm(console):
    session, port = console

    async def visit(first, second):
        await first.say(type="event", event="arm")
        await first.say(type="event", event="start")
        await first.until(lambda: len(first.state["oracle"]) > 2)  # an operator who let go was seen
        await first.say(type="drive", action=[1, 0, 0, 0], held=True, n=1, clock=first.state["clock"])
        await first.until(lambda: first.state["state"] == "taken_over")
        first.socket._response.connection.transport.abort()
        await second.until(lambda: second.state["state"] == "paused" and second.state["free"])

    browse(port, visit, browsers=2)


def test_when_the_last_page_goes_a_running_arm_pauses(console):
    session, port = console

    async def leave(first, second):
        await first.say(type="event", event="arm")
        await first.say(type="event", event="start")
        await first.until(lambda: first.state["state"] == "running")
        await first.socket.close()
        await second.until(lambda: second.state["free"])
        assert second.state["state"] == "running"  # one is left who could stop it

    async def come_back(page):
        await page.until(lambda: page.state["state"] == "paused" and "no page" in page.state["notice"])
        await page.say(type="event", event="resume")
        await page.until(lambda: page.state["state"] == "running")

    browse(port, leave, browsers=2)
    browse(port, come_back)
    assert "pause: no page is connected" in [line["what"] for line in session.log.newest]


def test_where_a_device_drives_no_browser_does_and_none_is_needed(console):
    session, _ = console
    beside = server.Server(Console(session, TOKEN, ("dx", "dy", "dz", "dyaw"), driver="gamepad"), 0)

    async def visit(page):
        await page.say(type="event", event="arm")
        await page.say(type="event", event="start")
        await page.until(lambda: page.state["state"] == "running")
        await page.say(type="drive", action=[1, 0, 0, 0], held=True, n=1, clock=page.state["clock"])
        assert await page.refusal() == "the gamepad drives: this page shows, judges and stops"

    try:
        browse(beside.port, visit)
    finally:
        beside.close()
    assert session.post("pause").result(20) == "paused"  # it had gone on without a page


def test_what_a_busy_loop_is_asked_for_comes_late_and_harms_nothing(console, monkeypatch):
    session, port = console
    gate, entered = threading.Event(), threading.Event()

    def step(action):
        entered.set()
        gate.wait(30)
        return session.env.seen(np.asarray(action))

    async def visit(page):
        monkeypatch.setattr(server, "ANSWER_S", 0.1)
        monkeypatch.setattr(session.env, "step", step)
        await page.say(type="event", event="arm")
        await page.say(type="event", event="start")
        await asyncio.to_thread(entered.wait, 30)
        await page.say(type="event", event="e_stop")
        assert await page.refusal() == "the learner is busy: e stop comes as soon as it can"
        gate.set()
        await page.until(lambda: page.state["state"] == "e_stopped")
        await page.say(type="event", event="clear")
        await page.until(lambda: page.state["state"] == "resetting" or page.state["state"] == "armed")

    browse(port, visit)


BROKEN = [
    "", "{", "[]", "7", '{"type": "dance"}', '{"type": "event"}', '{"type": "event", "event": ["arm"]}',
    '{"type": "event", "event": "reset_done"}', '{"type": "event", "event": "success"}',
    '{"type": "place"}', '{"type": "place", "number": "../x"}', '{"type": "place", "number": 3}',
    '{"type": "drive", "held": true, "clock": 0, "n": 1}',
    '{"type": "drive", "action": [0, 0], "held": true, "clock": 0, "n": 1}',
    '{"type": "drive", "action": ["a", 0, 0, 0], "held": true, "clock": 0, "n": 1}',
    '{"type": "drive", "action": [0, 0, 0, 0], "held": "yes", "clock": 0, "n": 1}',
    '{"type": "drive", "action": [0, 0, 0, 0], "held": true, "clock": null, "n": 1}',
    '{"type": "drive", "action": [' + "9" * 400 + ', 0, 0, 0], "held": true, "clock": 0, "n": 1}',
    "[" * 1000,
]  # fmt: skip


def test_what_is_not_understood_is_refused_in_one_line_and_harms_nothing(console):
    async def visit(browser):
        for words in BROKEN:
            await browser.socket.send_str(words)
            assert "\n" not in await browser.refusal(), words
        await browser.socket.send_bytes(b"\0")
        assert "JSON" in await browser.refusal()
        await browser.say(type="drive", action=[float("nan"), 0, 0, 0], held=True, n=9, clock=browser.state["clock"])
        await browser.say(type="event", event="arm")
        await browser.until(lambda: browser.state["state"] == "armed")

    browse(console[1], visit)


def test_too_long_and_too_many_messages_end_the_connection(console):
    async def long(browser):
        await browser.socket.send_str(" " * (MESSAGE_BYTES + 1))
        return await browser.closed()

    async def many(browser):
        for _ in range(2 * MESSAGES_PER_S):
            await browser.say(type="control")
        return await browser.closed()

    assert browse(console[1], long) in (1009, 1006)  # as the message's rest is thrown away sooner or later
    assert browse(console[1], many) == 4008
    browse(console[1], lambda browser: browser.until(lambda: browser.state["free"] is False))  # it serves the next


def test_a_port_that_is_taken_is_named(console):
    session, port = console
    with pytest.raises(ValueError, match=f"console.port={port}: .*address already in use: choose another, or 0"):
        Server(Console(session, TOKEN, ("dx", "dy", "dz", "dyaw")), port)
