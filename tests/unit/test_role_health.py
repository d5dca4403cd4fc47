"""`robo-reward runs` on runs that are live: what their roles are doing."""

import json
from pathlib import Path

import pytest

from robo_reward.config import Config, RunConfig, load_config
from robo_reward.runtime.role_log import HEALTH, RoleLog
from robo_reward.runtime.run_folder import RunFolder, is_live
from robo_reward.runtime.runs import health, runs

ROLES = {
    "time": 1000.0,
    "run": "ab",
    "roles": {
        "learner": {"pid": 1, "state": "learning", "rollouts": 7, "stored": 9},
        "actor-0": {"heard_s": 0.2, "rollouts": 5},
        "actor-1": {"heard_s": 60.0, "rollouts": 4},
    },
}


def test_roles_are_told_with_what_they_do_and_when_they_were_heard_of(tmp_path):
    assert health(tmp_path, 1000.0) == []
    (tmp_path / HEALTH).write_text(json.dumps(ROLES))
    learner, first, second = health(tmp_path, 1001.0)
    assert learner.endswith("learner: learning, 7 rollouts, 9 stored, heard of 1 s ago")
    assert first.endswith("actor-0: playing, 5 rollouts, heard of 1 s ago")
    assert second.endswith("actor-1: silent, 4 rollouts, heard of 61 s ago")
    assert all("silent" in line for line in health(tmp_path, 1100.0)), "the learner is dead"
    (tmp_path / HEALTH).write_text('{"time": "x"')
    assert "damaged" in health(tmp_path, 1.0)[0]


def test_only_a_run_that_is_written_now_is_live(tmp_path, capsys):
    config = Config(quiet=True, run=RunConfig(root=str(tmp_path), dir=str(tmp_path / "a")))
    with RunFolder(config.run.dir, config, "train", quiet=True) as run:
        (run.path / HEALTH).write_text(json.dumps({**ROLES, "time": 2e9}))
        assert is_live(run.path)
        runs(config)
        told = capsys.readouterr().out
        assert "live" in told and "learner: learning, 7 rollouts" in told
    assert not is_live(Path(config.run.dir)) and not is_live(tmp_path / "none")
    runs(config)
    assert "unfinished" in capsys.readouterr().out


def test_only_a_policys_success_is_listed(tmp_path, capsys):
    for command, summary in (("bench-reward", {"success": False}), ("train", {"final_success": 0.75})):
        config = Config(command, quiet=True, run=RunConfig(root=str(tmp_path), dir=str(tmp_path / command)))
        with RunFolder(config.run.dir, config, command, quiet=True) as run:
            run.finish(summary)
    runs(config)
    rows = capsys.readouterr().out.splitlines()[1:]
    assert sorted("%" in row for row in rows) == [False, True] and any("75.0%" in row for row in rows)


def test_a_log_line_names_run_and_role(tmp_path):
    log = RoleLog(tmp_path, "actor", "ab12")
    log.tell("played", rollout=3)
    log.close()
    log.tell("too late")
    [line] = (tmp_path / "logs" / "actor.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert told.pop("time") > 1e9
    assert told == {"role": "actor", "run": "ab12", "event": "played", "rollout": 3}


def test_where_a_run_is_reached_does_not_make_it_another(tmp_path):
    wanted = load_config(["runtime=async"]).run.name
    for setting in ("runtime.listen=127.0.0.1:9", "runtime.patience_s=9"):
        assert load_config(["runtime=async", setting]).run.name == wanted
    assert load_config(["runtime=async", "runtime.ahead=3"]).run.name != wanted
    first, again = (load_config([f"runtime.listen=127.0.0.1:{port}"], "learner") for port in (7, 8))
    for config in (first, again):
        with RunFolder(tmp_path / "run", config, "learner", quiet=True):
            pass
    with pytest.raises(ValueError, match=r"runtime\.ahead=2, not 3"):
        RunFolder(tmp_path / "run", load_config(["runtime.ahead=3"], "learner"), "learner", quiet=True)


def test_two_learners_on_one_run_folder_are_one_line(tmp_path):
    config = load_config([f"run.dir={tmp_path / 'run'}"], "learner")
    with RunFolder(config.run.dir, config, "learner", quiet=True):
        with pytest.raises(ValueError, match="another process is writing .*: wait for it, or choose another folder"):
            RunFolder(config.run.dir, config, "learner", quiet=True)
