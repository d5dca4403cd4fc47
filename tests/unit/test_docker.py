"""Images and compose files, as far as that goes without an engine: pinned, not root, healthy, commands that exist."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from robo_reward.cli import COMMANDS
from robo_reward.config import load_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
IMAGES = sorted(FOLDER.glob("*.Dockerfile"))
COMPOSED = sorted(FOLDER.glob("compose_*.yaml"))
INSTALL = FOLDER / "install.sh"
FULL = ("libegl1", "libegl-mesa0", "libgl1-mesa-dri", "ffmpeg", "make", "python3-venv")


def lines_of(image: Path) -> list[tuple[str, str]]:
    """(instruction, rest) of each line, continued ones joined, comments left out."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", image.read_text("utf-8"), flags=re.MULTILINE))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in text.splitlines() if line.strip()]


def value(image: Path, instruction: str) -> str:
    found = [rest for word, rest in lines_of(image) if word == instruction]
    assert found, f"{image.name} has no {instruction}"
    return found[-1]


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_an_image_has_a_pinned_base_and_does_not_run_as_root(image):
    lines = lines_of(image)
    assert [word for word, _ in lines[:2]] == ["ARG", "FROM"] and lines[1][1] == "${BASE}"
    name, _, tag = lines[0][1].removeprefix("BASE=").partition(":")
    # A release of the distribution, and of Python or CUDA a patch version.
    assert name in ("python", "nvidia/cuda", "ros") and re.search(r"bookworm|jammy|noble|ubuntu24\.04", tag)
    assert name == "ros" or re.match(r"\d+\.\d+\.\d+-", tag)
    words = [word for word, _ in lines]
    assert value(image, "USER") not in ("root", "0")
    assert words.index("USER") < max(i for i, word in enumerate(words) if word == "RUN"), "packages belong to the user"
    assert json.loads(value(image, "ENTRYPOINT"))
    assert "--interval=" in value(image, "HEALTHCHECK") and "CMD [" in value(image, "HEALTHCHECK")


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_an_image_installs_by_the_one_script_and_leaves_no_lists(image):
    text = image.read_text("utf-8")
    assert "RUN docker/install.sh" in text and "apt-get" not in text
    assert all(
        "rm -rf /var/lib/apt/lists/*" in rest
        for word, rest in lines_of(image)
        if "install.sh" in rest and word == "RUN"
    )
    assert not re.search(r"\bsudo\b|curl .*\|\s*(ba)?sh|ADD http", text)
    for copied in re.findall(r"^COPY (?:--\S+ )?(\S+) ", text, re.MULTILINE):
        assert (ROOT / copied).exists()
    for lock in re.findall(r"requirements/\S+\.txt", text):
        assert (ROOT / lock).is_file(), f"{image.name} names {lock}"


def test_the_default_commands_of_the_images_are_commands():
    for image in IMAGES:
        entry, words = json.loads(value(image, "ENTRYPOINT")), json.loads(value(image, "CMD"))
        if entry == ["robo-reward"]:
            assert words[0] in COMMANDS
        else:
            module = ROOT / (entry[-1].replace("robo_reward.hardware", "hardware").replace(".", "/") + ".py")
            assert module.is_file()


def filled(text: str) -> str:
    """Compose's ${NAME:-default} and ${NAME:?hint}, with a value for what has no default."""
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "some/folder", text)
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("path", COMPOSED, ids=lambda path: path.name)
def test_compose_files_start_commands_that_exist(path):
    found = yaml.safe_load(filled(path.read_text("utf-8")))
    assert found["services"]
    for name, service in found["services"].items():
        build = service["build"]
        assert (path.parent / build["context"] / build["dockerfile"]).is_file()
        assert "privileged" not in service and "no-new-privileges:true" in service["security_opt"]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in found["volumes"], f"{name} keeps its runs nowhere"
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy" and "healthcheck" in found["services"][needed]
        if "gpu" in build["dockerfile"]:
            command, *words = service["command"]
            load_config(words, command=command)
            assert command in COMMANDS
        else:
            assert (ROOT / "conf" / "robot" / f"{service['command'][0].removeprefix('robot=')}.yaml").is_file()


def test_secrets_and_runs_stay_out_of_the_images():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert {".git", ".venv", "runs"} <= set(ignored)
    assert not [path for path in (*IMAGES, *COMPOSED) if re.search(r"TOKEN[=:] ?[\"']?\w", path.read_text("utf-8"))]


def script(*words: str, path: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": path or os.environ["PATH"], **environment}
    return subprocess.run([shutil.which("bash") or "bash", INSTALL, *words], env=env, capture_output=True, text=True)


def test_the_install_script_is_a_script_and_refuses_other_words():
    assert os.access(INSTALL, os.X_OK)
    assert subprocess.run(["bash", "-n", INSTALL], check=False).returncode == 0
    answer = script("everything")
    assert answer.returncode == 2 and "neither full nor bridge" in answer.stderr


def test_without_a_package_manager_the_install_script_says_what_is_missing(tmp_path):
    for tool in ("id", "grep"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or f"/usr/bin/{tool}")
    answer = script("full", path=str(tmp_path))
    assert answer.returncode == 0 and all(package in answer.stderr for package in FULL)
    bridge = script("bridge", "ros-jazzy-std-srvs", path=str(tmp_path))
    assert "ros-jazzy-std-srvs" in bridge.stderr and "python3-venv" in bridge.stderr and "ffmpeg" not in bridge.stderr


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_install_script_makes_a_bare_debian_ready(tmp_path):
    """ROBO_REWARD_TEST_DEBIAN names a bare root made before; without it one is made, which takes minutes."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("needs root and debootstrap")
    root = Path(os.environ.get("ROBO_REWARD_TEST_DEBIAN") or tmp_path / "debian")
    if not root.is_dir():
        subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root], check=True, capture_output=True)
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    shutil.copy(INSTALL, root / "install.sh")

    def inside(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["chroot", root, *words], capture_output=True, text=True, check=False)

    first = inside("/install.sh", "full")
    assert first.returncode == 0, first.stderr[-2000:]
    for package in FULL:
        assert "ok installed" in inside("dpkg-query", "-W", "-f=${Status}", package).stdout, package
    again = inside("/install.sh", "full")
    assert again.returncode == 0 and again.stdout + again.stderr == ""
    assert inside("python3", "-m", "venv", "/venv").returncode == 0
    assert inside("ffmpeg", "-version").returncode == 0
