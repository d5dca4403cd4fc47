"""What a stage's code digest covers: whatever its builder imports, as far as its inputs do not stand for it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from robo_reward.runtime import kept

PACKAGE = Path(kept.__file__).parents[1]
SETTLED = ("config", "extras", "interfaces", "settings", "terminal", "types", "runtime.kept", "runtime.run_folder",
           "runtime.stages", "runtime.tasks", "runtime.worlds")  # fmt: skip
"""Modules that compute nothing of a stage's output, or whose part in it is in the stages' keys."""
STAGES = {
    "collect": (["runtime.collecting"], []),
    "label": (["runtime.labelling"], ["dataset"]),
    "train-base": (["policies.cloning"], ["dataset"]),
    "train": (["runtime.local", "runtime.potentials"], ["dataset", "train-base"]),
}
"""The modules that build a stage, and the inputs that it always has."""


def source(module: str) -> Path | None:
    path = PACKAGE.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(builders: list[str]) -> set[str]:
    """The modules that these import, and those that they import in turn."""
    found: set[str] = set()
    ahead = list(builders)
    while ahead:
        module = ahead.pop()
        path = source(module)
        if path is None or module in found or any(f"{module}.".startswith(f"{name}.") for name in SETTLED):
            continue
        found.add(module)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robo_reward."):
                name = str(node.module).removeprefix("robo_reward.")
                ahead += [name, *(f"{name}.{alias.name}" for alias in node.names)]
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_computed_anew_when_code_changes_that_it_runs(stage):
    builders, inputs = STAGES[stage]
    covered = [PACKAGE / room for name in (stage, *inputs) for room in kept._ROOMS[name]]
    assert all(path.exists() for path in covered)
    paths = {module: source(module) for module in imported(builders)}
    missing = [m for m, path in paths.items() if not any(path == room or room in path.parents for room in covered)]
    assert not missing


def test_another_single_file_is_another_digest(monkeypatch, tmp_path):
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/one.py").write_text("ONE = 1")
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "runtime/kept.py"))
    first = kept._code_digest.__wrapped__(("runtime/one.py",))
    (tmp_path / "runtime/two.py").write_text("TWO = 2")
    assert kept._code_digest.__wrapped__(("runtime/one.py",)) == first
    (tmp_path / "runtime/one.py").write_text("ONE = 2")
    assert kept._code_digest.__wrapped__(("runtime/one.py",)) != first
