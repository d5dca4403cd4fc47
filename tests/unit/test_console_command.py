"""`robo-reward console` from its settings to its summary; the stages behind it are replaced."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace

import pytest

pytest.importorskip("aiohttp")
pytest.importorskip("mujoco")

from robo_reward.config import Config, ConsoleConfig, RewardConfig, RunConfig
from robo_reward.console import command, serving
from robo_reward.console.session import Session
from robo_reward.data.store import TransitionStore
from robo_reward.policies.simple import ZeroPolicy
from robo_reward.runtime import steps
from robo_reward.runtime.stages import StageResult


@pytest.fixture
def config(tmp_path, monkeypatch):
    stage = StageResult("base", tmp_path, "0", {}, 0.0, True)
    monkeypatch.setattr(command, "dataset_stage", lambda config: stage)
    monkeypatch.setattr(steps, "base_stage", lambda config, data: stage)
    monkeypatch.setattr(steps, "load_base", lambda config, base: ZeroPolicy(4))
    run = RunConfig(dir=str(tmp_path / "run"))
    return Config(command="console", reward=RewardConfig(kind="oracle"), run=run, console=ConsoleConfig(port=0))


def serve(config, monkeypatch, number):
    """Run the command with an episode under way when the signal comes; what it said."""
    said = []
    monkeypatch.setattr(serving, "say", said.append)
    begun = Session.run

    def run(session):
        session.post("arm")

        def go_on():
            session.post("start").result(60)
            while len(session.view.state["oracle"]) < 5:
                time.sleep(0.01)
            os.kill(os.getpid(), number)

        threading.Thread(target=go_on).start()
        begun(session)

    monkeypatch.setattr(Session, "run", run)
    command.console(config)
    return said


def test_a_signal_ends_the_session_with_a_summary_and_the_command_goes_on_with_it(config, monkeypatch, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        [line] = serve(config, patch, signal.SIGINT)
    assert line.startswith("console: http://127.0.0.1:") and "#" in line
    assert signal.getsignal(signal.SIGINT) is before
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["hil_episodes"], summary["labelled_aborted"]) == (1, 1)
    with monkeypatch.context() as patch:
        [again] = serve(config, patch, signal.SIGTERM)
    assert again.split("#")[1] == line.split("#")[1]  # an open page finds the session again
    token = tmp_path / "run" / "session" / "token"
    assert token.stat().st_mode & 0o777 == 0o600
    token.chmod(0o644)
    assert serving.kept_token(token) not in line  # others may have read it
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["hil_episodes"], summary["labelled_aborted"]) == (2, 2)


def test_past_episodes_are_shown_without_a_session(config, monkeypatch, tmp_path):
    TransitionStore(tmp_path / "past" / "store", writable=True).close()

    def say(line):
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()

    monkeypatch.setattr(serving, "say", say)
    review = replace(config, console=ConsoleConfig(port=0, page="review"), store=str(tmp_path / "past"))
    assert command.console(review)["reviewed"] == str(tmp_path / "past")


@pytest.mark.parametrize(("page", "missing"), [("review", "store=FOLDER"), ("keyframes", "dataset=FOLDER")])
def test_a_page_without_anything_to_show_is_refused(page, missing):
    with pytest.raises(ValueError, match=f"console.page={page} needs {missing}"):
        Config(command="console", console=ConsoleConfig(page=page))


def test_the_watched_policy_starts_by_itself(config, monkeypatch):
    monkeypatch.setattr(serving, "say", lambda line: None)
    begun = Session.run

    def run(session):
        def end():
            while len(session.view.state.get("oracle", ())) < 3:
                time.sleep(0.01)
            session.stop()

        threading.Thread(target=end).start()
        begun(session)

    monkeypatch.setattr(Session, "run", run)
    summary = command.console(replace(config, console=ConsoleConfig(port=0, page="watch")))
    assert summary["hil_episodes"] == 1 and summary["labelled_aborted"] == 1
