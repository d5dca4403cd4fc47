"""The pages of past episodes and of keyframes, over HTTP: who gets an answer, what is kept, what is refused."""

from __future__ import annotations

import asyncio
import json
import threading

import numpy as np
import pytest

aiohttp = pytest.importorskip("aiohttp")
pytest.importorskip("PIL")

from robo_reward.console.archive import Archive  # noqa: E402
from robo_reward.console.web import BODY_BYTES, WAITING, Server  # noqa: E402
from robo_reward.data.preferences import read_preferences  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.types import Episode  # noqa: E402

TOKEN = "a-token"


def episode(name, steps=8, instruction="<b>do</b>", success=False, stage=None):
    ones = np.ones((steps + 1, 2), np.float32)
    views = {view: np.full((steps + 1, 8, 8, 3), 9, np.uint8) for view in ("front", "side")}
    for stack in views.values():
        stack += np.arange(steps + 1, dtype=np.uint8)[:, None, None, None] * 20
    return Episode(name, instruction, "policy", 7, ones, ones, np.zeros((steps, 4), np.float32), ones[1:, 0],
                   np.zeros(steps + 1, np.int64) if stage is None else stage, ones[:, 0], False, True, success,
                   np.arange(steps + 1), views)  # fmt: skip


def ask(port, *requests, token=TOKEN, **headers):
    """[(status, answer)] of (path) or (path, posted body) requests, in order."""

    async def go():
        found = []
        async with aiohttp.ClientSession(headers={"X-Token": token, **headers}) as http:
            for path, *posted in requests:
                url, method = f"http://127.0.0.1:{port}{path}", "POST" if posted else "GET"
                data = posted and (posted[0] if isinstance(posted[0], str) else json.dumps(posted[0])) or None
                async with http.request(method, url, data=data) as answer:
                    text = await answer.text()
                    found.append((answer.status, json.loads(text) if "json" in answer.content_type else text))
        return found

    return asyncio.run(go())


@pytest.fixture
def archive(tmp_path):
    """(folder, port) of a served archive of two episodes."""
    with TransitionStore(tmp_path / "store", writable=True) as store:
        sequence = store.append_episode("session", 0, episode("session-00000"))
        store.append_episode("session", sequence, episode("session-00001", 5, success=True))
    server = Server(Archive(tmp_path, TOKEN), 0)
    yield tmp_path, server.port
    server.close()


def test_past_episodes_are_listed_and_shown_with_their_curve(archive):
    folder, port = archive
    (folder / "curves").mkdir()
    (folder / "curves" / "session-00001.json").write_text(json.dumps({"oracle": [0.5], "model": [[1]], "sources": "h"}))
    (_, found), (_, first), (_, second) = ask(
        port, ("/episodes",), ("/episodes/session-00000",), ("/episodes/session-00001",)
    )
    assert [(e["name"], e["steps"], e["world"], e["outcome"]) for e in found] == [
        ("session-00000", 8, False, None), ("session-00001", 5, True, None)]  # fmt: skip
    assert first["steps"] == list(range(9)) and first["oracle"] == [1.0] * 9 and first["sources"] == "p" * 8
    assert {view: len(pictures) for view, pictures in first["views"].items()} == {"front": 9, "side": 9}
    assert first["views"]["front"][0].startswith("data:image/jpeg;base64,")
    assert second["oracle"] == [0.5] and second["sources"] == "h"


@pytest.mark.parametrize("token", ["", "wrong", "\u00e9"])
@pytest.mark.parametrize(
    "request_", [("/episodes",), ("/episodes/session-00000",), ("/outcomes", {}), ("/preferences", {})]
)
def test_without_the_token_there_is_no_answer(archive, token, request_):
    [(status, text)] = ask(archive[1], request_, token=token)
    assert status == 403 and "wrong token" in text


def test_another_name_of_this_address_is_turned_away(archive):
    assert ask(archive[1], ("/episodes",), Host="evil.example")[0][0] == 403


def test_outcomes_and_preferences_are_kept(archive):
    folder, port = archive
    clips = {"first": {"episode": "session-00000", "begin": 0, "end": 5},
             "second": {"episode": "session-00001", "begin": 0, "end": 5}}  # fmt: skip
    answers = ask(
        port, ("/outcomes", {"episode": "session-00000", "outcome": "success"}),
        ("/outcomes", {"episode": "session-00001", "outcome": "partial"}),
        ("/preferences", {**clips, "choice": "second"}), ("/preferences", {**clips, "choice": "unclear"}),
    )  # fmt: skip
    assert [status for status, _ in answers] == [200] * 4 and answers[-1][1] == 2
    assert json.loads((folder / "outcomes.json").read_text()) == {
        "session-00000": "success", "session-00001": "partial"}  # fmt: skip
    assert [said.choice for said in read_preferences(folder / "preferences.jsonl")] == ["second", "unclear"]


def preference(begin, end, choice="first"):
    first, second = ({"episode": "session-00000", "begin": begin, "end": end} for _ in range(2))
    return {"first": first, "second": second, "choice": choice}


@pytest.mark.parametrize(
    ("path", "posted", "status", "words"),
    [
        ("/outcomes", {"episode": "session-00009", "outcome": "success"}, 404, "episode session-00009 is not there"),
        ("/outcomes", {"episode": "session-00000", "outcome": "great"}, 400, "choose success, failure, partial"),
        ("/outcomes", {"episode": 3, "outcome": "success"}, 400, "episode has to be a str"),
        ("/outcomes", "{", 400, "no JSON"),
        ("/outcomes", "[" * 5000, 400, ""),
        ("/outcomes", " " * (BODY_BYTES + 1), 413, ""),
        ("/preferences", {"first": {}, "second": {}, "choice": "first"}, 404, "is not there"),
        ("/preferences", preference(0, 99), 400, "clip ends at 99: session-00000 has 8 steps"),
        ("/preferences", preference(0.5, 2), 400, "whole"),
        ("/preferences", preference(0, 2, "<b>"), 400, "choose"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(archive, path, posted, status, words):
    folder, port = archive
    [(found, answer)] = ask(port, (path, posted))
    assert found == status and words in (answer["refused"] if isinstance(answer, dict) else answer)
    assert not (folder / "outcomes.json").exists() and not (folder / "preferences.jsonl").exists()


def test_a_path_is_no_way_out_of_the_folder(archive):
    for name in ("..%2F..%2Fstore.json", "session-00000%00"):
        assert ask(archive[1], (f"/episodes/{name}",))[0][0] in (400, 404)
        assert ask(archive[1], (f"/places/{name}",))[0][0] in (400, 404)


def test_a_flood_of_questions_is_turned_away_and_harms_nobody(archive):
    async def flood():
        async with aiohttp.ClientSession(headers={"X-Token": TOKEN}, connector=aiohttp.TCPConnector(limit=0)) as http:

            async def one():
                async with http.get(f"http://127.0.0.1:{archive[1]}/episodes/session-00000") as answer:
                    return answer.status

            return await asyncio.gather(*(one() for _ in range(8 * WAITING)))

    assert {*asyncio.run(flood())} == {200, 429}
    assert ask(archive[1], ("/episodes",))[0][0] == 200


def test_the_picture_of_a_place_is_shown(archive):
    folder, port = archive
    (folder / "places").mkdir()
    (folder / "places" / "00003.png").write_bytes(b"png")
    (status, found), (missing, refused) = ask(port, ("/places/3",), ("/places/4",))
    assert status == 200 and found == {"picture": "data:image/png;base64,cG5n"}
    assert missing == 404 and refused == {"refused": "a picture of place 4 is not there"}


NAMES = ("near", "far")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    pytest.importorskip("lerobot")
    from robo_reward.data.lerobot import write_dataset

    folder = tmp_path_factory.mktemp("lerobot") / "data"
    told = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    episodes = [episode("a", stage=told, success=True), episode("b", 5)]
    write_dataset(folder, episodes, fps=20, robot_type="x", task_stages=NAMES)
    return folder


@pytest.fixture
def keyframes(dataset, tmp_path):
    """(folder, port, serve) of a served dataset of two episodes; `serve()` serves it once more."""
    from robo_reward.console.keyframes import Keyframes

    servers = []

    def serve():
        servers.append(Server(Keyframes(dataset, tmp_path / "marks", TOKEN, NAMES), 0))
        return servers[-1].port

    yield tmp_path / "marks", serve(), serve
    for server in servers:
        server.close()


def test_keyframes_are_proposed_marked_and_read_by_the_label_command(keyframes):
    from robo_reward.data.keyframes import load_dataset_keyframes

    folder, port, serve = keyframes
    (_, table), (_, first) = ask(port, ("/dataset",), ("/dataset/0",))
    assert table["stages"] == ["near", "far"] and [e["marked"] for e in table["episodes"]] == [False, False]
    assert (
        first["proposals"]["stages"] == [0, 3, 5] and len(first["views"]["front"]) == 9 and first["keyframes"] is None
    )
    answers = ask(
        port, ("/keyframes", {"episode": "a", "keyframes": [0, 4, 8]}),
        ("/keyframes", {"episode": "b", "keyframes": [0, 2]}),
        ("/paraphrases", {"instruction": "<b>do</b>", "paraphrases": ["do it ", "get it done"]}),
    )  # fmt: skip
    assert [status for status, _ in answers] == [200] * 3
    found = load_dataset_keyframes(folder / "keyframes.json", [("a", 9), ("b", 6)])
    assert {name: keys.tolist() for name, keys in found.items()} == {"a": [0, 4, 8], "b": [0, 2]}
    (_, table), (_, again) = ask(serve(), ("/dataset",), ("/dataset/0",))  # a restart
    assert [e["marked"] for e in table["episodes"]] == [True, True] and again["keyframes"] == [0, 4, 8]
    assert again["paraphrases"] == ["do it", "get it done"]
    ask(port, ("/keyframes", {"episode": "a", "keyframes": []}))
    assert json.loads((folder / "keyframes.json").read_text()) == {"b": [0, 2]}


@pytest.mark.parametrize(
    ("path", "posted", "status", "words"),
    [
        ("/keyframes", {"episode": "z", "keyframes": [0, 1]}, 404, "episode z is not there"),
        ("/keyframes", {"episode": "a", "keyframes": [0, 9]}, 400, "lies outside the episode, whose frames are 0 to 8"),
        ("/keyframes", {"episode": "a", "keyframes": [0, 4, 4]}, 400, "keyframes must increase"),
        ("/keyframes", {"episode": "a", "keyframes": [0, 1, 2, 3]}, 400, "4 keyframes for 2 stages"),
        ("/keyframes", {"episode": "a", "keyframes": [0, True]}, 400, "no whole number"),
        ("/paraphrases", {"instruction": "other", "paraphrases": []}, 404, "is not there"),
        ("/paraphrases", {"instruction": "<b>do</b>", "paraphrases": ["x" * 3000]}, 400, "2000 characters"),
        ("/dataset/7", None, 404, "episode 7 is not there"),
        ("/dataset/x", None, 400, ""),
    ],
)
def test_marks_that_do_not_fit_are_refused(keyframes, path, posted, status, words):
    folder, port, _ = keyframes
    [(found, answer)] = ask(port, (path,) if posted is None else (path, posted))
    assert found == status and words in answer["refused"] and not folder.exists()


def test_a_past_label_changes_while_the_session_runs(tmp_path):
    """In the loop's thread, so that a learner never meets a label that is being written."""
    from robo_reward.hil.protocol import Protocol

    protocol = Protocol(tmp_path / "protocol.json")
    for event in ("arm", "start", "success", "reset_done", "start", "discard", "reset_done", "start", "e_stop"):
        protocol.apply(event)
    protocol.relabel(0, "failure")
    assert Protocol(tmp_path / "protocol.json").labels == ["failure", "discard", "aborted"]
    for number, label in ((2, "success"), (3, "success"), (-1, "success"), (0, "re_record"), (0, "great")):
        with pytest.raises(ValueError, match="was not judged, or is gone|is none for an episode"):
            protocol.relabel(number, label)


def test_threads_of_servers_end(tmp_path):
    before = threading.active_count()
    Server(Archive(tmp_path, TOKEN), 0).close()
    assert threading.active_count() <= before + 1  # the executor's may stay
