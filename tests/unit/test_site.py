"""The documentation's site: it builds without a warning, loads nothing from elsewhere, and what it names is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from functools import reduce
from pathlib import Path

import pytest
import yaml

from robo_reward.config import Config, load_config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_it_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's advertisement of its successor
    answer = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert answer.returncode == 0 and "WARNING" not in answer.stderr, answer.stderr
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "your-own-task" in page or "own_task" in page
    assert not re.findall(r'<(?:script|img|iframe)[^>]+src="https?://|<link[^>]+stylesheet[^>]+href="https?://', page)
    assert len(list(tmp_path.glob("*/index.html"))) >= len(list(DOCS.glob("*.md"))) - 1


def test_the_menu_names_pages_that_exist_once_each():
    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [page for value in values for page in pages(value)]  # type: ignore[attr-defined]

    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert len(named) == len(set(named)) and all((DOCS / name).is_file() for name in named)


def test_every_statement_of_the_theory_is_a_test():
    page = (DOCS / "theory.md").read_text("utf-8")
    tests = (ROOT / "tests" / "property" / "test_invariance.py").read_text("utf-8")
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) > 10 and not [name for name in named if f"def {name}(" not in tests]


def test_the_settings_that_others_are_translated_to_are_settings():
    """The right column of the tables for those who come from elsewhere."""
    rows = [line.split(" | ") for line in (DOCS / "coming_from.md").read_text("utf-8").splitlines() if " | " in line]
    sections = {field.name for field in fields(Config)}
    words = [word.split("=")[0] for row in rows for word in re.findall(r"`([\w.]+(?:=\w+)?)`", row[-1])]
    known = [word for word in words if "." in word and word.split(".")[0] in sections]
    assert len(known) > 25
    settings = load_config()
    for word in known:
        reduce(getattr, word.split("."), settings)
