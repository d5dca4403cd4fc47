"""Published figures come from result files: the README's tables cannot drift from them."""

import json
import re
import subprocess
import sys

import pytest

RESULTS = {
    "base_success": 0.31,
    "final_success": 0.92,
    "final_success_low": 0.85,
    "final_success_high": 0.957,
    "rollouts": 150,
    "env_steps": 14210,
    "rollouts_to_0_8_success": 70,
    "reward_voc": 0.9812,
    "control_sparse_success": 0.845,
    "control_sparse_low": 0.76,
    "control_sparse_high": 0.9,
    "control_learner_without_base_success": 0.0,
    "seeds": "0,1,2",
    "command": "robo-reward train --multirun seed=0,1,2",
    "date": "2026-01-01",
    "git_revision": "abc1234",
    "cores": 2,
}
README = "# title\n\n<!-- results:peg_insert -->\nold 17%\n<!-- /results -->\n\ntail\n"


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "docs" / "results" / "peg_insert.json").write_text(json.dumps(RESULTS))
    return tmp_path


@pytest.fixture
def run(project):
    def call(root, *flags):
        script = project / "scripts" / "readme_tables.py"
        return subprocess.run([sys.executable, script, "--root", root, *flags], capture_output=True, text=True)

    return call


def test_a_table_of_rows_shows_means_and_spreads(repository, run):
    table = {"default": {"voc": [0.91, 0.9, 0.92], "tie_rate": 0.5}, "one view": {"voc": [0.8, 0.8, 0.8]}}
    results = {"table": table, "lines_missing": 2, "seeds": 3, "command": "python scripts/study.py"}
    (repository / "docs" / "results" / "study.json").write_text(json.dumps(results))
    (repository / "docs" / "page.md").write_text("<!-- results:study -->\n<!-- /results -->\n")
    assert run(repository).returncode == 0
    page = (repository / "docs" / "page.md").read_text()
    assert row(page, "default") == ["0.910 (0.900–0.920)", "0.500"] and row(page, "one view") == ["0.800", "–"]
    assert "| VOC | tie rate |" in page and "lines missing 2, seeds 3" in page


def row(readme, name):
    """The cells after the first of the table row that starts with `name`."""
    (line,) = [line for line in readme.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_tables_show_the_files_figures_and_leave_the_rest_alone(repository, run):
    assert run(repository).returncode == 0
    readme = (repository / "README.md").read_text()
    assert readme.startswith("# title\n\n<!-- results:peg_insert -->\n") and readme.endswith(
        "<!-- /results -->\n\ntail\n"
    )
    assert "old 17%" not in readme
    assert row(readme, "base policy, frozen") == ["31.0%", "–"]
    assert row(readme, "**trained policy**") == ["92.0%", "85.0% to 95.7%"]
    assert row(readme, "sparse") == ["84.5%", "76.0% to 90.0%"]
    assert row(readme, "learner without base") == ["0.0%", "–"]
    assert row(readme, "rollouts to 80% success") == ["70"]
    assert row(readme, "order correlation on successes (VOC)") == ["0.981"]
    for fact in ("robo-reward train --multirun seed=0,1,2", "cores 2", "2026-01-01", "abc1234"):
        assert fact in readme


def test_check_passes_after_writing_and_fails_after_either_side_changes(repository, run):
    assert run(repository, "--check").returncode == 1
    assert (repository / "README.md").read_text() == README  # checking changes nothing
    run(repository)
    assert run(repository, "--check").returncode == 0
    readme = repository / "README.md"
    readme.write_text(readme.read_text().replace("92.0%", "98.0%"))
    assert run(repository, "--check").returncode == 1
    run(repository)
    (repository / "docs" / "results" / "peg_insert.json").write_text(json.dumps(RESULTS | {"base_success": 0.3}))
    assert run(repository, "--check").returncode == 1


def test_a_threshold_never_reached_is_said_so(repository, run):
    results = json.dumps(RESULTS | {"rollouts_to_0_8_success": None})
    (repository / "docs" / "results" / "peg_insert.json").write_text(results)
    run(repository)
    assert row((repository / "README.md").read_text(), "rollouts to 80% success") == ["never"]


@pytest.mark.parametrize("damage", ["no file", "no end", "not json", "no command"])
def test_a_missing_or_broken_source_is_one_line_and_exit_code_two(repository, run, damage):
    results = repository / "docs" / "results" / "peg_insert.json"
    if damage == "no file":
        results.unlink()
    elif damage == "no end":
        (repository / "README.md").write_text(README.replace("<!-- /results -->", ""))
    elif damage == "not json":
        results.write_text("{")
    else:
        results.write_text(json.dumps({key: value for key, value in RESULTS.items() if key != "command"}))
    finished = run(repository)
    assert finished.returncode == 2 and finished.stderr.startswith("error:") and finished.stderr.count("\n") == 1


def test_this_readmes_numbers_are_the_result_files_numbers(project, run):
    readme = (project / "README.md").read_text("utf-8")
    names = re.findall(r"<!-- results:(\w+) -->", readme)
    if not names:
        pytest.skip("the README has no results marker")
    finished = run(project, "--check")
    assert finished.returncode == 0, finished.stderr
    results = json.loads((project / "docs" / "results" / f"{names[0]}.json").read_text("utf-8"))
    readme = readme.split("<!-- /results -->")[0]
    assert row(readme, "**trained policy**")[0] == f"{results['final_success']:.1%}"
    assert row(readme, "base policy, frozen")[0] == f"{results['base_success']:.1%}"
