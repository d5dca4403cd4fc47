"""The documentation: commands that exist, links that lead somewhere, a reference that is current, code that runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import reduce
from pathlib import Path

import gymnasium
import pytest

from robo_reward.cli import COMMANDS, is_by_hand
from robo_reward.config import load_config
from robo_reward.runtime.tasks import TASKS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPTIONS = {"-m", "--multirun", "--cfg", "job", "--help", "-sc", "install=bash"}
PRINTED = {"-sc", "--help", "--version"}
"""Words in place of a command."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fenced(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def commands_of(page: Path) -> set[str]:
    """What follows `robo-reward` in code, comments cut off."""
    text = page.read_text("utf-8")
    lines = [line for block in fenced(page, "bash") for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = (re.search(r"\brobo-reward ([^#\")]+)", line) for line in lines)
    return {match[1].strip() for match in found if match}


COMMAND_LINES = sorted({(name_of(page), command) for page in PAGES for command in commands_of(page)})


def test_the_pages_name_every_command():
    named = {command.split()[0] for _, command in COMMAND_LINES}
    assert named - PRINTED - {"<command>"} == set(COMMANDS)


@pytest.mark.parametrize("command", sorted({command for _, command in COMMAND_LINES}))
def test_a_command_that_is_shown_composes(command):
    name, *words = shlex.split(command)
    if name in PRINTED:
        return
    assert name in COMMANDS, [page for page, line in COMMAND_LINES if line == command]
    if not COMMANDS[name].composed or any(is_by_hand(word) for word in words):
        return
    options = [word for word in words if word in OPTIONS or "=" not in word]
    assert set(options) <= OPTIONS
    overrides = [word for word in words if word not in options]
    if {"-m", "--multirun"} & set(options):  # the first job of the sweep
        overrides = [word.split(",")[0] for word in overrides]
    load_config(overrides, command=name)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{name_of(page)} links to {target}, which does not exist"
        assert ROOT in file.parents, f"{name_of(page)} links to {target}, outside the repository"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", file.read_text("utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{name_of(page)} links to {target}; there are {sorted(slugs)}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    for page in PAGES[1:]:
        assert page.name == "index.md" or f"({page.name})" in index, f"docs/index.md does not mention {page.name}"


def test_files_that_are_named_exist():
    """Paths and python scripts in backticks or code blocks."""
    for page in PAGES:
        for path in re.findall(
            r"\b((?:robo_reward|envs|policies|scripts|tests|docs|docker)/[\w/.-]+\.\w+)", page.read_text()
        ):
            if path != "docs/results/peg_insert.json":  # written by the study
                assert (ROOT / path).is_file(), f"{name_of(page)} names {path}, which does not exist"


def test_the_two_commands_are_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    shown = {
        word for page in PAGES for block in fenced(page, "bash") for word in re.findall(r"^make ([\w-]+)", block, re.M)
    }
    assert {"demo", "test"} <= shown <= targets


def test_pictures_are_small_and_shown():
    shown = "".join(page.read_text("utf-8") for page in PAGES)
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 1_000_000, f"{picture.name} has {picture.stat().st_size} bytes"
        assert f"images/{picture.name}" in shown, f"no page shows {picture.name}"


def test_no_result_is_typed_by_hand():
    """Percentages in the README come from docs/results; the block between the markers is written by a script."""
    readme = re.sub(r"<!-- results:.*?<!-- /results -->", "", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    assert not re.findall(r"\d+(?:\.\d+)? ?%", readme)


def reference(*flags: str | Path) -> subprocess.CompletedProcess[str]:
    script = ROOT / "scripts" / "config_reference.py"
    return subprocess.run([sys.executable, script, *flags], capture_output=True, text=True, check=False)


def test_the_configuration_reference_is_current():
    answer = reference("--check")
    assert answer.returncode == 0, answer.stderr


def test_what_an_option_sets_are_settings():
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    block = page.split("<!-- reference:groups -->")[1].split("<!-- /reference -->")[0]
    options = [line.split("|") for line in block.splitlines() if line.startswith("| `")]
    own = [cells for cells in options if cells[1].strip(" `").split("=")[0] not in ("robot", "safety", "teleop")]
    words = [word for *_, same, _ in own for word in re.findall(r"`([^`=]+)=", same)]
    assert "collect.all_frames" in words
    for word in words:
        reduce(getattr, word.split("."), load_config())


def test_an_outdated_reference_is_noticed_and_written_anew(tmp_path):
    page = tmp_path / "configuration.md"
    page.write_text((ROOT / "docs" / "configuration.md").read_text("utf-8"))
    reference("--page", page)
    current = page.read_text()
    page.write_text(current.replace("`agent.heads`", "`agent.headz`"))
    assert reference("--check", "--page", page).returncode == 1
    assert "agent.headz" in page.read_text()  # checking changes nothing
    assert reference("--page", page).returncode == 0
    assert page.read_text() == current


ROBOSUITE = ("Lift", "NutAssemblySquare", "PickPlaceCan")


@pytest.mark.parametrize("name", ["PegInsert", *ROBOSUITE])
def test_the_observation_that_is_described_is_the_one_that_comes(name):
    import robo_reward.envs  # noqa: F401 - registers the ids

    if name in ROBOSUITE:
        pytest.importorskip("robosuite")
    env = gymnasium.make(f"robo_reward/{name}-v0")
    sizes = {key: env.observation_space[key].shape[0] for key in ("agent_pos", "estimate", "environment_state")}
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    env.close()
    if name in ROBOSUITE:
        text = (ROOT / "docs" / "robosuite.md").read_text("utf-8")
        shared, own = text.split("\n## ")[0], text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert f"`agent_pos` ({sizes['agent_pos']})" in shared and f"`estimate` ({sizes['estimate']})" in own
        assert ", ".join(TASKS[f"robo_reward/{name}-v0"].stages) in own
        return
    text = (ROOT / "docs" / "peg_insert.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", text.split("## Info")[1].split("##")[0], re.MULTILINE)) == set(info)
    for key in ("agent_pos", "estimate"):
        table = text.split(f"`{key}`: ")[1].split("\n\n")[1]
        spans = [tuple(map(int, cell.split("-"))) for cell in re.findall(r"^\| (\d+(?:-\d+)?) \|", table, re.MULTILINE)]
        columns = [column for span in spans for column in range(span[0], span[-1] + 1)]
        assert columns == list(range(sizes[key])), f"{key}: {spans}"
    named = re.findall(r"^\| \d, ([\w ]+) \|", text, re.MULTILINE)
    assert tuple(named) == TASKS["robo_reward/PegInsert-v0"].stages
    assert f"`environment_state`: the truth, {sizes['environment_state']} numbers" in text


BLOCKS = [(name_of(page), block) for page in PAGES for block in fenced(page, "python")]


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[page for page, _ in BLOCKS])
def test_python_that_is_shown_runs(page, block, tmp_path):
    if "write_dataset" in block:
        pytest.importorskip("lerobot")
    answer = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
