"""The wire between actors and learner: what is taken, what is refused, and in which words."""

import pytest

pytest.importorskip("grpc")

from robo_reward.runtime.link import Client, Lost, Server, Unknown
from robo_reward.runtime.messages import MAX_BYTES, Join, Records, decode, encode, records_crc

RECORDS = Records(3, "ab" * 8, 70_000, (1, 2, 2), (b"begin", b"", b"\x00\xff"), records_crc((1,), (b"begin",)))


@pytest.fixture
def serve():
    """A server of one method that joins; closed at the end."""
    opened, trouble = [], []

    def start(handle=lambda joining: joining, address="127.0.0.1:0", token=""):
        opened.append(Server(address, {"Join": (Join, handle)}, token, trouble.append))
        return opened[-1], trouble

    yield start
    for server in opened:
        server.close()


@pytest.mark.parametrize("message", [RECORDS, Join("1.0", 0, "ab" * 8), Records(0, "", 0, (), (), 0)])
def test_a_message_comes_as_it_was_sent(message):
    assert decode(type(message), encode(message)) == message


@pytest.mark.parametrize(
    "data",
    [b"\xff", encode(RECORDS)[:-1], encode(RECORDS) + b"\x78\x01", encode(RECORDS) * 2, bytes(MAX_BYTES + 1)],
    ids=["no protobuf", "cut short", "an unknown field", "twice", "too large"],
)
def test_nothing_but_the_one_encoding_of_a_known_message_is_taken(data):
    with pytest.raises(ValueError, match="Records"):
        decode(Records, data)


def test_a_message_that_no_link_carries_is_refused_by_its_sender():
    with pytest.raises(ValueError, match="exceeds"):
        encode(Records(0, "", 0, (1,), (bytes(MAX_BYTES),), 0))


def ask(address, token="", timeout_s=10.0):
    client = Client(address, token)
    try:
        return client.call("Join", Join("1.0", 1, "ab"), Join, timeout_s)
    finally:
        client.close()


def test_a_refusal_reaches_the_peer_as_one_line_and_a_fault_stays_inside(serve):
    def refuse(joining):
        raise ValueError("not\n  today")

    def fail(joining):
        raise KeyError("secret")

    def unknown(joining):
        raise Unknown("join first")

    assert ask(serve()[0].address) == Join("1.0", 1, "ab")
    with pytest.raises(ValueError, match="refuses: not today$"):
        ask(serve(refuse)[0].address)
    with pytest.raises(Unknown):
        ask(serve(unknown)[0].address)
    server, trouble = serve(fail)
    with pytest.raises(Lost) as told:
        ask(server.address)
    assert "secret" not in str(told.value) and trouble == ["KeyError: 'secret'"]


def test_a_wrong_token_is_refused(serve):
    server, _ = serve(token="right")
    assert ask(server.address, "right")
    for wrong in ("", "righ", "wrong"):
        with pytest.raises(ValueError, match="wrong token: set ROBO_REWARD_TOKEN"):
            ask(server.address, wrong)


def test_beyond_this_computer_there_is_no_link_without_a_token(serve):
    with pytest.raises(ValueError, match="ROBO_REWARD_TOKEN"):
        serve(address="0.0.0.0:0")
    with pytest.raises(ValueError, match="runtime.certificate"):
        serve(address="0.0.0.0:0", token="right")


def test_a_port_in_use_is_one_line(serve):
    server, _ = serve()
    with pytest.raises(ValueError, match=f"runtime.listen={server.address} cannot be had.*another port"):
        serve(address=server.address)


@pytest.mark.parametrize("address", ["7431", "somewhere:", ":7431", "there:port", "there:70000"])
def test_an_address_is_host_and_port(address):
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        Client(address, "")


def test_a_peer_that_is_not_there_is_lost():
    with pytest.raises(Lost):
        ask("127.0.0.1:9")
