"""What a release promises besides code: a light import, pins within the ranges, licences, a citation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import robo_reward
from robo_reward.extras import EXTRA_OF

tomllib = pytest.importorskip("tomllib")
ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCKS = sorted((ROOT / "requirements").glob("lock-*.txt"))
FROM_PYPROJECT = [
    Requirement(text)
    for texts in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in texts
    if not text.startswith("robo_reward[")
]


def pins(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_importing_the_package_loads_nothing_but_python():
    """No clock: what is not imported takes no time."""
    program = "import sys; before = set(sys.modules); import robo_reward, json; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(answer.stdout)}
    bare = subprocess.run(
        [sys.executable, "-c", "import sys, json; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    before = {name.split(".")[0] for name in json.loads(bare.stdout)}  # what this environment's start brings along
    assert loaded - before <= set(sys.stdlib_module_names) | {"robo_reward"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_what_is_pinned_lies_in_the_range_that_is_declared(lock):
    pinned = pins(lock)
    assert len(pinned) > 100
    for requirement in FROM_PYPROJECT:
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is None or requirement.specifier.contains(version), f"{lock.name}: {requirement} and {version}"


def test_every_extra_has_its_size_and_every_optional_package_its_extra():
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    extras = PROJECT["optional-dependencies"]
    assert all(f"`robo_reward[{extra}]`" in page for extra in extras)
    assert set(EXTRA_OF.values()) <= set(extras)


def test_every_locked_package_has_its_licence():
    notice = (ROOT / "NOTICE").read_text("utf-8")
    named = dict(line.split(": ", 1) for line in notice.splitlines() if re.match(r"[\w-]+: \S", line))
    lock = pins(ROOT / "requirements" / "lock-cpu-py311.txt")
    assert not (missing := lock.keys() - named.keys()), f"run python scripts/package_facts.py for {sorted(missing)}"
    assert "see its files" not in named.values()


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["version"] == robo_reward.__version__ and cited["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()


def test_types_are_shipped():
    assert (ROOT / "robo_reward" / "py.typed").is_file() and "Typing :: Typed" in PROJECT["classifiers"]
