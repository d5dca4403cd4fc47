"""The review and the keyframe pages in a real browser, by keyboard alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("PIL")

from robo_reward.console.archive import Archive
from robo_reward.data.preferences import read_preferences
from robo_reward.data.store import TransitionStore
from robo_reward.testing.browser import find_chromium
from robo_reward.testing.console_page import TOKEN, served, visit
from robo_reward.testing.episodes import make_episode

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason="no chromium")]
INSTRUCTION = "<img src=x onerror=window.injected=1>"


def episode(name, steps=12, stage=None):
    ones = np.ones((steps + 1, 2), np.float32)
    views = {view: np.zeros((steps + 1, 32, 32, 3), np.uint8) for view in ("front", "side")}
    for stack in views.values():
        stack += np.arange(steps + 1, dtype=np.uint8)[:, None, None, None] * 15
    return make_episode(
        steps, name, success=stage is not None, terminated=False, instruction=INSTRUCTION, seed=7, agent_pos=ones,
        estimate=ones, action=np.zeros((steps, 4), np.float32), reward=ones[1:, 0],
        stage=np.zeros(steps + 1, np.int64) if stage is None else stage,
        oracle=np.linspace(0, 1, steps + 1, dtype="f4"), frames=views,
    )  # fmt: skip


def test_past_episodes_are_replayed_judged_anew_and_compared(tmp_path):
    with TransitionStore(tmp_path / "store", writable=True) as store:
        sequence = store.append_episode("session", 0, episode("session-00000"))
        store.append_episode("session", sequence, episode("session-00001", 9))

    async def do(page):
        await page.until("clip && clip.episode.name === 'session-00001' && clip.images[1].naturalWidth === 32")
        first = await page.value("clip.images[0].src")
        for _ in range(3):
            await page.key("ArrowRight")
        assert await page.value("clip.step") == 3 and await page.value("clip.images[0].src") != first
        await page.key(" ")
        await page.until("clip.step === 9")  # played to its end
        await page.key("s")
        await page.until("byId('outcome').textContent === 'success'")
        await page.key("n")
        await page.until("pair !== null")
        await page.key("2")
        await page.until("byId('kept').textContent === '1 kept' && pair !== null")
        await page.key("4")
        await page.until("byId('kept').textContent === '2 kept'")
        assert await page.value("window.injected") is None

    with served(Archive(tmp_path, TOKEN)) as url:
        visit(url, do)
    assert json.loads((tmp_path / "outcomes.json").read_text()) == {"session-00001": "success"}
    said = read_preferences(tmp_path / "preferences.jsonl")
    assert [word.choice for word in said] == ["second", "unclear"]
    assert {said[0].first.episode, said[0].second.episode} == {"session-00000", "session-00001"}
    assert said[0].first.end - said[0].first.begin == said[0].second.end - said[0].second.begin == 9


def test_keyframes_are_marked_by_keyboard_and_read_by_the_label_command(tmp_path):
    pytest.importorskip("lerobot")
    from robo_reward.console.keyframes import Keyframes
    from robo_reward.data.keyframes import load_dataset_keyframes
    from robo_reward.data.lerobot import write_dataset

    told = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    names = ("near", "far")
    write_dataset(tmp_path / "data", [episode("a", stage=told), episode("b")], fps=20, robot_type="x",
                  task_stages=names)  # fmt: skip

    async def do(page):
        async def go(*keys):
            for key in keys:
                await page.key(key)

        await page.until("clip && episode.name === 'a' && clip.images[1].naturalWidth === 32")
        assert await page.value("keys") == [0, 4, 8]  # the proposal: the stages that were told
        await go(*["ArrowRight"] * 5, "1", "Enter")
        await page.until("byId('done').textContent === '1 of 2 marked'")
        await go("PageDown")
        await page.until("episode.name === 'b'")
        await page.value("keys = [], show(false)")
        await go("1")
        assert "mark stage 0 first" in await page.value("byId('message').textContent")
        await go("0", *["ArrowRight"] * 3, "1", "Enter")
        await page.until("byId('done').textContent === '2 of 2 marked'")
        assert await page.value("byId('instruction').textContent") == INSTRUCTION
        assert await page.value("window.injected") is None

    with served(Keyframes(tmp_path / "data", tmp_path / "marks", TOKEN, names)) as url:
        visit(url, do)
    found = load_dataset_keyframes(tmp_path / "marks" / "keyframes.json", [("a", 13), ("b", 13)])
    assert {name: keys.tolist() for name, keys in found.items()} == {"a": [0, 5, 8], "b": [0, 3]}
