"""A person in a real browser beside the learner's loop: takes over, labels, undoes, while the policy learns."""

from __future__ import annotations

import json
import signal
import threading
from functools import partial

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("mujoco")
pytest.importorskip("PIL")

from robo_reward.config import (
    AgentConfig,
    Config,
    ConsoleConfig,
    EnvConfig,
    HilConfig,
    RewardConfig,
    TrainConfig,
)
from robo_reward.console.session import Session
from robo_reward.data.store import TransitionStore
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.runtime.tasks import make_env
from robo_reward.testing.browser import find_chromium
from robo_reward.testing.console_page import start_episode, visit
from robo_reward.testing.episodes import oracle

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_chromium() is None, reason="no chromium")]


def test_a_person_trains_a_policy_takes_over_labels_and_undoes(tmp_path, monkeypatch):
    """The learner's loop is the main thread's, as in the command; the browser is a person's thread."""
    torch = pytest.importorskip("torch")
    from robo_reward.console import serving, training
    from robo_reward.evaluation.rollout import run_policy

    torch.set_num_threads(1)
    config = Config(
        quiet=True,
        env=EnvConfig(horizon=400),
        reward=RewardConfig(kind="oracle"),
        agent=AgentConfig(hidden=16, heads=3, batch=8, updates_per_step=1),
        hil=HilConfig(kind="console"),
        console=ConsoleConfig(port=0),
        train=TrainConfig(rollouts=2, warmup_rollouts=0, evaluate_every=2, evaluate_episodes=1),
    )

    async def do(page):
        await page.until("state.you === 'operator' && state.figures.of === 2")
        await start_episode(page)
        await page.key(" ", down=True)
        await page.until("state.state === 'taken_over' && state.sources.endsWith('hhh')")
        await page.key(" ", down=False)
        await page.key("1")
        await page.until("String(state.labels) === 'success' && state.state === 'armed'")
        assert "rollout 1 of 2; 1 of the last 1 with help" in await page.value("byId('figures').textContent")
        await page.key("u")
        await page.until("state.state === 'judging'")
        await page.key("2")
        await page.until("String(state.labels) === 'failure' && state.state === 'armed'")
        await page.key("Enter")
        await page.until("state.state === 'running' && state.oracle.length > 3")
        await page.key("1")
        await page.until("state.state === 'not connected'")  # it has all it needs

    people, failed = [], []

    def person(url):
        try:
            visit(url, do)
        except Exception as error:  # noqa: BLE001 - shown by the main thread
            failed.append(error)
            signal.raise_signal(signal.SIGINT)

    def say(line):
        people.append(threading.Thread(target=person, args=(line.split()[1],)))
        people[0].start()

    monkeypatch.setattr(serving, "say", say)
    monkeypatch.setattr(training, "Session", partial(Session, stale_s=2.0))
    env = make_env(config.env)
    demonstrations = list(run_policy(env, ZeroPolicy(4), [1], source="expert"))
    logged = []
    try:
        summary = training.train_attended(
            config, env, ZeroPolicy(4), demonstrations, oracle, None, None, tmp_path,
            lambda step, **numbers: logged.append(numbers),
        )  # fmt: skip
    except KeyboardInterrupt:
        raise failed[0] from None
    finally:
        people[0].join()
        env.close()
    assert [numbers["train_success"] for numbers in logged] == [1.0, 1.0] and summary["rollouts"] == 2
    assert json.loads((tmp_path / "protocol.json").read_text())["labels"] == ["failure", "success"]
    store = TransitionStore(tmp_path / "store")
    assert store.read("session-00000").intervention.any() and not store.read("session-00001").intervention.any()
