"""Processes that start in milliseconds, to be killed: forked off one that has imported and prepared everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

_LOOP = """
import json as _json, os as _os, signal as _signal, sys as _sys
_signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)  # nobody waits for the dead
print("warm", flush=True)
for _line in _sys.stdin:
    _pid = _os.fork()
    if _pid == 0:
        try:
            work(*_json.loads(_line))
        except BaseException as _error:
            print("forked process:", type(_error).__name__, _error, file=_sys.stderr, flush=True)
        finally:
            _os._exit(0)
    print(_pid, flush=True)
"""


class Forks:
    """A warm process.

    Args:
        program: Python source that defines `work(*arguments)`; it must open no GPU, window or link before.
    """

    def __init__(self, program: str) -> None:
        self._warm = subprocess.Popen(
            [sys.executable, "-c", program + _LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "warm"

    def _read(self) -> str:
        assert self._warm.stdout is not None
        return self._warm.stdout.readline().strip()

    def start(self, *arguments: str | int) -> int:
        """Run `work(*arguments)` in a process of its own; returns its id."""
        assert self._warm.stdin is not None
        self._warm.stdin.write(json.dumps(arguments) + "\n")
        self._warm.stdin.flush()
        return int(self._read())

    def kill(self, pid: int) -> None:
        """kill -9; returns once it is gone."""
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        while alive(pid):
            time.sleep(0.002)

    def close(self) -> None:
        """End the warm process; what was forked off it goes on."""
        self._warm.communicate()


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
