"""reward=remote: what is refused before any work, in one line."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("aiohttp")

from robo_reward.config import load_config
from robo_reward.interfaces import Unanswered
from robo_reward.progress.calls import TOKEN
from robo_reward.progress.models.remote import load_remote
from robo_reward.runtime import remote_reward
from robo_reward.runtime.pipeline import annotate, train
from robo_reward.runtime.remote_reward import open_remote, remote_stage
from robo_reward.runtime.stages import StageResult
from robo_reward.testing.reward_server import BadServer, about, constant


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([], r"reward=remote asks a server: add reward\.url=http://HOST:PORT"),
        (["reward.url=http://127.0.0.1:9", "reward.api=openai"], r"add reward\.model=NAME"),
        (["reward.url=http://127.0.0.1:9", "agent=residual_ppo", "shaping=potential"], "use another agent"),
        (["reward.url=http://127.0.0.1:9", "suite=sim"], r"reward\.url= with suite\.tasks"),
    ],
)
@pytest.mark.parametrize("command", [annotate, train])
def test_settings_that_cannot_work_are_told_before_anything_is_collected(tmp_path, settings, says, command):
    with pytest.raises(ValueError, match=says):
        command(load_config(["reward=remote", f"run.root={tmp_path}", "quiet=true", *settings], command.__name__))
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["reward=gvl"], r"reward=gvl needs a vision-language model: add reward\.model="),
        (["reward=robometer", "reward.model=m", "reward.url=http://127.0.0.1:9"], "numbers that chat servers do not"),
        (["reward=grm", "reward.model=m", "reward.url=http://127.0.0.1:9"], "numbers that chat servers do not"),
        (["reward=lrm", "reward.model=m", "reward.url=http://127.0.0.1:9", "agent=residual_ppo", "shaping=potential"],
         "which reward=lrm may annotate too late"),
    ],
)  # fmt: skip
def test_models_that_answer_in_words_say_what_they_lack(tmp_path, settings, says):
    with pytest.raises(ValueError, match=says):
        train(load_config([f"run.root={tmp_path}", "quiet=true", *settings]))
    assert not (tmp_path / "stages").exists()


def remote(url, *settings):
    return open_remote(load_config(["reward=remote", f"reward.url={url}", "reward.attempts=1", *settings]))


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"views": ["top"]}, "its model knows the views top, here there is front, side, wrist"),
        ({"image_size": 224}, r"its model takes pictures of 224 px: set env\.image_size=224"),
        ({"image_size": "84"}, "no description of a reward model"),
        ({"completion": {"threshold": 7}}, r"completion\.threshold=7"),
        ({"model_id": 3}, "no description of a reward model"),
        ({"more": 1}, "expected a JSON object with model_id"),
    ],
)
def test_a_server_with_another_model_or_none_is_told_in_one_line(described, says):
    with BadServer(constant(0.25), about("m", 84) | described) as server:
        with pytest.raises((ValueError, Unanswered), match=says) as told:
            remote(server.url)
        assert "\n" not in str(told.value)


def test_a_model_that_is_shown_other_views_is_another_stage(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_reward, "_keep", lambda *_: {})
    data = StageResult("collect", tmp_path, "", {}, 0.0, False)
    with BadServer(constant(0.25), about("m", 84) | {"views": ["front", "side", "wrist"]}) as server:
        words = ["reward=remote", f"reward.url={server.url}", f"run.root={tmp_path}", "quiet=true"]
        every, same, one = (
            remote_stage(load_config([*words, *views]), data)
            for views in ([], ["reward.views=[front,side,wrist]"], ["reward.views=[wrist]"])
        )
    assert same.reused and same.path == every.path != one.path


@pytest.mark.parametrize("api", ["robo_reward", "openai"])
@pytest.mark.parametrize(("way", "says"), [("html", "answered nonsense"), ("crash", "is not there"),
                                           ("forbidden", "does not take this token")])  # fmt: skip
def test_what_does_not_answer_as_a_reward_server_is_told_at_once(way, says, api):
    with BadServer(constant(0.25), about("m", 84), chat=lambda asked: {"message": {"content": "x"}}) as server:
        server.way = way
        with pytest.raises(Unanswered, match=says):
            remote(server.url, f"reward.api={api}", "reward.model=m")


def test_no_token_goes_beyond_this_machine_in_the_clear(monkeypatch):
    monkeypatch.setenv(TOKEN, "secret")
    with pytest.raises(ValueError, match="a token does not travel over plain http beyond this machine"):
        remote("http://192.0.2.1:8766")


def test_a_damaged_folder_is_told(tmp_path):
    (tmp_path / "remote.json").write_text('{"url": 3}')
    with pytest.raises(ValueError, match="not a remote reward model"):
        load_remote(tmp_path)
