"""The command line: every mistake ends in one line and exit code 2, an interruption in 130 and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robo_reward import cli
from robo_reward.config import Config
from robo_reward.runtime.run_folder import RunFolder
from robo_reward.runtime.stages import run_stage


def tiny(config: Config) -> None:
    """A stand-in for a command: one stage, one summary."""
    stage = run_stage(config.run.stages, "toy", {"seed": config.seed}, [], lambda folder: {"square": config.seed**2})
    with RunFolder(config.run.dir, config, config.command, quiet=True) as run:
        run.log(0, loss=1.0)
        run.finish({"square": stage.summary["square"]})


def run(*words: str, command=tiny) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(list(words), {"tiny": command})
    return int(left.value.code or 0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    return tmp_path


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_help_names_every_command_and_shows_examples(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert all(f"  {name} " in text for name in cli.COMMANDS)
    assert "robo-reward train shaping=none" in text


def test_command_help_is_hydras(capsys):
    assert run("tiny", "--help") == 0
    text = capsys.readouterr().out
    assert re.search(r"shaping: .*naive, none, .*potential", text) and "residual_scale" in text


def test_the_same_command_writes_the_same_folder(folder, capsys):
    assert run("tiny", "seed=3") == 0
    assert run("tiny", "seed=3") == 0
    runs = [path for path in (folder / "runs").iterdir() if path.name.startswith("tiny-")]
    assert len(runs) == 1 and capsys.readouterr().err == ""
    summary = json.loads((runs[0] / "summary.json").read_text())
    assert summary["square"] == 9 and summary["seed"] == 3
    assert summary["command_line"] == "robo-reward tiny seed=3"


def test_a_sweep_gives_every_job_its_folder(folder):
    assert run("tiny", "shaping=none", "-m", "seed=1,2") == 0
    summaries = [json.loads(path.read_text()) for path in (folder / "runs").glob("tiny-*/summary.json")]
    assert sorted(summary["square"] for summary in summaries) == [1, 4]


def test_a_sweep_goes_on_after_a_job_that_failed(folder, capsys):
    assert run("tiny", "-m", "agent.heads=1,2") == 2
    assert "agent.heads=1" in one_line(capsys)
    assert len(list((folder / "runs").glob("tiny-*/summary.json"))) == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["tony"], "did you mean 'tiny'?"),
        (["tiny", "agent.heds=3"], "did you mean 'agent.heads'?"),
        (["tiny", "+agent.heds=3"], "did you mean 'agent.heads'?"),
        (["tiny", "shapin=none"], "did you mean 'shaping'?"),
        (["tiny", "shaping=non"], "did you mean 'none'?"),
        (["tiny", "experiment=peg_insrt"], "did you mean 'peg_insert'?"),
        (["tiny", "shaping.kind=potentail"], "did you mean 'potential'?"),
        (["tiny", "agent.heads=1"], "must be >= 2"),
        (["tiny", "agent.gamma=1.5"], "must be > 0 and <= 1"),
        (["tiny", "agent.gamma=nan"], "must be > 0 and <= 1"),
        (["tiny", "agent.heads=many"], "expected a whole number"),
        (["tiny", "env.cameras=front"], "expected a list"),
        (["tiny", "reward.views=[wirst]"], "did you mean 'wrist'?"),
        (["tiny", "seed=1,2"], "a sweep needs -m"),
        (["tiny", "--seed", "1"], "settings are written without dashes"),
        (["tiny", "agent.heads=[1"], "cannot read the settings"),
        (["tiny", "nonsense"], "settings are written name=value"),
        (["tiny", "-m", "seed=1,2", "run.dir=here"], "set run.root"),
    ],
)
def test_a_wrong_word_gets_one_helpful_line(words, hint, capsys):
    assert run(*words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(set(lines)) == 1 and hint in lines[0]


def test_a_missing_file_is_named(capsys):
    def missing(config: Config) -> None:
        (Path("nowhere") / "meta.json").read_text()

    assert run("tiny", command=missing) == 2
    assert "nowhere/meta.json" in one_line(capsys)


def test_a_refused_command_leaves_no_folder(folder):
    def refused(config: Config) -> None:
        raise ValueError("no")

    def begun(config: Config) -> None:
        (Path(config.run.dir) / "log").touch()
        raise ValueError("no")

    assert run("tiny", command=refused) == 2 and not list((folder / "runs").iterdir())
    assert run("tiny", "run.dir=.", command=refused) == 2 and folder.is_dir()
    assert run("tiny", command=begun) == 2 and len(list(folder.glob("runs/*/log"))) == 1


def test_a_missing_extra_is_named(capsys):
    def needs_mujoco(config: Config) -> None:
        raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")

    assert run("tiny", command=needs_mujoco) == 2
    assert "pip install 'robo_reward[sim]'" in one_line(capsys)


def test_an_error_of_our_own_keeps_its_traceback():
    def broken(config: Config) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.main(["tiny"], {"tiny": broken})


def test_full_errors_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ValueError, match="must be >= 2"):
        cli.main(["tiny", "agent.heads=1"], {"tiny": tiny})


def test_a_run_folder_that_cannot_be_made_is_one_line(folder, capsys):
    (folder / "runs").write_text("a file where the folder should be")
    assert run("tiny") == 2
    assert "runs" in one_line(capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_run_folder_is_one_line(folder, capsys):
    (folder / "runs").mkdir(mode=0o500)
    assert run("tiny") == 2
    assert "ermission denied" in one_line(capsys)


def test_an_interruption_is_one_line_and_the_same_command_resumes(folder, capsys):
    def long(config: Config) -> None:
        def build(working: Path) -> dict[str, int]:
            steps = sorted(working.glob("step*"))
            if not steps:
                (working / "step0").touch()
                raise KeyboardInterrupt
            return {"found": len(steps)}

        found.append(run_stage(config.run.stages, "long", {}, [], build, resumable=True, quiet=True).summary["found"])

    found: list[int] = []
    assert run("tiny", command=long) == 130
    assert one_line(capsys) == "interrupted; run the same command again to resume"
    assert run("tiny", command=long) == 0
    assert found == [1]


def test_libraries_do_not_chatter(capsys):
    def chatter(config: Config) -> None:
        import warnings

        warnings.warn("something will be deprecated", DeprecationWarning, stacklevel=1)
        warnings.warn("something is slow", UserWarning, stacklevel=1)

    assert run("tiny", command=chatter) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_runs_lists_what_was_run(folder, capsys):
    assert run("tiny", "seed=5") == 0
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main(["runs"])
    rows = capsys.readouterr().out.splitlines()
    assert left.value.code == 0 and len(rows) == 2
    assert "tiny" in rows[1] and " 5 " in rows[1]
    assert not list((folder / "runs").glob("runs-*")), "listing must leave no folder"


def test_runs_says_when_there_are_none(capsys):
    with pytest.raises(SystemExit):
        cli.main(["runs", "run.root=elsewhere"])
    assert "no runs in elsewhere yet" in capsys.readouterr().out


def test_completion_knows_commands_and_settings(monkeypatch, capsys):
    monkeypatch.setenv("COMP_LINE", "robo-reward tra")
    with pytest.raises(SystemExit):
        cli.main(["-sc", "query=bash"])
    assert "train-reward" in capsys.readouterr().out.split()
    monkeypatch.setenv("COMP_LINE", "robo-reward train agent.he")
    with pytest.raises(SystemExit):
        cli.main(["-sc", "query=bash"])
    assert capsys.readouterr().out.split() == ["agent.heads="]


@pytest.mark.parametrize("name", ["collect", "train-reward", "train", "evaluate"])
def test_a_script_is_its_command(name, project):
    script = project / "scripts" / f"{name.replace('-', '_')}.py"
    words = [sys.executable, str(script), "agent.heds=1"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"robo-reward {name}: unknown setting 'agent.heds'")
