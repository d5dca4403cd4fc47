"""Who may import what: a base install without torch, a robot PC without Hydra, rooms that do not look upwards."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = [ROOT / name for name in ("robo_reward", "envs", "policies", "hardware", "conf")]
SOURCES = sorted(path for room in ROOMS for path in room.rglob("*.py") if not path.parent.is_symlink())
EVERYTHING = [*SOURCES, *sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "tests").rglob("*.py"))]
HEAVY = {"torch", "transformers", "mujoco", "robosuite", "lerobot", "cv2", "av", "matplotlib", "tensorboard", "PIL"}

LEVELS = [
    {"", "types", "interfaces", "settings", "config", "terminal", "extras", "conf"},
    {"progress", "shaping", "learning", "data", "safety", "hil"},
    {"envs", "policies", "hardware"},
    {"runtime", "evaluation", "console", "service", "testing", "lerobot_plugin", "deploy"},
    {"cli", "doctor", "examples"},
]
"""A room imports from its own line and the lines above."""

DISTRIBUTION_OF = {"yaml": "pyyaml", "hydra": "hydra-core", "PIL": "pillow", "cv2": "opencv-python-headless",
                   "rerun": "rerun-sdk", "grpc": "grpcio", "google": "protobuf"}  # fmt: skip
COMES_WITH = dict.fromkeys(("datasets", "pyarrow", "pandas", "torchvision", "torchcodec", "draccus"), "lerobot")
"""Packages that an extra's own package brings along."""


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names a file imports, with their lines, wherever in the file they stand."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module, node.lineno
            if node.module == "robo_reward":
                yield from ((f"robo_reward.{alias.name}", node.lineno) for alias in node.names)


def room(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[1:] if parts[0] == "robo_reward" else parts
    return "" if parts[0] == "__init__" else parts[0]


def level(name: str) -> int | None:
    return next((i for i, names in enumerate(LEVELS) if name in names), None)


def modules_after(statement: str) -> set[str]:
    """Top-level names of everything loaded by one statement in a fresh interpreter."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps([name.split('.')[0] for name in sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(answer.stdout.splitlines()[-1]))


def module_names(*rooms: str) -> list[str]:
    names = []
    for name in rooms:
        folder = ROOT / "robo_reward" / name
        for path in sorted(folder.glob("**/*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_the_base_imports_nothing_heavy():
    loaded = modules_after(
        "import robo_reward.cli, robo_reward.config, robo_reward.types, robo_reward.interfaces, robo_reward.doctor, "
        "robo_reward.runtime.run_folder, robo_reward.runtime.stages, robo_reward.runtime.runs"
    )
    assert not loaded & HEAVY


def test_help_starts_without_hydra_and_numpy():
    assert not modules_after("import robo_reward.cli") & {*HEAVY, "hydra", "omegaconf", "numpy", "gymnasium"}


def test_composing_a_configuration_loads_nothing_heavy():
    assert not modules_after("from robo_reward.config import load_config\nload_config()") & HEAVY


def test_the_robot_side_has_neither_torch_nor_hydra():
    banned = {"torch", "transformers", "hydra", "omegaconf"}
    robot_side = [path for path in SOURCES if room_of(path) in ("safety", "hardware")]
    wrong = [f"{p}:{line} {name}" for p in robot_side for name, line in imports(p) if name.split(".")[0] in banned]
    assert not wrong
    if names := module_names("safety", "hardware"):
        assert not modules_after("import " + ", ".join(names)) & banned


def test_rooms_are_imported_through_the_package():
    banned = {"envs", "policies", "hardware", "conf"}
    wrong = [f"{p}:{line} {name}" for p in EVERYTHING for name, line in imports(p) if name.split(".")[0] in banned]
    assert not wrong, "write robo_reward.envs and so on"


def test_the_linter_bans_the_bare_names_too():
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert all(f"{name}.msg" in pyproject for name in ("envs", "policies", "hardware", "conf"))


def test_every_room_has_a_level():
    assert not {room_of(path) for path in SOURCES} - set().union(*LEVELS)


def test_rooms_do_not_look_upwards():
    wrong = []
    for path in SOURCES:
        own = level(room_of(path))
        for name, line in imports(path):
            other = level(room(name)) if name.split(".")[0] == "robo_reward" else None
            if own is not None and other is not None and other > own:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "pass in what a lower room needs from a higher one"


def test_every_package_that_is_imported_is_declared():
    pyproject = (ROOT / "pyproject.toml").read_text()
    undeclared = set()
    for path in SOURCES:
        for name, line in imports(path):
            root = name.split(".")[0]
            if root in sys.stdlib_module_names or root == "robo_reward":
                continue
            distribution = DISTRIBUTION_OF.get(root, root)
            distribution = COMES_WITH.get(distribution, distribution)
            if not re.search(rf'"{re.escape(distribution)}[<>=]', pyproject):
                undeclared.add(f"{path.relative_to(ROOT)}:{line} {name}")
    assert not undeclared


@pytest.mark.parametrize("banned", ["allow_pickle=True", "pickle.load", "torch.load(", "yaml.load(", "_target_:"])
def test_no_reader_runs_code_from_a_file(banned):
    files = [*SOURCES, *(ROOT / "conf").rglob("*.yaml")]
    assert not [str(path) for path in files if banned in path.read_text(encoding="utf-8")]


def test_the_rooms_are_links():
    for name in ("envs", "policies", "hardware", "conf"):
        link = ROOT / "robo_reward" / name
        assert link.is_symlink() and link.resolve() == ROOT / name
