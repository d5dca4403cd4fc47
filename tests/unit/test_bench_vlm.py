"""The speed benchmark of vision-language models: released shapes, and how much work it counts."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.parametrize(("name", "billions"), [("3b", 3.75), ("8b", 8.29), ("4b_2", 4.44), ("8b_2", 8.77)])
def test_the_gpu_rows_have_the_released_shapes(script, name, billions):
    with torch.device("meta"):
        model = script("bench_vlm").released(name).model
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e9 * billions, rel=0.01)
    assert next(model.parameters()).dtype == torch.bfloat16


def test_a_query_is_what_a_tracker_asks_about_an_episode(script):
    bench = script("bench_vlm")
    query = bench.episode_query(3, 0)
    assert len(query) == 12 and query.frames["front"].shape == (5, 240, 320, 3)
    asked = {tuple(row) for row in np.stack([query.before_B, query.after_B]).T.tolist()}
    assert asked == {(2, 2), (2, 3), (3, 4), (0, 1), *((r, n) for r in (0, 1) for n in (2, 3, 4))}


def test_results_are_added_and_sizes_that_were_not_measured_named(script, tmp_path, monkeypatch, capsys):
    bench = script("bench_vlm")
    monkeypatch.setattr(bench, "RESULT", tmp_path / "vlm.json")
    bench.RESULT.write_text('{"tiny_hop_mae": 0.5, "gpu_3b_frames": 24}')
    monkeypatch.setattr(bench, "build_vlm", lambda *_: "nowhere")
    monkeypatch.setattr(bench, "load_vlm", lambda *_, **__: None)
    monkeypatch.setattr(bench, "measure", lambda *_: {"ratio_cached_over_single": 2.0})
    monkeypatch.setattr(bench, "latency", lambda *_: {})
    monkeypatch.setattr("sys.argv", ["bench_vlm.py"])
    bench.main()
    found = json.loads(bench.RESULT.read_text())
    assert found["tiny_hop_mae"] == 0.5 and found["ratio_cached_over_single"] == 2.0
    assert found["gpu_8b"] == "not run here" and "gpu_3b" not in found
    monkeypatch.setattr("sys.argv", ["bench_vlm.py", "--device", "cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch sees no GPU here"):
        bench.main()
