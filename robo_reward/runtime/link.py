"""The wire between actors and the learner: gRPC with sizes, deadlines, a token, and TLS beyond this computer.

Only this module knows gRPC. A handler takes a checked message and returns one; what it refuses (ValueError) reaches
the peer as one line, and anything else it raises stays in this process's own log.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines beside ours: read when it is imported
import grpc

from robo_reward.runtime.messages import MAX_BYTES, decode, encode
from robo_reward.runtime.tls import Keys

TOKEN = "ROBO_REWARD_TOKEN"
"""Environment variable with the token that both sides know."""
_SERVICE = "robo_reward.Link"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_SIZES = [("grpc.max_receive_message_length", MAX_BYTES + 1024), ("grpc.max_send_message_length", MAX_BYTES + 1024)]
R = TypeVar("R")
Handler = tuple[type[Any], Callable[[Any], Any]]
"""The message that a method takes, and the function that answers it."""
_MISTAKES = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not one that runtime.root stands for, or is out of date: copy "
    "the learner's runtime.certificate here",
    "Hostname Verification": "its certificate is for another address: make one that names this address, or connect to "
    "the one that it names",
    "WRONG_VERSION_NUMBER": "it speaks without TLS: give the learner runtime.certificate and runtime.key",
}
"""What gRPC says of a TLS that will never come about, and what is to be done."""


class Unknown(Exception):
    """The peer must join (again) before it is answered."""


class Lost(Exception):
    """No answer: the peer is gone, the line is cut, or what came was damaged on the way. To be tried again."""


def own_token() -> str:
    """The token of this process's environment; empty where there is none."""
    return os.environ.get(TOKEN, "")


def split_address(address: str, setting: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. ValueError naming the setting."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{setting}={address}: expected HOST:PORT, such as 127.0.0.1:7431")
    return host, int(port)


def check_address(address: str, token: str, keys: Keys | None) -> tuple[str, int]:
    """Host and port of `runtime.listen`. ValueError for one beyond this computer without token or TLS."""
    host, port = split_address(address, "runtime.listen")
    if host not in _LOOPBACK and not token:
        raise ValueError(
            f"runtime.listen={address} can be reached from other computers: set the environment variable {TOKEN} "
            "on both sides, or listen at 127.0.0.1"
        )
    if host not in _LOOPBACK and keys is None:
        raise ValueError(
            f"runtime.listen={address} can be reached from other computers, and whoever is on the way could read "
            "the token: set runtime.certificate and runtime.key, or listen at 127.0.0.1 behind a tunnel"
        )
    return host, port


class Server:
    """Answers `methods` at an address until closed.

    Args:
        address: HOST:PORT; port 0 takes a free one.
        methods: name -> what it takes and who answers.
        token: what a peer must show; may be empty on the loopback only.
        report: told in words what went wrong in a handler.
        keys: for TLS, see `tls.read_keys`; may be missing on the loopback only.

    Raises:
        ValueError: the port is in use, or an address beyond this computer lacks token or TLS.
    """

    def __init__(
        self, address: str, methods: Mapping[str, Handler], token: str, report: Callable[[str], None],
        keys: Keys | None = None,
    ) -> None:  # fmt: skip
        host, port = check_address(address, token, keys)
        self._token, self._report = token, report
        options = [*_SIZES, ("grpc.so_reuseport", 0)]  # else two servers could share a port, each half of the peers
        self._pool = ThreadPoolExecutor(16, "link")
        self._server = grpc.server(self._pool, options=options, maximum_concurrent_rpcs=256)
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._answer(*method)) for name, method in methods.items()
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
        try:
            if keys is None:
                bound = self._server.add_insecure_port(address)
            else:
                bound = self._server.add_secure_port(address, grpc.ssl_server_credentials([keys]))
        except RuntimeError:
            bound = 0
        if not bound:
            self._server.stop(None)
            raise ValueError(f"runtime.listen={address} cannot be had, is {port} in use? Choose another port")
        self.address = f"{host}:{bound}"
        self._server.start()

    def _answer(self, kind: type[Any], handle: Callable[[Any], Any]) -> Callable[[bytes, Any], bytes]:
        def answer(data: bytes, context: Any) -> bytes:
            shown = dict(context.invocation_metadata()).get("token", "")
            shown = shown if isinstance(shown, str) else ""
            if not hmac.compare_digest(shown.encode(), self._token.encode()):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, f"wrong token: set {TOKEN} to the learner's")
            try:
                return encode(handle(decode(kind, data)))
            except Unknown as error:
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            except Lost as error:
                context.abort(grpc.StatusCode.DATA_LOSS, str(error))
            except ValueError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, " ".join(str(error).split())[:500])
            except Exception as error:  # noqa: BLE001 - a peer must not bring the learner down, nor see its insides
                self._report(f"{type(error).__name__}: {error}")
                context.abort(grpc.StatusCode.UNAVAILABLE, "the learner could not answer: its log says why")
            raise AssertionError("abort raises")

        return answer

    def close(self) -> None:
        """Stop answering; harmless when repeated."""
        self._server.stop(0.5).wait()
        self._pool.shutdown(wait=False)


class Client:
    """One peer's end. A connection that gave no answer in time is dropped: the next call makes a new one.

    Args:
        address: HOST:PORT
        token: of both sides.
        root: the certificate to trust, see `tls.read_root`; may be missing on the loopback only.
    """

    def __init__(self, address: str, token: str, root: bytes | None = None) -> None:
        host, _ = split_address(address, "runtime.connect")
        if host not in _LOOPBACK and root is None:
            raise ValueError(
                f"runtime.connect={address} is another computer, and whoever is on the way could read the token: set "
                "runtime.root to a copy of the learner's certificate, or connect to 127.0.0.1 through a tunnel"
            )
        self.address, self._token, self._root = address, token, root
        self._channel: grpc.Channel | None = None

    def call(self, method: str, message: Any, reply: type[R], timeout_s: float) -> R:
        """The answer to a message.

        Raises:
            Lost: there was none in time.
            Unknown: join first.
            ValueError: the peer refuses, in its own words.
        """
        if self._channel is None:
            # Its own connection each time: a half-open one must not come back from gRPC's shared pool.
            options = [*_SIZES, ("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
            if self._root is None:
                self._channel = grpc.insecure_channel(self.address, options=options)
            else:
                trust = grpc.ssl_channel_credentials(self._root)
                self._channel = grpc.secure_channel(self.address, trust, options=options)
        try:
            ask = self._channel.unary_unary(f"/{_SERVICE}/{method}")
            return decode(reply, ask(encode(message), timeout=timeout_s, metadata=(("token", self._token),)))
        except grpc.RpcError as error:
            code, words = error.code(), error.details() or ""
        if code == grpc.StatusCode.NOT_FOUND:
            raise Unknown(words)
        if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAUTHENTICATED):
            raise ValueError(f"the learner at {self.address} refuses: {words}")
        self.close()
        for sign, mistake in _MISTAKES.items():
            if sign in words:
                raise ValueError(f"no link with the learner at {self.address}: {mistake}")
        raise Lost(f"{code.name.lower().replace('_', ' ')}: {words}")

    def close(self) -> None:
        """Drop the connection; harmless when repeated."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            channel.close()
