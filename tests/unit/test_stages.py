"""Stages: built once, found again by content, never half there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from robo_reward.runtime.stages import run_stage, stage_digest


class Counting:
    """A build function that counts its calls."""

    def __init__(self, text: str = "data") -> None:
        self.calls, self.text = 0, text

    def __call__(self, folder: Path) -> dict[str, int]:
        self.calls += 1
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "sub/out.txt").write_text(self.text)
        return {"size": len(self.text)}


def stage(root, key=None, inputs=(), build=None, name="collect", **options):
    return run_stage(root, name, key or {"seed": 0}, inputs, build or Counting(), quiet=True, **options)


def test_the_same_settings_are_built_once(tmp_path):
    build = Counting()
    first, second = (stage(tmp_path, build=build) for _ in range(2))
    assert build.calls == 1
    assert (first.reused, second.reused) == (False, True)
    assert second.path == first.path and second.summary == {"size": 4} and second.wall_s == first.wall_s
    assert (first.path / "sub/out.txt").read_text() == "data"


def test_other_settings_versions_and_inputs_are_other_stages(tmp_path):
    first = stage(tmp_path)
    others = [
        stage(tmp_path, key={"seed": 1}),
        stage(tmp_path, version=2),
        stage(tmp_path, name="label"),
        stage(tmp_path, inputs=[first]),
        stage(tmp_path, inputs=[stage(tmp_path, key={"seed": 1})]),
    ]
    assert len({other.path for other in [first, *others]}) == 6


def test_dataclasses_and_tuples_are_keys(tmp_path):
    @dataclass(frozen=True)
    class Settings:
        views: tuple[str, ...] = ("front",)

    digest = stage_digest("a", 1, {"env": Settings(), "size": 84}, [])
    assert digest == stage_digest("a", 1, {"size": 84, "env": {"views": ["front"]}}, [])
    assert digest != stage_digest("a", 1, {"env": Settings(("side",)), "size": 84}, [])


def test_a_key_that_is_not_json_is_named(tmp_path):
    with pytest.raises(ValueError, match="key holds a PosixPath"):
        stage(tmp_path, key={"path": tmp_path})


def test_what_builds_fail_with_passes_through_and_nothing_is_published(tmp_path):
    def failing(folder: Path) -> dict[str, int]:
        (folder / "half").write_text("half")
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        stage(tmp_path, build=failing)
    assert not stage(tmp_path).reused
    assert not (stage(tmp_path).path / "half").exists(), "an attempt that cannot resume starts in an empty folder"


def test_a_resumable_stage_goes_on_where_it_was_interrupted(tmp_path):
    def counting_up(folder: Path) -> dict[str, int]:
        done = len(list(folder.glob("step*")))
        for step in range(done, 3):
            (folder / f"step{step}").touch()
            if step == 1 and done == 0:
                raise KeyboardInterrupt
        return {"found": done}

    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, build=counting_up, resumable=True)
    finished = stage(tmp_path, build=counting_up, resumable=True)
    assert finished.summary == {"found": 2}
    assert sorted(path.name for path in finished.path.iterdir()) == ["stage.json", "step0", "step1", "step2"]


def test_time_of_interrupted_attempts_is_counted(tmp_path, monkeypatch):
    clock = iter([0.0, 10.0, 100.0, 105.0])
    monkeypatch.setattr("robo_reward.runtime.stages.time.monotonic", lambda: next(clock))

    def interrupted(folder: Path) -> dict[str, int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(tmp_path, build=interrupted, resumable=True)
    assert stage(tmp_path, resumable=True).wall_s == 15.0
    assert stage(tmp_path, resumable=True).wall_s == 15.0


@pytest.mark.parametrize("damage", ["changed", "missing", "no marker", "torn marker"])
def test_a_damaged_stage_is_kept_aside_and_built_again(tmp_path, damage):
    path = stage(tmp_path).path
    if damage == "changed":
        (path / "sub/out.txt").write_text("date")
    elif damage == "missing":
        (path / "sub/out.txt").unlink()
    elif damage == "no marker":
        (path / "stage.json").unlink()
    else:
        (path / "stage.json").write_text('{"digest": ')
    again = stage(tmp_path)
    assert not again.reused and (again.path / "sub/out.txt").read_text() == "data"
    assert (tmp_path / f"{path.name}.damaged0").is_dir()
    assert stage(tmp_path).reused


def test_files_that_readers_add_do_no_harm(tmp_path):
    (stage(tmp_path).path / "cache").write_text("by a reader")
    assert stage(tmp_path).reused


def test_the_marker_tells_what_the_stage_was_made_of(tmp_path):
    first = stage(tmp_path)
    second = stage(tmp_path, name="label", key={"views": ["front"]}, inputs=[first], version=3)
    record = json.loads((second.path / "stage.json").read_text())
    assert record["key"] == {"views": ["front"]} and record["version"] == 3
    assert record["inputs"] == [["collect", first.digest]]
    assert list(record["files"]) == ["sub/out.txt"]


def test_a_root_that_cannot_be_written_is_named_with_the_setting(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot write in .*run\.root"):
        stage(tmp_path / "file")


def test_two_processes_build_a_stage_once(tmp_path):
    program = f"""
import sys, time
from pathlib import Path
from robo_reward.runtime.stages import run_stage
def build(folder):
    with open({str(tmp_path / "calls")!r}, "a") as calls:
        calls.write("x")
    deadline = time.monotonic() + 60
    while sys.argv[1] == "0" and not Path({str(tmp_path / "second")!r}).exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # until the second process is about to ask for the same stage
    return {{}}
if sys.argv[1] == "1":
    Path({str(tmp_path / "second")!r}).touch()
print(run_stage({str(tmp_path / "root")!r}, "toy", {{}}, [], build, quiet=True).reused)
"""
    first = subprocess.Popen([sys.executable, "-c", program, "0"], stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "calls").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = subprocess.Popen([sys.executable, "-c", program, "1"], stdout=subprocess.PIPE, text=True)
    answers = [process.communicate(timeout=120)[0].strip() for process in (first, second)]
    assert answers == ["False", "True"] and (tmp_path / "calls").read_text() == "x"
