"""The reward section of report.html: intervals, what discriminates, what beats what, confidence against error."""

from __future__ import annotations

import json

import pytest

from robo_reward.config import load_config
from robo_reward.evaluation import plots
from robo_reward.evaluation.report import write_report
from robo_reward.progress.reward_model import reward_folder
from robo_reward.runtime.results import Line, training_summary
from robo_reward.runtime.reward_commands import annotate
from robo_reward.runtime.reward_results import SHOWN, clips_section, print_reward_table, reward_rows, reward_sections
from robo_reward.runtime.stages import StageResult

BINS = [{"confidence": 0.2, "error": 0.3, "error_low": 0.25, "error_high": 0.4, "queries": 11},
        {"confidence": 0.8, "error": 0.1, "error_low": None, "error_high": None, "queries": 10}]  # fmt: skip


def row(method, value, control=False, **marks):
    keys = {f"{key}{suffix}": value + shift for key in SHOWN for suffix, shift in
            (("", 0), ("_low", -0.05), ("_high", 0.05))}  # fmt: skip
    return {"method": method, "success": 5, "failure": 5, "control": control, **keys, **marks}


def bench(folder, bins=BINS):
    rows = [row("compact", 0.7, voc_discriminates=False, success_auc_discriminates=True), row("counter", 0.3, True)]
    rows[1]["voc"], rows[1]["voc_low"], rows[1]["voc_high"] = 1.0, 0.9, 1.0
    rows[1].update(dict.fromkeys(("vroc", "vroc_low", "vroc_high")))
    (folder / "bench.json").write_text(json.dumps(rows))
    (folder / "reliability.json").write_text(json.dumps(bins))
    told = {"instructions": ["push", "pull"], "values": [[0.9, 0.1], None]}
    outcomes = {"method": "compact", "confusion": [[4, 1, 0], [0, 2, 1], [0, 0, 7]], "instructions": told}
    (folder / "outcomes.json").write_text(json.dumps([outcomes]))
    return StageResult("bench-reward", folder, "0" * 64, {}, 1.0, False)


def test_each_cell_has_its_interval_and_the_last_row_says_what_discriminates(tmp_path):
    model, counter, marks = (
        dict(zip(["method", *SHOWN], cells, strict=True)) for cells in reward_rows(bench(tmp_path))
    )
    assert model["success_auc"] == "0.700 (0.65 to 0.75)" and counter["vroc"] is None
    assert marks["success_auc"] is True and marks["voc"] is False
    assert marks["wrong_instruction_accuracy"] is None, "no control reads instructions"


def test_the_page_says_what_beats_the_model_and_on_what(tmp_path):
    text = write_report(tmp_path / "report.html", reward_sections(bench(tmp_path))).read_text()
    (line,) = [part for part in text.split("<tr>") if part.startswith('<th scope="row">counter')][-1:]
    better, worse = line.split("<td")[1:3]
    assert SHOWN["success_auc"] in better and SHOWN["voc"] not in better
    assert SHOWN["voc"] in worse and SHOWN["progress_error"] in worse, "errors: the lower one is better"
    assert SHOWN["vroc"] not in line, "undefined for the counter: nothing is said"


def test_confidence_against_error_is_drawn_when_there_is_any(tmp_path):
    text = write_report(tmp_path / "report.html", reward_sections(bench(tmp_path))).read_text()
    assert "Confidence against error" in text and "21 queries" in text and "data:image/svg+xml" in text
    titles = [section.title for section in reward_sections(bench(tmp_path, bins=[]))]
    assert "Confidence against error" not in titles and "What episodes are taken for" in titles
    with pytest.raises(ValueError, match="at least one"):
        plots.reliability([], [], [])


def test_the_terminal_shows_the_same_metrics(tmp_path, capsys):
    print_reward_table(bench(tmp_path), quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[2].split()[0] == "counter" and "-" in lines[2].split()


def test_matrices_of_outcomes_and_instructions_show_their_numbers(tmp_path):
    titles = [section.title for section in reward_sections(bench(tmp_path))]
    assert {"What episodes are taken for", "Tasks and instructions", "Whole episodes"} <= set(titles)
    svg = plots.confusion([[4, 1], [2, 17]], ["no", "yes"], rows="truth", columns="said", counts=True)
    assert svg.startswith("<?xml") and "<!-- 17 -->" in svg
    assert "<!-- a $\\frac$ b -->" in plots.confusion([[1, 0], None], ["a $\\frac$ b", "b"], rows="", columns="")
    assert "<!-- 0.25 -->" in plots.confusion([[0.25, 1], None], ["a", "b"], rows="", columns="")
    for wrong in ([[1, 2]], [[1, 2], [3]]):
        with pytest.raises(ValueError, match="a matrix for 2 names"):
            plots.confusion(wrong, ["a", "b"], rows="", columns="")


def test_clips_are_linked_with_their_pages(tmp_path):
    clips = [{"film": "success-best.mp4", "page": "success best.html", "success": True, "caption": "best, e1"}]
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "success-best.mp4").write_bytes(b"film")
    stage = StageResult("clips", tmp_path / "clips", "0" * 64, {"clips": clips}, 1.0, False)
    html = clips_section(stage, tmp_path / "run").html
    assert 'src="../clips/success-best.mp4' in html and 'href="../clips/success%20best.html"' in html


def test_the_folder_of_a_run_stands_for_the_reward_model_that_it_trained(tmp_path, monkeypatch):
    def stage(name, **summary):
        return StageResult(name, tmp_path / "stages" / name, "0" * 64, summary, 1.0, False)

    data, model, done = stage("collect"), stage("train-reward"), stage("annotate")
    trained = stage("train", curve=[], rollouts=1, env_steps=9, updates=1, updates_per_s=1.0)
    line = Line(data, model, stage("train-base"), trained, stage("evaluate"))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "summary.json").write_text(json.dumps(training_summary(load_config(), line)))
    for name, result in (("collecting.dataset", data), ("steps.reward", model), ("steps.annotate", done)):
        monkeypatch.setattr(f"robo_reward.runtime.{name}_stage", lambda *_, result=result: result)
    annotate(load_config([f"run.root={tmp_path}", f"run.dir={tmp_path / 'annotate'}", "quiet=true"], "annotate"))
    for run in ("train", "annotate"):
        assert reward_folder(tmp_path / run) == model.path
