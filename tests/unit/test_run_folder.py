"""A run folder: whole files or none, resumed and never mixed with another run's."""

from __future__ import annotations

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from robo_reward.config import Config, RunConfig, TrainConfig
from robo_reward.extras import missing_extra
from robo_reward.runtime.run_folder import RunFolder, list_runs, read_metrics, write_atomic


def folder(path, config=None, command="train"):
    return RunFolder(path, config or Config(), command, quiet=True)


def test_a_run_leaves_its_configuration_metrics_and_summary(tmp_path):
    with folder(tmp_path / "run") as run:
        run.log(1, loss=0.5, accuracy=np.float32(0.25))
        run.log(2, loss=np.float64(0.4))
        summary = run.finish({"final_success": np.float64(0.9), "rollouts": np.int64(150), "note": "done"})
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["agent"]["heads"] == Config().agent.heads
    assert read_metrics(tmp_path / "run") == [{"step": 1, "loss": 0.5, "accuracy": 0.25}, {"step": 2, "loss": 0.4}]
    assert json.loads((tmp_path / "run/summary.json").read_text()) == summary
    assert summary["final_success"] == 0.9 and summary["rollouts"] == 150
    assert {"seed", "git_revision", "command_line", "wall_s", "date", "cores"} <= set(summary)
    assert summary["cores"] >= 1 and summary["wall_s"] >= 0


def test_the_summary_is_flat(tmp_path):
    with folder(tmp_path) as run, pytest.raises(ValueError, match="'rows'.*got dict"):
        run.finish({"rows": {"sparse": 0.5}})
    assert not (tmp_path / "summary.json").exists()


def test_time_summed_over_stages_replaces_this_invocations(tmp_path):
    with folder(tmp_path) as run:
        assert run.finish({"wall_s": 321.0})["wall_s"] == 321.0


def test_numbers_that_json_lacks_become_null(tmp_path):
    with folder(tmp_path) as run:
        run.log(0, loss=math.nan, bound=math.inf)
        run.finish({"correlation": math.nan})
    assert read_metrics(tmp_path) == [{"step": 0, "loss": None, "bound": None}]
    assert json.loads((tmp_path / "summary.json").read_text())["correlation"] is None


def test_resuming_appends(tmp_path):
    with folder(tmp_path) as run:
        run.log(1, loss=1.0)
    with folder(tmp_path) as run:
        run.log(2, loss=2.0)
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2]


def test_a_line_torn_by_a_crash_is_dropped(tmp_path):
    with folder(tmp_path) as run:
        run.log(1, loss=1.0)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert len(read_metrics(tmp_path)) == 1
    with folder(tmp_path) as run:
        run.log(2, loss=2.0)
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1.0, 2.0]


def test_another_runs_folder_is_refused(tmp_path):
    with folder(tmp_path):
        pass
    with pytest.raises(ValueError, match=r"holds a run with train\.rollouts=150, not 20: choose another run\.dir"):
        folder(tmp_path, Config(train=TrainConfig(rollouts=20)))
    with folder(tmp_path, Config(quiet=True)):
        pass  # what is printed is no other run
    (tmp_path / "config.yaml").write_text("seed: [")
    with pytest.raises(ValueError, match="config.yaml is damaged: choose another run.dir"):
        folder(tmp_path)


def test_a_folder_that_cannot_be_written_is_named_with_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write in .*file/run .*run\.root"):
        folder(tmp_path / "file/run")


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdatasync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_tensorboard_reads_the_events(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with folder(tmp_path) as run:
        run.log(3, loss=0.5)
        run.log(7, loss=0.25)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.5), (7, 0.25)]


def test_listing_passes_over_foreign_files(tmp_path):
    with folder(tmp_path / "runs/one") as run:
        run.finish({"final_success": 0.5})
    with folder(tmp_path / "runs/two", Config(command="evaluate", seed=4)):
        pass
    for name, text in {"broken": "a: [", "list": "- 1", "other": "a: 1"}.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "config.yaml").write_text(text)
    (tmp_path / "runs/odd").mkdir()
    (tmp_path / "runs/odd/config.yaml").write_text("command: train")
    (tmp_path / "runs/odd/summary.json").write_text("[1]")
    found = list_runs(tmp_path / "runs")
    assert sorted(run["path"].name for run in found) == ["one", "two"]
    assert {run["path"].name: run["summary"].get("final_success") for run in found} == {"one": 0.5, "two": None}


def test_a_folder_in_use_is_refused_until_its_writer_is_gone(tmp_path):
    with folder(tmp_path / "run"):
        with pytest.raises(ValueError, match=r"another process is writing .*run: wait for it, or .*run\.dir="):
            folder(tmp_path / "run")
    folder(tmp_path / "run").close()


def test_metrics_are_written_for_wandb_when_asked_for_and_never_sent(tmp_path, monkeypatch):
    told = []

    class Run:
        def __init__(self, **words):
            told.append(words)

        def define_metric(self, *names, **words): ...

        def log(self, row):
            told.append(row)

        def finish(self):
            told.append("finished")

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.delitem(sys.modules, "robo_reward.runtime.wandb_sink", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=Run, Settings=dict))
    asked = Config(run=RunConfig(wandb=True))
    with folder(tmp_path / "run", asked) as run:
        run.log(3, loss=0.5, note="text", bound=math.inf)
    assert told[0]["mode"] == "offline" and told[0]["dir"] == str(tmp_path / "run")
    assert told[1:] == [{"loss": 0.5, "env_step": 3}, "finished"]
    monkeypatch.delitem(sys.modules, "robo_reward.runtime.wandb_sink")
    monkeypatch.setitem(sys.modules, "wandb", None)
    folder(tmp_path / "plain").close()
    with pytest.raises(ImportError) as error:
        folder(tmp_path / "other", asked)
    assert "pip install 'robo_reward[wandb]'" in (missing_extra(error.value) or "")
