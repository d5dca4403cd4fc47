"""What is shipped: the wheel holds the linked rooms as real files, and works in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    root = Path(__file__).parents[2]
    kept = {
        "robo_reward", "envs", "policies", "hardware", "conf", "requirements", "pyproject.toml", "MANIFEST.in",
        "README.md", "LICENSE", "NOTICE", "CITATION.cff", "CHANGELOG.md", "SECURITY.md", "Makefile",
    }  # fmt: skip

    def others(parent: str, names: list[str]) -> set[str]:
        return {name for name in names if (Path(parent) == root and name not in kept) or name == "__pycache__"}

    # A copy, because setuptools would take leftovers of earlier builds from the checkout's build folder.
    shutil.copytree(root, folder / "source", symlinks=True, ignore=others)
    source, out = str(folder / "source"), str(folder / "dist")
    # The source distribution from the checkout, and the wheel from that, so that both are tried.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    return next(folder.glob("dist/*.whl"))


def test_the_wheel_holds_the_rooms_and_nothing_at_top_level(wheel, project):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"robo_reward"}
    for room in ("envs", "policies", "conf"):
        for source in (project / room).rglob("*"):
            if source.suffix in (".py", ".yaml"):
                assert f"robo_reward/{source.relative_to(project).as_posix()}" in names


def test_every_module_is_in_the_wheel(wheel, project):
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [*(project / "robo_reward").rglob("*.py"), *(project / "robo_reward" / "console" / "page").iterdir()]
    missing = {path.relative_to(project).as_posix() for path in files} - names
    assert not missing, "a folder without __init__.py is left out, and other files are named in pyproject.toml"


def test_both_distributions_say_what_is_typed_and_licensed(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "robo_reward/py.typed" in names
    assert {name.rsplit("/")[-1] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    with tarfile.open(next(wheel.parent.glob("*.tar.gz"))) as source:
        held = {name.partition("/")[2] for name in source.getnames()}
        assert not [member.name for member in source if member.issym()]
    assert {"CITATION.cff", "NOTICE", "robo_reward/envs/peg_insert.py", "robo_reward/conf/config.yaml"} <= held


@pytest.mark.timeout(3600)
def test_in_a_fresh_environment_it_runs_from_another_folder_and_names_missing_extras(wheel, tmp_path):
    """The base install alone: no torch, no simulator. Needs the package index."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], capture_output=True, text=True)
    if install.returncode != 0 and "No matching distribution" in install.stderr + install.stdout:
        pytest.skip("no package index at hand")
    assert install.returncode == 0, install.stderr[-2000:]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(python.with_name("robo-reward")), *words]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)

    assert run("--version").stdout.strip() == wheel.name.split("-")[1]
    assert "train-reward" in run("--help").stdout
    assert run("runs").returncode == 0
    missing = run("train", "experiment=smoke")
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1
    assert "pip install 'robo_reward[" in missing.stderr


def test_the_installed_wheel_composes_its_configuration(wheel, tmp_path):
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    program = f"""
import sys
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in type(finder).__module__ + repr(finder)]
sys.path.insert(0, {str(target)!r})
import robo_reward
from robo_reward.config import load_config
assert robo_reward.__file__.startswith({str(target)!r}), robo_reward.__file__
print(load_config(["experiment=smoke"]).name)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert answer.stdout.strip() == "smoke", answer.stderr
