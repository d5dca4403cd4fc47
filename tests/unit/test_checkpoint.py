"""Checkpoints give back exactly what was saved, keep older ones, and refuse what is not theirs in one line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.runtime import checkpoint as module  # noqa: E402
from robo_reward.runtime.checkpoint import Checkpoint  # noqa: E402
from robo_reward.testing.faulty_disk import FaultyDisk  # noqa: E402
from robo_reward.testing.learners import random_batch, small_learner  # noqa: E402


@dataclass
class Counters:
    rollouts: int = 0
    learn_s: float = 0.0
    rows: list = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    value: int = 0


def learner():
    return small_learner(hidden=8, heads=3, batch=4)


def learn(agent, rng, updates=3):
    for _ in range(updates):
        batch = random_batch(4, int(rng.integers(1 << 30)))
        agent.update_critics(agent.windows(batch))
        agent.update_actor(agent.windows(batch))


def tensors(agent):
    return {name: tensor.clone() for name, tensor in agent.state_dict().items()}


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def holding(folder, value, **options):
    """A checkpoint with one tensor and one plain value."""
    checkpoint = Checkpoint(folder, **options)
    checkpoint.net = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(checkpoint.net.weight, value)
    checkpoint.value = value
    return checkpoint


def numbers(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_continued_learner_ends_with_the_weights_of_an_uninterrupted_one(tmp_path):
    def fresh():
        checkpoint = Checkpoint(tmp_path / "new" / "folder", identity={"settings": "abc", "size": (1, 2)})
        checkpoint.agent, checkpoint.rng, checkpoint.counters = learner(), np.random.default_rng(7), Counters()
        checkpoint.curve, checkpoint.best, checkpoint.note = [], {}, None
        return checkpoint

    whole = fresh()
    assert whole.load() is False
    learn(whole.agent, whole.rng)
    whole.counters.rollouts, whole.counters.learn_s, whole.counters.rows = 3, 0.1 + 0.2, [1, [2.5, None]]
    whole.curve.append([1, 0.25])
    whole.best["success"], whole.note = 1.0, "déjà vu"
    assert whole.save().name == "step-000001"
    learn(whole.agent, whole.rng)

    later = fresh()
    agent, rng, counters, curve, best = later.agent, later.rng, later.counters, later.curve, later.best
    assert later.load() is True
    assert counters == Counters(3, 0.1 + 0.2, [1, [2.5, None]])
    assert curve == [[1, 0.25]] and best == {"success": 1.0} and later.note == "déjà vu"
    learn(agent, rng)
    assert same(tensors(agent), tensors(whole.agent)) and rng.random() == whole.rng.random()


def test_odd_tensors_come_back_as_they_were(tmp_path):
    class Odd:
        def __init__(self, state):
            self.state = state

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state = state

    base = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    state = {
        "empty": torch.zeros(0, 3), "scalar": torch.tensor(5), "flag": torch.tensor([True, False]),
        "half": torch.ones(2, dtype=torch.bfloat16), "transposed": base.T, "shared": base[0], "grad": torch.ones(1),
    }  # fmt: skip
    state["grad"].requires_grad_(True)
    checkpoint = Checkpoint(tmp_path)
    checkpoint.odd = Odd(state)
    checkpoint.save()
    checkpoint.odd = Odd({})
    assert checkpoint.load() and same(checkpoint.odd.state, {name: tensor.detach() for name, tensor in state.items()})
    assert all(checkpoint.odd.state[name].dtype == state[name].dtype for name in state)


def test_enough_older_ones_are_kept_and_none_is_changed(tmp_path):
    checkpoint = holding(tmp_path, 1.0, keep=3)
    seen = {}
    for value in range(1, 6):
        checkpoint.value = float(value)
        path = checkpoint.save()
        seen[path.name] = contents(path)
        assert numbers(tmp_path) == list(seen)[-3:]
        assert all(contents(tmp_path / name) == seen[name] for name in numbers(tmp_path))
    with pytest.raises(ValueError, match="keep=1, must be 2 or more"):
        Checkpoint(tmp_path, keep=1)


def test_damaged_ones_do_not_count_among_those_kept(tmp_path):
    for value in (1.0, 2.0, 3.0):
        holding(tmp_path, value).save()
    (tmp_path / "step-000003" / "state.json").write_text("{}")
    holding(tmp_path, 4.0).save()
    assert numbers(tmp_path) == ["step-000002", "step-000003", "step-000004"]


def test_an_older_one_goes_only_when_the_new_one_is_durable(tmp_path):
    disk = FaultyDisk(tmp_path)
    for value in (1.0, 2.0, 3.0):
        holding(tmp_path / "c", value, disk=disk).save()
    first_change = disk.operations.index("rename c/step-000001")
    built = disk.operations.index("rename c/step-000003.partial")
    assert "sync_folder c" in disk.operations[built:first_change]
    assert {f"sync c/step-000003.partial/{name}" for name in ("net.safetensors", "state.json", "manifest.json")} < {
        *disk.operations[:built]
    }
    writes = [operation for operation in disk.operations[:built] if operation.startswith("write c/step-000003")]
    assert writes[-1].endswith("manifest.json"), "the manifest comes last"


def test_what_a_killed_save_left_is_cleared_away(tmp_path):
    holding(tmp_path, 1.0).save()
    left = tmp_path / "step-000002.partial"
    left.mkdir()
    (left / "manifest.json").write_text("half")
    assert holding(tmp_path, 0.0).load()
    assert left.exists()  # loading changes nothing
    holding(tmp_path, 2.0).save()
    assert numbers(tmp_path) == ["step-000001", "step-000002"]


def break_manifest(path):
    (path / "manifest.json").write_text("{")


def break_tensors(path):
    data = (path / "net.safetensors").read_bytes()
    (path / "net.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def break_identity(path):
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"identity": {}', '"identity": {"a": 1}'))


def lose_state(path):
    (path / "state.json").unlink()


@pytest.mark.parametrize("damage", [break_manifest, break_tensors, break_identity, lose_state])
def test_a_damaged_checkpoint_is_passed_over_with_one_line(tmp_path, capsys, damage):
    for value in (1.0, 2.0):
        holding(tmp_path, value).save()
    damage(tmp_path / "step-000002")
    checkpoint = holding(tmp_path, 0.0)
    assert checkpoint.load() and checkpoint.value == 1.0 and checkpoint.net.weight[0, 0].item() == 1.0
    (line,) = capsys.readouterr().out.splitlines()
    assert "step-000002 is damaged" in line and "passed over" in line
    assert holding(tmp_path, 0.0, quiet=True).load() and capsys.readouterr().out == ""


def test_when_all_are_damaged_it_says_so_and_touches_nothing(tmp_path):
    for value in (1.0, 2.0):
        break_tensors(holding(tmp_path, value).save())
    before, checkpoint = contents(tmp_path), holding(tmp_path, 0.0)
    with pytest.raises(ValueError, match="all 2 checkpoints are damaged; put one back") as caught:
        checkpoint.load()
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path) == before and checkpoint.value == 0.0
    holding(tmp_path, 3.0).save()
    assert {path: contents(tmp_path)[path] for path in before} == before


def test_another_experiment_s_checkpoint_is_refused(tmp_path):
    holding(tmp_path, 1.0, identity={"settings": "abc", "seed": 0}).save()
    assert holding(tmp_path, 0.0, identity={"seed": 0, "settings": "abc"}).load()
    for identity in ({"settings": "abd", "seed": 0}, {"settings": "abc"}, {}):
        checkpoint = holding(tmp_path, 0.0, identity=identity)
        with pytest.raises(ValueError, match="a checkpoint of another experiment: its (settings|seed) is") as caught:
            checkpoint.load()
        assert checkpoint.value == 0.0 and "\n" not in str(caught.value)


def test_a_newer_format_is_not_read_and_not_taken_for_damage(tmp_path, monkeypatch):
    holding(tmp_path, 1.0).save()
    monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    holding(tmp_path, 2.0).save()
    monkeypatch.undo()
    with pytest.raises(ValueError, match="format 2, this version reads up to 1: update robo_reward"):
        holding(tmp_path, 0.0).load()


def test_other_attributes_are_refused_and_nothing_is_restored(tmp_path):
    holding(tmp_path, 1.0).save()
    more = holding(tmp_path, 0.0)
    more.curve = []
    with pytest.raises(
        ValueError, match=r"holds net \(tensors\), value \(json\), this program expects .*curve \(json\)"
    ):
        more.load()
    assert more.value == 0.0
    counters, changed = Checkpoint(tmp_path / "other"), Checkpoint(tmp_path / "other")
    counters.progress, changed.progress = Counters(), Counters()
    counters.save()
    manifest = tmp_path / "other" / "step-000001" / "state.json"
    assert json.loads(manifest.read_text()) == {"progress": {"rollouts": 0, "learn_s": 0.0, "rows": []}}

    @dataclass
    class Fewer:
        rollouts: int = 5

    changed.progress = Fewer()
    with pytest.raises(ValueError, match="progress does not fit this program's Fewer"):
        changed.load()
    assert changed.progress.rollouts == 5


def test_tensors_of_another_size_are_refused_in_one_line(tmp_path):
    holding(tmp_path, 1.0).save()
    other = holding(tmp_path, 0.0)
    other.net = torch.nn.Linear(2, 3)
    with pytest.raises(ValueError, match="net does not take its tensors back .*size mismatch") as caught:
        other.load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_saved(tmp_path, bad):
    checkpoint = holding(tmp_path, 1.0)
    checkpoint.save()
    before = contents(tmp_path)
    torch.nn.init.constant_(checkpoint.net.bias, bad)
    with pytest.raises(FloatingPointError, match=r"checkpoint.net: bias holds a non-finite value"):
        checkpoint.save()
    torch.nn.init.zeros_(checkpoint.net.bias)
    checkpoint.value = [1.0, {"a": bad}]
    with pytest.raises(FloatingPointError, match=r"checkpoint.value holds a non-finite number"):
        checkpoint.save()
    assert contents(tmp_path) == before and numbers(tmp_path) == ["step-000001"]


@pytest.mark.parametrize(
    "value", [Frozen(), np.zeros(2), (1, 2), Counters, {1, 2}, [(1, 2)], {1: 2}, [np.float32(1)], Counters(rows=[()])]
)
def test_what_would_not_come_back_exactly_is_refused(tmp_path, value):
    checkpoint = Checkpoint(tmp_path / "new")
    with pytest.raises(ValueError, match=r"checkpoint.thing is .*; give|checkpoint.thing is no JSON value"):
        checkpoint.thing = value
        checkpoint.save()
    assert not (tmp_path / "new").exists()


def test_nested_state_and_bad_names_are_refused(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.optimiser = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match="return a flat dict of tensors"):
        checkpoint.save()
    with pytest.raises(ValueError, match="is a method: choose another name"):
        checkpoint.save = 1
    with pytest.raises(AttributeError, match="nothing was assigned to checkpoint.agent"):
        _ = checkpoint.agent
