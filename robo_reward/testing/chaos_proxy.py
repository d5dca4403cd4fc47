"""A TCP line between two peers that a test can cut, freeze, garble or mend."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Line:
    near: socket.socket
    far: socket.socket
    sound: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        for end in (self.near, self.far):
            _close(end)


class ChaosProxy:
    """Listens on the loopback and hands everything on to `target`, as long as the line is sound.

    Args:
        target: HOST:PORT.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target, self._state, self._instead = (host, int(port)), "sound", b""
        self._lines: list[_Line] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Half open: connections stay, new ones are taken, and not a byte comes through any more."""
        self._state = "frozen"
        for line in self._lines:
            line.sound.clear()

    def drop(self) -> None:
        """Every connection is closed, and new ones are until `mend`."""
        self._state = "dropped"
        for line in self._lines:
            line.close()

    def garble(self, body: bytes) -> None:
        """In place of what the other end answers, HTTP's 200 with this body comes, and the connection ends."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._state, self._instead = "garbled", head.encode() + body

    def mend(self) -> None:
        """New connections are sound; what was frozen stays so, like a line whose other end has moved."""
        self._state = "sound"

    def close(self) -> None:
        """End it."""
        _close(self._server)
        self.drop()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
                if self._state == "dropped":
                    _close(near)
                    continue
                line = _Line(near, socket.create_connection(self._target, 5))
            except OSError:
                if self._server.fileno() < 0:
                    return
                continue
            if self._state != "frozen":
                line.sound.set()
            self._lines.append(line)
            for source, sink in ((line.near, line.far), (line.far, line.near)):
                threading.Thread(target=self._pump, args=(line, source, sink), daemon=True).start()

    def _pump(self, line: _Line, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                line.sound.wait()
                if self._state == "garbled" and sink is line.near:
                    sink.sendall(self._instead)
                    break
                sink.sendall(data)
        except OSError:
            pass
        line.close()


def _close(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    end.close()
