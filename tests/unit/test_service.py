"""serve-reward: any client gets the model's own answers; what is wrong is refused, and costs others nothing."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("aiohttp")
pytest.importorskip("prometheus_client")

from robo_reward.config import ServeConfig
from robo_reward.console.web import Server
from robo_reward.interfaces import Unanswered
from robo_reward.progress.calls import Caller, CallSettings
from robo_reward.progress.models import remote
from robo_reward.progress.models.compact import CompactModel
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings
from robo_reward.progress.models.remote import RemoteModel, ask_served
from robo_reward.progress.references import Reference, References
from robo_reward.progress.reward_model import RewardModel, load_reward
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.progress.wire import encode_query
from robo_reward.service.server import Service, secure, serve
from robo_reward.types import HopEstimate, HopQuery

SIZE, VIEWS, TOKEN = 32, ("front", "wrist"), "secret"
rng = np.random.default_rng(0)


def reward_model():
    settings = CompactSettings(VIEWS, SIZE, channels=(4,), kernels=(4,), strides=(4,), view_features=8, features=8)
    still = {v: rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8) for v in VIEWS}
    return RewardModel(CompactModel(CompactNet(settings)), References(do=Reference(still, still)), TrackerSettings(2))


def query(rows=5, count=4, size=SIZE, views=VIEWS):
    frames = {v: rng.integers(0, 256, (count, size, size, 3), np.uint8) for v in views}
    before, after = rng.integers(0, count, (2, rows))
    start, goal = rng.integers(-1, count, (2, rows))
    return HopQuery(frames, before, after, start, goal, ("do",) * rows)


@pytest.fixture
def serving():
    """Starts a service in a thread; gives it and its address."""
    started = []

    def start(reward, **settings):
        service = Service(reward, ServeConfig(**settings), TOKEN)
        started.append(Server(service, 0))
        return service, f"http://127.0.0.1:{started[-1].port}"

    yield start
    for server in started:
        server.close()


def client(url, **settings):
    caller = Caller(url, CallSettings(**{"attempts": 1, "cool_down_s": 0.0, **settings}), TOKEN)
    return RemoteModel(caller, ask_served(caller))


def get(url, token=TOKEN, body=None):
    """Status, text and headers of one plain request."""
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def same(a, b):
    for name in ("hop_B", "confidence_B", "valid_B"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-5)


def test_a_client_gets_the_models_own_answers_also_in_parts_and_from_its_folder(serving, tmp_path, monkeypatch):
    reward = reward_model()
    _, url = serving(reward)
    found, asked = client(url), query(50, 20)
    assert found.model_id == reward.model.model_id and found.settings.image_size == SIZE
    same(found.hop(asked), reward.model.hop(asked))
    monkeypatch.setattr(remote, "PART_ROWS", 7)
    monkeypatch.setattr(remote, "PART_BYTES", 6 * 2 * SIZE * SIZE * 3)
    assert len(remote.parts(asked)) > 8
    same(found.hop(asked), reward.model.hop(asked))
    monkeypatch.setenv("ROBO_REWARD_TOKEN", TOKEN)
    RewardModel(found, reward.references, reward.tracker).save(tmp_path)
    loaded = load_reward(tmp_path)
    assert loaded.name == "remote" and loaded.track_id == reward.track_id
    same(loaded.model.hop(asked), reward.model.hop(asked))
    assert TOKEN not in (tmp_path / "remote.json").read_text()


def test_only_what_the_model_knows_is_sent_and_a_camera_that_it_does_not_know_is_told(serving):
    reward = reward_model()
    service, url = serving(reward)
    seen, hop = [], reward.model.hop
    service.batcher._hop = lambda asked: seen.append(set(asked.frames)) or hop(asked)
    client(url).hop(query(views=("front", "top")))
    assert seen == [{"front"}]
    with pytest.raises(ValueError, match=r"cameras \['top'\]: the reward model knows \['front', 'wrist'\]"):
        client(url).hop(query(views=("top",)))


def test_questions_of_several_clients_are_asked_together(serving):
    reward = reward_model()
    sizes, hop, begun, go = [], reward.model.hop, threading.Event(), threading.Event()

    def watched(asked):
        sizes.append(len(asked))
        begun.set()
        assert go.wait(20)
        return hop(asked)

    reward.model.hop = watched
    service, url = serving(reward, wait_ms=0.0)
    asked, model = [query(3 + n) for n in range(5)], client(url)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(model.hop, asked[0])
        assert begun.wait(20)
        others = [pool.submit(client(url).hop, each) for each in asked[1:]]
        while service._in_flight < 5:
            threading.Event().wait(0.005)
        threading.Event().wait(0.1)
        go.set()
        answers = [first.result(), *(other.result() for other in others)]
    for each, answer in zip(asked, answers, strict=True):
        same(answer, hop(each))
    assert sizes == [3, 4 + 5 + 6 + 7]
    text = get(f"{url}/metrics")[1]
    assert "robo_reward_batch_rows_count 2.0" in text and "robo_reward_hop_rows_total 25.0" in text
    assert 'robo_reward_requests_total{status="200"}' in text


def test_a_model_that_fails_on_one_question_answers_the_others(serving, capsys):
    class Picky:
        model_id = "picky"
        settings = CompactSettings(VIEWS, SIZE)

        def hop(self, asked):
            if "bad" in asked.instruction_B:
                raise RuntimeError("secret path /home/me")
            threading.Event().wait(0.05)
            return HopEstimate(*np.float32([[0.5] * len(asked)] * 2), np.ones(len(asked), bool))

    _, url = serving(RewardModel(Picky(), reward_model().references, TrackerSettings()), wait_ms=100.0)
    bad = encode_query(replace(query(), instruction_B=("bad",) * 5))
    with ThreadPoolExecutor(3) as pool:
        fine = [pool.submit(client(url).hop, query()) for _ in range(2)]
        wrong = pool.submit(get, f"{url}/hop", TOKEN, bad)
        assert all(each.result().valid_B.all() for each in fine)
        status, text, _ = wrong.result()
    assert (status, text) == (500, "the reward model failed")
    assert "RuntimeError" in capsys.readouterr().out


def test_who_comes_when_too_many_wait_is_told_when_to_come_back_and_a_hung_model_is_seen(serving):
    go, reward = threading.Event(), reward_model()
    reward.model.hop = lambda asked: go.wait(20) and None
    service, url = serving(reward, waiting=1, deadline_s=0.2)
    body = encode_query(query())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, f"{url}/hop", TOKEN, body)
        while not service._in_flight:
            threading.Event().wait(0.005)
        status, _, headers = get(f"{url}/hop", body=body)
        assert status == 429 and int(headers["Retry-After"]) >= 1
        assert first.result()[0] == 504
    while service.batcher.busy_s < 0.2:
        threading.Event().wait(0.01)
    assert get(f"{url}/health")[0] == 503
    go.set()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"hello", 400, "no hop question"),
        (encode_query(query(size=16)), 400, "this model takes 32 square"),
        (encode_query(query(views=("top",))), 400, "cameras top: this model knows front, wrist"),
        (b"x" * (32 * 2**20 + 1), 413, "at most"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(serving, body, status, says):
    _, url = serving(reward_model())
    found, text, _ = get(f"{url}/hop", body=body)
    assert found == status and says in text and "Traceback" not in text and "\n" not in text
    assert client(url).hop(query()).valid_B.any()


@pytest.mark.parametrize("path", ["model", "metrics", "hop", "nothing"])
@pytest.mark.parametrize("token", ["", "wrong", "sécret"])
def test_nobody_is_answered_without_the_token(serving, path, token):
    _, url = serving(reward_model())
    request = urllib.request.Request(f"{url}/{path}", b"x" if path == "hop" else None)
    request.add_header("Authorization", f"Bearer {token}")
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(request, timeout=20)
    assert told.value.code == 401
    told.value.close()
    assert get(f"{url}/health", token="")[0] == 200
    with pytest.raises(Unanswered, match="does not take this token"):
        ask_served(Caller(url, CallSettings(attempts=1), "wrong"))


def test_other_paths_and_methods_are_not_there(serving):
    _, url = serving(reward_model())
    assert get(f"{url}/nothing")[0] == 404 and get(f"{url}/hop")[0] == 405


def test_beyond_this_machine_a_certificate_is_needed(tmp_path):
    with pytest.raises(ValueError, match="a token does not travel in the clear beyond this machine"):
        secure(ServeConfig(host="0.0.0.0"))
    (tmp_path / "pem").write_text("no certificate")
    with pytest.raises(ValueError, match="give PEM files"):
        secure(ServeConfig(host="0.0.0.0", certificate=str(tmp_path / "pem"), key=str(tmp_path / "pem")))
    assert secure(ServeConfig()) is None


def test_a_port_that_is_taken_is_told(serving):
    _, url = serving(reward_model())
    with pytest.raises(ValueError, match="serve.port=.*: choose others"):
        serve(reward_model(), ServeConfig(port=int(url.rsplit(":", 1)[1])), quiet=True)


HUNG = """
import sys, threading
from types import SimpleNamespace
from robo_reward.config import ServeConfig
from robo_reward.progress.tracker import TrackerSettings
from robo_reward.service.server import serve

def hop(query):
    print("hangs", flush=True)
    threading.Event().wait()

settings = SimpleNamespace(views=("front", "wrist"), image_size=32, stages=4)
model = SimpleNamespace(model_id="m", settings=settings, hop=hop)
print(serve(SimpleNamespace(model=model, tracker=TrackerSettings(), references={}), ServeConfig(port=0)))
"""


def test_sigterm_ends_it_cleanly_even_while_its_model_hangs():
    words = {**os.environ, "ROBO_REWARD_TOKEN": TOKEN}
    command = [sys.executable, "-c", HUNG]
    with subprocess.Popen(command, env=words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = re.search(r"reward\.url=(\S+)", process.stdout.readline())[1]
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(lambda: pytest.raises(OSError, get, f"{url}/hop", TOKEN, encode_query(query())))
                assert process.stdout.readline() == "hangs\n"
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0
                asked.result()
            assert "answered_requests" in process.stdout.read() and process.stderr.read() == ""
        finally:
            process.kill()


def test_a_batch_never_holds_pictures_of_different_sizes_or_cameras():
    from robo_reward.service.batcher import Batcher

    seen = []

    def hop(asked):
        seen.append((sorted(asked.frames), len(asked)))
        return HopEstimate(*np.zeros((2, len(asked)), np.float32), np.ones(len(asked), bool))

    async def main():
        batcher = Batcher(hop, 100, 0.05, lambda rows, seconds: None)
        worker = asyncio.create_task(batcher.work())
        asked = [query(2), query(3, views=("front",)), query(4), query(120)]
        answers = await asyncio.gather(*(batcher.ask(each) for each in asked))
        worker.cancel()
        return [len(answer.hop_B) for answer in answers]

    assert asyncio.run(main()) == [2, 3, 4, 120]
    assert sorted(seen) == [(["front"], 3), (["front", "wrist"], 6), (["front", "wrist"], 120)]
