"""TLS between actor and learner: a lab's own certificate is taken, and every mistake with it is one line."""

import socket
import subprocess
from dataclasses import replace

import pytest

pytest.importorskip("grpc")

from robo_reward.config import RuntimeConfig, load_config
from robo_reward.runtime.link import Client, Server
from robo_reward.runtime.messages import Join
from robo_reward.runtime.tls import read_keys, read_root


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folder with certificates of this computer, of the same once more and of another address."""
    folder = tmp_path_factory.mktemp("tls")
    for name, address, days in (("own", "127.0.0.1", 2), ("twin", "127.0.0.1", 2), ("far", "10.0.0.9", 2)):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                   "-days", str(days), "-subj", "/CN=learner", "-addext", f"subjectAltName=IP:{address}",
                   "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"]  # fmt: skip
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("no openssl here")
    return folder


def settings(folder, name, key=None, root=None):
    return RuntimeConfig(certificate=str(folder / f"{name}.pem"), key=str(folder / f"{key or name}.key"),
                         root=str(folder / f"{root or name}.pem"))  # fmt: skip


def ask(server, token, root):
    client = Client(server.address, token, root)
    try:
        return client.call("Join", Join("1.0", 1, "ab"), Join, 10.0)
    finally:
        client.close()


def serve(keys, address="127.0.0.1:0", token="t"):
    return Server(address, {"Join": (Join, lambda joining: joining)}, token, print, keys)


def test_messages_and_token_go_through_tls(made):
    own = settings(made, "own")
    server = serve(read_keys(own))
    try:
        assert ask(server, "t", read_root(own)) == Join("1.0", 1, "ab")
        with pytest.raises(ValueError, match="wrong token"):
            ask(server, "x", read_root(own))
        with socket.create_connection(server.address.split(":"), 10) as plain:  # what a listener on the way sees
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            plain.settimeout(10)
            assert b"SETTINGS" not in plain.recv(100) and not plain.recv(100)
    finally:
        server.close()


@pytest.mark.parametrize(
    "shown, trusted, words",
    [
        ("own", "twin", "its certificate is not one that runtime.root stands for"),
        ("far", "far", "its certificate is for another address"),
        (None, "own", "it speaks without TLS: give the learner runtime.certificate"),
    ],
)
def test_a_link_that_will_never_come_about_is_one_line_and_not_waited_for(made, shown, trusted, words):
    server = serve(read_keys(settings(made, shown)) if shown else None)
    try:
        with pytest.raises(ValueError, match=f"no link with the learner at {server.address}: {words}"):
            ask(server, "t", read_root(settings(made, trusted)))
    finally:
        server.close()


def test_beyond_this_computer_nothing_goes_without_tls(made):
    with pytest.raises(ValueError, match=r"runtime.listen=0.0.0.0:0 .* read the token: set runtime.certificate and"):
        serve(None, "0.0.0.0:0")
    with pytest.raises(ValueError, match="ROBO_REWARD_TOKEN"):
        serve(read_keys(settings(made, "own")), "0.0.0.0:0", token="")
    with pytest.raises(ValueError, match=r"runtime.connect=10.0.0.9:7431 .* set runtime.root to a copy"):
        Client("10.0.0.9:7431", "t")
    serve(read_keys(settings(made, "own")), "0.0.0.0:0").close()
    Client("10.0.0.9:7431", "t", read_root(settings(made, "own"))).close()


def test_wrong_files_are_one_line_each(made):
    own = settings(made, "own")
    for wrong, words in (
        (replace(own, certificate="none.pem"), "runtime.certificate=none.pem cannot be read"),
        (replace(own, key="none.key"), "runtime.key=none.key cannot be read"),
        (settings(made, "own", key="twin"), "no certificate with its own key, without a password .key values mismatch"),
        (replace(own, certificate=own.key), "no certificate with its own key"),
    ):
        with pytest.raises(ValueError, match=words):
            read_keys(wrong)
    secret = made / "secret.key"
    subprocess.run(["openssl", "ec", "-in", own.key, "-aes128", "-passout", "pass:word", "-out", secret], check=True,
                   capture_output=True)  # fmt: skip
    with pytest.raises(ValueError, match="without a password"):
        read_keys(replace(own, key=str(secret)))
    with pytest.raises(ValueError, match="runtime.root=none.pem cannot be read"):
        read_root(replace(own, root="none.pem"))
    with pytest.raises(ValueError, match="holds no certificate .*: copy the learner's"):
        read_root(replace(own, root=own.key))
    assert read_keys(RuntimeConfig()) is None and read_root(RuntimeConfig()) is None


@pytest.mark.parametrize(
    "words, command, told",
    [
        (["runtime.certificate=a"], "learner", "belong together"),
        (["runtime.certificate=a", "runtime.key=b", "runtime=async"], "train", "is for learner and runtime=ray"),
        (["runtime.certificate=a", "runtime.key=b"], "actor", "an actor takes runtime.root"),
        (["runtime.root=a"], "learner", "give it to actor"),
    ],
)
def test_a_setting_where_nobody_reads_it_is_refused(words, command, told):
    with pytest.raises(ValueError, match=told):
        load_config(words, command)


def test_a_run_is_learned_over_tls(made, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("mujoco")
    from robo_reward.runtime.actor import run_actor
    from robo_reward.testing.small_run import learning, small_config, small_school

    own = settings(made, "own")
    plain = small_config(tmp_path, rollouts=2)
    runtime = replace(plain.runtime, certificate=own.certificate, key=own.key)
    config = replace(plain, command="learner", runtime=runtime)
    with learning(config, small_school(config, tmp_path), tmp_path / "run", token="t") as learner:
        with pytest.raises(ValueError, match="wrong token"):
            run_actor(plain, learner.address, 0, "x", read_root(own))
        assert run_actor(plain, learner.address, 0, "t", read_root(own)) >= 2
        assert learner.wait()["rollouts"] == 2
