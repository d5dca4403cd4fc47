"""Shared by all tests: headless rendering, one thread each, and the folder of real recordings where there is one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType

import pytest

# Before any test module imports numpy, torch or mujoco: these are read once.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")  # small arrays on few cores: more threads only wait for each other


@pytest.fixture(scope="session")
def project() -> Path:
    """The repository's root."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def serve_policies(project: Path) -> Callable[[], AbstractContextManager[str]]:
    """Starts a server of openpi's protocol, a process of its own, and gives its address; it ends with the context."""
    pytest.importorskip("websockets")
    pytest.importorskip("msgpack")
    command = [sys.executable, str(project / "tests" / "contract" / "openpi_server.py")]

    @contextmanager
    def serving() -> Iterator[str]:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield f"ws://127.0.0.1:{process.stdout.readline().strip()}"
            finally:
                process.kill()

    return serving


@pytest.fixture(scope="module")
def policy_server(serve_policies: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """The address of such a server; a path after it chooses how it misbehaves."""
    with serve_policies() as url:
        yield url


@pytest.fixture
def script(project: Path) -> Callable[[str], ModuleType]:
    """Imports a script of this name from scripts/, each time anew."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, project / "scripts" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings that ROBO_REWARD_TEST_DATA names; tests that need it are skipped without it."""
    folder = Path(os.environ.get("ROBO_REWARD_TEST_DATA", ""))
    if not os.environ.get("ROBO_REWARD_TEST_DATA") or not (folder / "clear_table").is_dir():
        pytest.skip("ROBO_REWARD_TEST_DATA names no folder with clear_table/ in it")
    return folder
