"""A whole session on PegInsert in a real browser: take over, correct, label, undo, pause, e-stop, lose the server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import gymnasium
import numpy as np
import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("mujoco")
pytest.importorskip("PIL")

from robo_reward.config import (
    Config,
    EnvConfig,
    RewardConfig,
)
from robo_reward.console.command import BaseActor
from robo_reward.console.curves import shaping_term
from robo_reward.console.labels import worlds_word
from robo_reward.console.server import Console
from robo_reward.console.session import Session
from robo_reward.data.store import TransitionStore
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.runtime.tasks import make_env
from robo_reward.testing.browser import Browser, find_chromium
from robo_reward.testing.console_page import TOKEN, served, start_episode, visit

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason="no chromium")]
HORIZON = 3000


class Blind(gymnasium.Wrapper):
    """Without its cameras, whose pictures take most of the time."""

    def render_views(self):
        return {name: np.zeros((8, 8, 3), np.uint8) for name in ("front", "side", "wrist")}


@contextmanager
def live(folder, port=0, watching=False, horizon=HORIZON, blind=False, actor=BaseActor, wrap=None, term=None):
    """(session, url): a console as the command makes it, of a policy that rests; the world in the loop's thread."""
    made, ready = [], threading.Event()

    def loop():
        env = make_env(EnvConfig(horizon=horizon))
        env = Blind(env) if blind else env
        env = wrap(env) if wrap else env
        settings = {
            "fps": 20,
            "first_seed": 0,
            "stale_s": 20.0,  # of a machine that is busy with other things
            "term": term,
            "automatic": worlds_word if watching else None,
        }
        made.append(Session(env, lambda: actor(ZeroPolicy(4)), folder, **settings))
        if watching:
            made[0].go()
        ready.set()
        made[0].run()
        env.close()

    thread = threading.Thread(target=loop)
    thread.start()
    assert ready.wait(60)
    try:
        with served(Console(made[0], TOKEN, ("dx", "dy", "dz", "dyaw"), watching), port) as url:
            yield made[0], url
    finally:
        made[0].stop()
        thread.join()


def test_a_session_with_a_person_at_the_keyboard(tmp_path):
    async def do(page):
        await page.until("state.you === 'operator' && document.querySelectorAll('img').length === 3")
        await start_episode(page)

        await page.key(" ", down=True)
        await page.key("f", down=True)
        await page.until("state.state === 'taken_over' && state.sources.endsWith('hhhhh')")
        await page.key("f", down=False)
        await page.key(" ", down=False)
        await page.until("state.state === 'running' && state.sources.endsWith('pp')")
        assert (await page.value("window.console_figures()"))["presses"] > 0

        await page.key(" ", down=True)
        await page.until("state.state === 'taken_over'")
        await page.value("window.dispatchEvent(new Event('blur'))")  # another window: the dead-man lets go
        await page.until("state.state === 'running'")
        await page.key(" ", down=False)

        await page.key("p")
        await page.until("state.state === 'paused'")
        steps = await page.value("state.steps")
        await asyncio.sleep(0.3)
        assert await page.value("state.steps") == steps
        await page.key("p")
        await page.until("state.state === 'running'")

        await page.key("1")
        await page.until("state.labels.length === 1 && state.state === 'armed'")
        await page.key("u")
        await page.until("state.state === 'judging' && state.labels.length === 0")
        await page.key("3")
        await page.until("String(state.labels) === 'partial' && state.state === 'armed'")
        assert await page.value("document.getElementById('labels').textContent") == "partial"

        await page.key("Enter")
        await page.until("state.state === 'running' && state.oracle.length > 3")
        await page.key("Escape")
        await page.until("state.state === 'e_stopped'")
        await page.key("Enter")
        assert await page.value("document.querySelector('[data-event=start]').disabled")
        await page.key("c")
        await page.until("state.state === 'armed'")
        await page.key("Enter")
        await page.until("state.state === 'running' && state.oracle.length > 3")

    with live(tmp_path) as (session, url):
        visit(url, do)
    assert session.protocol.labels == ["partial", "aborted", "aborted"]
    with live(tmp_path) as (session, _):
        assert session.protocol.labels == ["partial", "aborted", "aborted"]
    episodes = list(TransitionStore(tmp_path / "store").read_all())
    assert [episode.episode_id for episode in episodes] == ["session-00000", "session-00001", "session-00002"]
    driven = episodes[0].intervention
    assert driven.any() and not driven.all()
    assert episodes[0].human_action[driven][:, 2].min() == pytest.approx(-0.6)
    assert not any(episode.intervention.any() for episode in episodes[1:])


PAD = """(buttons, axes) => { navigator.getGamepads = () => [null, {
  buttons: Array.from({length: 17}, (_, i) => ({pressed: buttons.includes(i)})), axes}]; }"""


def test_a_gamepad_drives_and_judges_as_the_keyboard_does(tmp_path):
    async def do(page):
        async def pad(*buttons, axes=(0.1, 0, 0, 0)):
            await page.value(f"({PAD})({list(buttons)}, {list(axes)})")

        await page.until("state.you === 'operator'")
        for wanted in ("armed", "running"):
            await pad(9)
            await page.until(f"state.state === '{wanted}'")
            await pad()
            await page.until("!padDown[9]")
        await page.until("state.oracle.length > 3")
        await pad(5, axes=(0.1, 0, 0, 1))
        await page.until("state.state === 'taken_over' && state.sources.endsWith('hhhhh')")
        await page.value("window.dispatchEvent(new Event('blur'))")
        await page.until("state.state === 'running'")  # a button that stays down does not take over again
        await asyncio.sleep(0.3)
        assert await page.value("state.state") == "running"
        await pad(1)
        await page.until("String(state.labels) === 'failure' && state.state === 'armed'")
        await pad(8)
        await page.until("state.state === 'e_stopped'")

    with live(tmp_path) as (_, url):
        visit(url, do)
    [episode] = TransitionStore(tmp_path / "store").read_all()
    driven = episode.human_action[episode.intervention]
    assert driven[:, 2].min() == pytest.approx(-0.6) and not driven[:, [0, 1, 3]].any()  # a stick at rest is no word


def test_a_finger_on_a_pad_drives_until_it_is_lifted(tmp_path):
    async def do(page):
        tablet = {"width": 820, "height": 1180, "deviceScaleFactor": 1, "mobile": True}
        await page.ask("Emulation.setDeviceMetricsOverride", **tablet)

        async def finger(kind, x=0, y=0):
            points = [{"x": x, "y": y}] if kind != "touchEnd" else []
            await page.ask("Input.dispatchTouchEvent", type=kind, touchPoints=points)

        await page.until("state.you === 'operator'")
        wide = "document.documentElement.scrollWidth <= 820"  # nothing hangs over a tablet's edge
        assert await page.value(wide)
        await start_episode(page)
        await page.until("document.querySelectorAll('img').length === 3")
        await page.value("document.querySelectorAll('.pad')[1].scrollIntoView({block: 'center'})")
        left, top, width, height = await page.value(
            "(({left, top, width, height}) => [left, top, width, height])"
            "(document.querySelectorAll('.pad')[1].getBoundingClientRect())"
        )
        await finger("touchStart", left + width / 2, top + height * 3 / 4)  # below the middle: down, and no turn
        await page.until("state.state === 'taken_over' && state.sources.endsWith('hhhhh')")
        await finger("touchEnd")
        await page.until("!held && state.state !== 'taken_over'")
        await page.key("2")
        await page.until("String(state.labels) === 'failure'")

    with live(tmp_path, blind=True) as (_, url):
        visit(url, do)
    [episode] = TransitionStore(tmp_path / "store").read_all()
    driven = episode.human_action[episode.intervention]
    assert driven[:, 2].min() == pytest.approx(-0.3, abs=0.02) and np.abs(driven[:, [0, 1, 3]]).max() < 0.02


def test_a_page_that_only_watches_commands_nothing(tmp_path):
    async def do(page):
        await page.until("state.you === 'watcher' && state.labels.length >= 1")
        for key in ("Escape", "Enter", "p", "1", " "):
            await page.key(key)
        await page.until("byId('message').textContent.includes('only watches')")
        assert await page.value("[...document.querySelectorAll('[data-event], #control')].every((b) => b.disabled)")
        assert await page.value("getComputedStyle(byId('e_stop')).display") == "none"  # it would stop nothing
        await page.until("state.labels.length >= 3 && state.state !== 'e_stopped'")

    with live(tmp_path, watching=True, horizon=20, blind=True) as (session, url):
        visit(url, do)
    assert {*session.protocol.labels} <= {"failure", "aborted"}
    assert not any(episode.intervention.any() for episode in TransitionStore(tmp_path / "store").read_all())


def test_markup_in_an_instruction_is_shown_and_not_obeyed(tmp_path):
    async def do(page):
        await page.until("state.you === 'operator'")
        words, elements = await page.value(  # in one go: the next state comes soon
            "(hear({...state, type: 'state', first: 0, instruction: '<img src=x onerror=alert(1)>',"
            " labels: ['<b>x</b>'], notice: '<script>alert(1)</script>'}), [byId('instruction').textContent,"
            " document.querySelectorAll('#instruction *, #labels b, #notice *').length])"
        )
        assert "<img src=x" in words and elements == 0

    with live(tmp_path, blind=True) as (_, url):
        visit(url, do)


def test_a_page_finds_its_server_again_and_nothing_is_lost(tmp_path):
    async def go():
        async with Browser() as page:
            with live(tmp_path, blind=True) as (_, url):
                await page.open(url)
                await page.until("state.you === 'operator'")
                await start_episode(page)
                await page.key("3")
                await page.until("String(state.labels) === 'partial' && state.state === 'armed'")
                await page.key("Enter")
                await page.until("state.state === 'running' && state.oracle.length > 3")
            await page.until("state.state === 'not connected'")
            assert await page.value("document.querySelector('[data-event=arm]').disabled")
            await page.key("Escape")
            assert "E-STOP NOT SENT" in await page.value("byId('message').textContent")
            with live(tmp_path, urlsplit(url).port, blind=True):
                await page.until("state.state === 'e_stopped'")  # it was owed, and comes before anything else
                assert await page.value("state.you === 'operator' && String(state.labels) === 'partial,aborted'")
                assert await page.value("byId('message').textContent === ''")
                log = await page.value("byId('log').textContent")
                assert all(f"episode {said}" in log for said in ("0: partial", "1: start", "2: e stop"))
                await page.open("about:blank")
                await page.open(url.replace(TOKEN, "wrong"))
                await page.until("document.getElementById('message').textContent === 'wrong token'")

    asyncio.run(go())


def test_an_e_stop_into_a_dead_connection_is_said_to_be_unconfirmed_and_goes_out_again(tmp_path):
    """The socket still says it is open: it takes the word, and the word is lost."""

    async def do(page):
        await page.until("state.you === 'operator'")
        await start_episode(page)
        await page.value("socket.send = () => {}, socket.onmessage = () => {}, true")
        await page.key("Escape")
        await page.until("byId('message').textContent.includes('E-STOP NOT CONFIRMED')")
        assert await page.value("state.state === 'running'")
        await page.value("socket.close(), true")
        await page.until("state.state === 'e_stopped' && byId('message').textContent === ''")
        assert not await page.value("stopOwed")

    with live(tmp_path, blind=True) as (_, url):
        visit(url, do)


def test_a_gamepad_that_vanishes_while_it_drives_pauses_the_arm(tmp_path):
    async def do(page):
        await page.until("state.you === 'operator'")
        await start_episode(page)
        pad = "{buttons: [...Array(17)].map((_, i) => ({pressed: i === PAD_HOLD})), axes: [0, 0, 0, 0]}"
        await page.value(f"navigator.getGamepads = () => [{pad}], true")
        await page.until("state.state === 'taken_over' && state.sources.endsWith('hhh')")
        await page.value("navigator.getGamepads = () => [null], true")
        await page.until("state.state === 'paused'")
        assert "went away" in await page.value("state.notice")
        assert not (await page.value("state.sources")).endswith("p")

    with live(tmp_path, blind=True) as (_, url):
        visit(url, do)


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (820, 1180)])
def test_what_an_operator_needs_is_seen_without_scrolling(tmp_path, width, height):
    """On a laptop and on a tablet; the last words of a session are at its top, and its history is drawn."""
    needed = ["#state", "#e_stop", "#message", "#notice", "#cameras", ".buttons", "#drive", ".pads", "#gate"]
    needed += ["#curve", "#strip"] if width > height else []

    async def do(page):
        await page.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < height
        )
        await page.until("state.you === 'operator' && document.querySelectorAll('#cameras img').length === 3")
        await start_episode(page)
        await page.key("1")
        await page.until("byId('labels').textContent === 'success' && byId('log').textContent.includes('success')")
        assert "1 of the last 1 with help succeeded" in await page.value("byId('figures').textContent")
        green = "getImageData(0, 0, 960, 120).data.some((part, i, all) => i % 4 === 1 && part === 158 && !all[i - 1])"
        await page.until(f"byId('history').getContext('2d').{green}")
        for place in needed:
            box = await page.value(f"document.querySelector('{place}').getBoundingClientRect().toJSON()")
            assert 0 <= box["left"] <= box["right"] <= width and 0 <= box["top"] <= box["bottom"] <= height, place

    with live(tmp_path, blind=True) as (_, url):
        visit(url, do)


class Critical(BaseActor):
    """A policy that rests, with critics that expect less from step to step."""

    def value(self, action):
        self.steps = getattr(self, "steps", 0) + 1
        return 1 - self.steps / 100


class Cutting(gymnasium.Wrapper):
    """Its gate cuts every third step, and from step 30 on what it tells is 12 s old."""

    steps = 0

    def step(self, action):
        *seen, info = self.env.step(action)
        self.steps += 1
        return *seen, info | {"gated": self.steps % 3 == 0, "age_s": 12.0 if self.steps > 30 else 0.0}


def test_lights_and_strip_show_gate_age_value_and_reward(tmp_path):
    """Numbers on the page are the session's, and what is drawn is there: the strip holds each kind's colour."""
    config = Config(reward=RewardConfig(kind="oracle"))
    counted = """(colour) => { const c = byId('strip'), pen = c.getContext('2d');
      const d = pen.getImageData(0, 0, c.width, c.height).data;
      let n = 0; for (let i = 0; i < d.length; i += 4)
        if (d[i] === colour[0] && d[i + 1] === colour[1] && d[i + 2] === colour[2] && d[i + 3] === 255) n += 1;
      return n; }"""

    async def do(page):
        await page.until("state.you === 'operator' && byId('age').dataset.light !== 'bad'")
        await start_episode(page)
        await page.until("state.gated.length > 5 && byId('gate').dataset.light === 'warn'")
        assert "% of the steps cut" in await page.value("byId('gate').textContent")
        await page.key(" ", down=True)
        await page.until("state.sources.includes('hhh')")
        await page.key(" ", down=False)
        await page.until("state.age_s === 12 && byId('age').dataset.light === 'warn'")  # of 20 s that are too old
        await page.until("byId('value').textContent === state.rewards.at(-1)[2].toFixed(3)")
        (paid, term, value), steps = await page.value("[state.rewards.at(-1), state.rewards.length]")
        assert paid == 0 and term is not None and value == pytest.approx(1 - steps / 100)
        for name, colour in {"person": [230, 159, 0], "gate": [213, 94, 0], "Q": [0, 114, 178]}.items():
            assert await page.value(f"({counted})({colour})") > 20, name
        await page.key("Escape")
        await page.until("byId('gate').dataset.light === 'bad'")
        assert "e-stop" in await page.value("byId('gate').textContent")

    with live(tmp_path, blind=True, actor=Critical, wrap=Cutting, term=shaping_term(config)) as (_, url):
        visit(url, do)
