"""`make reproduce`: every table of the README is a target, commands are run and published, old is set against new."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from robo_reward.cli import COMMANDS


@pytest.fixture
def reproduce(script):
    return script("reproduce")


@pytest.fixture
def repository(tmp_path: Path, project: Path) -> Path:
    """A checkout with one result, the script that makes it, and a README with its table."""
    for folder in ("scripts", "docs/results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "scripts" / "readme_tables.py").write_text((project / "scripts" / "readme_tables.py").read_text())
    (tmp_path / "README.md").write_text("<!-- results:toy -->\n<!-- /results -->\n")
    old = {"final_success": 0.5, "final_success_low": 0.4, "final_success_high": 0.6, "command": "toy.py"}
    (tmp_path / "docs" / "results" / "toy.json").write_text(json.dumps(old))
    (tmp_path / "scripts" / "toy.py").write_text(
        "import json, pathlib\n"
        "new = dict(final_success=0.9, final_success_low=0.8, final_success_high=0.95, command='toy.py')\n"
        "pathlib.Path('docs/results/toy.json').write_text(json.dumps(new))\n"
    )
    (tmp_path / "scripts" / "broken.py").write_text("raise SystemExit(3)\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "old"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_every_table_of_the_readme_is_a_target_and_every_command_exists(reproduce, project):
    blocks = set(re.findall(r"<!-- results:(\w+) -->", (project / "README.md").read_text("utf-8")))
    assert blocks <= set(reproduce.TARGETS)
    pictures = set(re.findall(r"\]\((docs/images/[\w.]+)\)", (project / "README.md").read_text("utf-8")))
    assert pictures <= {target.makes for target in reproduce.TARGETS.values()}
    makefile = (project / "Makefile").read_text("utf-8")
    assert re.search(r"^reproduce:", makefile, re.MULTILINE) and "reproduce-%:" in makefile
    for name, target in reproduce.TARGETS.items():
        assert (project / target.makes).is_file()
        first, *rest = shlex.split(target.command)
        assert rest[0] in COMMANDS if first == "robo-reward" else (project / "scripts" / first).is_file()
        if target.makes.endswith(".json"):
            published = json.loads((project / target.makes).read_text("utf-8"))["command"]
            assert published.removeprefix("python scripts/") == target.command, name


def test_old_is_set_against_new_and_the_page_is_made_anew(reproduce, repository, capsys):
    targets = {"toy": reproduce.Target("toy.py", "docs/results/toy.json")}
    for _ in range(2):  # called again, old is still what was committed
        assert reproduce.main([], targets, repository) == 0
        said = capsys.readouterr().out
        assert re.search(r"final_success +0\.5 \(0\.4 to 0\.6\)  ->  0\.9 \(0\.8 to 0\.95\) +APART", said)
    assert "| **trained policy** | 90.0% | 80.0% to 95.0% |" in (repository / "README.md").read_text()


def test_a_target_that_fails_stops_and_an_unknown_one_is_named(reproduce, repository, capsys):
    targets = {"broken": reproduce.Target("broken.py", "x"), "toy": reproduce.Target("toy.py", "docs/results/toy.json")}
    assert reproduce.main([], targets, repository) == 3
    assert "goes on from there" in capsys.readouterr().err
    assert json.loads((repository / "docs/results/toy.json").read_text())["final_success"] == 0.5
    assert reproduce.main(["tyo"], targets, repository) == 2
    assert "choose from broken, toy" in capsys.readouterr().err


def test_figures_carry_the_interval_that_the_file_has(reproduce):
    found = reproduce.figures({
        "base_success": 0.2, "base_low": 0.1, "base_high": 0.3, "wall_s": 7, "note": "x", "good": True,
        "table": {"a row": {"success": [0.9, 0.8, 1.0], "seeds": 2, "rollouts": None}},
    })  # fmt: skip
    assert found == {
        "base_success": (0.2, 0.1, 0.3), "wall_s": (7,), "a row: success": (0.9, 0.8, 1.0), "a row: seeds": (2,)
    }  # fmt: skip
    same = reproduce.compared({"x": 1.0, "x_low": 0.0, "x_high": 2.0}, {"x": 2.5, "x_low": 1.5, "x_high": 3.0, "y": 1})
    assert "intervals meet" in same[0] and "–" in same[1]
