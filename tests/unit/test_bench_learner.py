"""The learner's bench: what it calls arithmetic, what it compares, and that a missing learner is passed over."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from robo_reward.config import AgentConfig  # noqa: E402

SMALL = {"heads": 3, "hidden": 16, "batch": 8}


@pytest.fixture
def bench(script, project, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(project / "scripts")
    module = script("bench_learner")
    monkeypatch.setattr(module, "RESULT", tmp_path / "result.json")
    monkeypatch.setattr(module, "ROWS", 1000)
    return module


@pytest.mark.parametrize("subset,moving,every", [(3, None, 2), (3, 1, 1), (2, 2, 2)])
def test_the_arithmetic_counted_is_that_of_an_update(bench, subset, moving, every):
    """Against torch's own count, which leaves out the outer products of vectors."""
    settings = AgentConfig(**SMALL, subset=subset, layer_norm=False, actor_every=every, actor_subset=moving)
    updates = bench.ours(settings)
    with FlopCounterMode(display=False) as counter:
        updates()
    assert bench.products(settings) == pytest.approx(counter.get_total_flops() / bench.UPDATES, rel=0.05)


PEERS = ("plain_td3", "stable_baselines3_td3", "stable_baselines3_sac", "torchrl_td3")


@pytest.mark.parametrize("peer", [*PEERS, pytest.param("lerobot_sac", marks=pytest.mark.slow)])
def test_a_peer_has_networks_and_batches_of_our_size_and_moves_all_of_them(bench, peer):
    """By what it multiplies; some throw gradients away that ours never makes."""
    load, words = bench.PEERS[peer]
    try:
        updates = load()(4, 64, 32)
    except ImportError as error:
        pytest.skip(str(error))
    ours = AgentConfig(heads=4, subset=4, hidden=64, batch=32, **bench.ALIKE[words])
    with FlopCounterMode(display=False) as counter:
        updates()
    assert 0.75 < counter.get_total_flops() / (bench.UPDATES * bench.products(ours)) < 1.4


def test_a_device_is_measured_alone_with_a_row_for_pixels(bench, monkeypatch):
    monkeypatch.setattr(bench, "EPISODE", 20)
    monkeypatch.setattr(bench, "EYES", bench.Eyes(("front",), 32))
    monkeypatch.setattr(bench, "AgentConfig", lambda device: AgentConfig(**SMALL, device=device))
    monkeypatch.setattr("sys.argv", ["bench_learner.py", "--device", "cpu", "--threads", "1", "--repeats", "1"])
    bench.main()
    found = json.loads(bench.RESULT.with_stem("result_cpu").read_text())
    assert found["updates_per_s_default"] > found["updates_per_s_pixels_3x84"] > 0
    assert not bench.RESULT.exists() and found["missing"] == []


def test_a_learner_that_is_not_installed_is_passed_over_and_named(bench, monkeypatch, capsys):
    def gone():
        raise ImportError("No module named 'elsewhere'")

    peers = {"plain_td3": bench.PEERS["plain_td3"], "elsewhere": (gone, "")}
    monkeypatch.setattr(bench, "PEERS", peers)
    monkeypatch.setattr(bench, "NETWORKS", {"2x256": (2, 16, 8), "10heads": (3, 16, 8)})
    monkeypatch.setattr(bench, "SIZES", (1000, 2000))
    monkeypatch.setattr(bench, "EPISODE", 100)
    monkeypatch.setattr("sys.argv", ["bench_learner.py", "--threads", "1", "--repeats", "1"])
    bench.main()
    assert "elsewhere is passed over: No module named 'elsewhere'" in capsys.readouterr().out
    found = json.loads(bench.RESULT.read_text())
    assert found["missing"] == ["elsewhere"]
    assert {"share_of_limit", "ratio_plain_td3_2x256", "ratio_plain_td3_10heads"} <= found.keys()
    assert not any("elsewhere" in key for key in found)
    assert found["table"]["plain td3"]["10 critics"] == found["ratio_plain_td3_10heads"]
    assert "elsewhere" not in found["table"] and found["table"]["ours: share of the limit"]["two of 10 drawn"] > 0
