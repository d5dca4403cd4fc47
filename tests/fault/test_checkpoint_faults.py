"""Checkpoints under power loss (S5), a full or failing disk (S3), flipped bytes (S4) and gradients of NaN (R2)."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.learning.adam import Adam  # noqa: E402
from robo_reward.runtime import checkpoint as module  # noqa: E402
from robo_reward.runtime.checkpoint import Checkpoint  # noqa: E402
from robo_reward.testing.faults import fault_count, record_fault  # noqa: E402
from robo_reward.testing.faulty_disk import FaultyDisk, PowerLost  # noqa: E402
from robo_reward.testing.learners import random_batch, small_learner  # noqa: E402

pytestmark = pytest.mark.fault
IDENTITY = {"settings": "abc"}


@dataclass
class Counters:
    saves: int = 0


def holding(folder, number, disk=module.DISK):
    """A checkpoint whose every part is drawn from `number`: over 4 KB of tensors, a generator and counters."""
    checkpoint = Checkpoint(folder, identity=IDENTITY, disk=disk, quiet=True)
    torch.manual_seed(number)
    checkpoint.net, checkpoint.rng = torch.nn.Linear(32, 32), np.random.default_rng(number)
    checkpoint.counters, checkpoint.number = Counters(number), number
    return checkpoint


def loaded(folder):
    """The number whose checkpoint loads, all its parts checked; 0 when there is none.

    Raises AssertionError when it is none that was ever saved, ValueError when all are damaged.
    """
    checkpoint = holding(folder, 999)
    if not checkpoint.load():
        return 0
    number = checkpoint.number
    wanted = holding(folder, number)
    assert checkpoint.counters == wanted.counters and checkpoint.rng.random() == wanted.rng.random(), "a wrong number"
    for name, tensor in wanted.net.state_dict().items():
        assert torch.equal(tensor, checkpoint.net.state_dict()[name]), f"a wrong {name}"
    return number


def outcome(folder, allowed):
    """Empty when a checkpoint of these numbers loads, else what happened."""
    try:
        number = loaded(folder)
    except (AssertionError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if number in allowed else f"loaded {number}, not one of {allowed}"


# ---- S5: the power goes ----

SAVES = 3


def save_all(root, disk):
    """Three saves, so that an old one is removed; yields the number of saves that have returned."""
    for number in range(1, SAVES + 1):
        holding(root / "checkpoints", number, disk).save()
        yield number


def broken_by_power_loss(folder, seeds, **options):
    """Every operation of the saves x seeds: how many cases there were, and what broke in which."""
    whole = FaultyDisk(folder / "whole")
    list(save_all(whole.folder, whole))
    broken, cases = [], 0
    for stop_at in range(1, len(whole.operations) + 2):  # the last one: after everything
        for seed in range(seeds):
            cases += 1
            root, durable = folder / f"{stop_at}-{seed}", 0
            disk = FaultyDisk(root, stop_at=stop_at, **options)
            try:
                for number in save_all(root, disk):
                    durable = number
            except PowerLost:
                pass
            disk.lose_power(np.random.default_rng([stop_at, seed]))
            allowed = [durable, durable + 1] if durable < SAVES else [SAVES]
            if what := outcome(root / "checkpoints", allowed):
                broken.append(f"stop at {stop_at}, seed {seed}: {what}")
            elif not options:
                holding(root / "checkpoints", 50, FaultyDisk(root)).save()
                assert loaded(root / "checkpoints") == 50
    return cases, broken


def test_power_loss_at_every_operation_of_a_save(tmp_path):
    seeds = fault_count(pull_request=5, nightly=20)
    cases, broken = broken_by_power_loss(tmp_path / "kept", seeds)
    _, control = broken_by_power_loss(tmp_path / "control", seeds, ignores_sync=True)
    record_fault(
        "S5", "checkpoints: power lost at every operation of three saves",
        injected=cases, broken=broken, control_failed=len(control),
    )  # fmt: skip


# ---- S3: the disk is full or fails ----

DISK_FAULTS = {
    "full": {"error": errno.ENOSPC, "short_write": True, "lasting": True},
    "full once": {"error": errno.ENOSPC, "short_write": True},
    "I/O error": {"error": errno.EIO},
}


def test_a_full_or_failing_disk_at_every_operation_of_a_save(tmp_path):
    whole = FaultyDisk(tmp_path / "whole")
    list(save_all(whole.folder, whole))
    broken, cases = [], 0
    for name, fault in DISK_FAULTS.items():
        for fail_at in range(1, len(whole.operations) + 1):
            cases += 1
            root, returned = tmp_path / f"{name}-{fail_at}", 0
            disk = FaultyDisk(root, fail_at=fail_at, **fault)
            case = f"{name} at {fail_at}"
            try:
                for number in save_all(root, disk):
                    returned = number
            except OSError as error:
                assert error.errno == fault["error"]
            else:
                broken.append(f"{case}: the error was swallowed")
            what = outcome(root / "checkpoints", [returned, returned + 1])
            if not what:  # the disk works again: so does saving, and it is as durable as ever
                disk.fail_at = None
                holding(root / "checkpoints", 50, disk).save()
                disk.lose_power(np.random.default_rng(fail_at))
                what = outcome(root / "checkpoints", [50])
            if what:
                broken.append(f"{case}: {what}")
    record_fault("S3", "checkpoints: disk full or failing at every operation of a save", injected=cases, broken=broken)


def test_a_failed_save_leaves_no_rubbish_on_a_full_disk(tmp_path):
    folder = tmp_path / "checkpoints"
    holding(folder, 1).save()
    disk = FaultyDisk(tmp_path, fail_at=4, lasting=True, short_write=True)
    with pytest.raises(OSError):
        holding(folder, 2, disk).save()
    assert disk.operations[-1] == "write checkpoints/step-000002.partial/net.safetensors"
    assert [path.name for path in folder.iterdir()] == ["step-000001"]


# ---- S4: bytes flip ----


def wrong_after_flips(folder, flips):
    """Flip one byte in one of two checkpoints or in both, load, put it back: what was wrong, and in which case."""
    for number in (1, 2):
        holding(folder, number).save()
    files = [sorted((folder / f"step-00000{number}").iterdir()) for number in (1, 2)]
    rng, wrong = np.random.default_rng(0), []
    for case in range(flips):
        struck = [[0], [1], [0, 1]][case % 3]
        originals = {}
        for which in struck:
            path = files[which][rng.integers(len(files[which]))]
            data = bytearray(path.read_bytes())
            originals[path] = bytes(data)
            data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
            path.write_bytes(data)
        try:
            if loaded(folder) not in (1, 2):
                wrong.append(f"flip {case}: nothing loaded")
        except ValueError as error:
            if len(struck) == 1 or "all 2 checkpoints are damaged" not in str(error):
                wrong.append(f"flip {case}: {error}")
        except Exception as error:  # noqa: BLE001 (whatever it is, it must not come up)
            wrong.append(f"flip {case}: {type(error).__name__} {error}")
        for path, data in originals.items():
            path.write_bytes(data)
    return wrong


def test_flipped_bytes(tmp_path, monkeypatch):
    flips = fault_count(pull_request=200, nightly=2_000)
    broken = wrong_after_flips(tmp_path / "kept", flips)
    monkeypatch.setattr(module, "_matches", lambda data, digest: True)
    control = [case for case in wrong_after_flips(tmp_path / "control", flips) if "AssertionError a wrong" in case]
    record_fault(
        "S4", "checkpoints: a byte flipped in one or both of two",
        injected=flips, broken=broken, control_failed=len(control),
    )  # fmt: skip


# ---- R2: NaN gradients ----


def learner():
    return small_learner(hidden=8, heads=3, batch=4)


def batch(rng):
    return random_batch(4, int(rng.integers(1 << 30)))


@torch.no_grad()
def unguarded(self, largest_norm):
    """A step without the guard of the learner's."""
    for parameter in self.parameters:
        if parameter.grad is not None:
            parameter -= self.learning_rate * parameter.grad
    return 0.0


def broken_by_nan_gradients(folder, gradients):
    """One NaN or infinity in one gradient each time: where weights, optimiser or checkpoint were not as before."""
    agent, rng = learner(), np.random.default_rng(0)
    agent.update_critics(agent.windows(batch(rng)))
    agent.update_actor(agent.windows(batch(rng)))
    checkpoint = Checkpoint(folder, quiet=True)
    checkpoint.agent = agent
    checkpoint.save()
    on_disk = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    before = {name: tensor.clone() for name, tensor in agent.state_dict().items() if name != "generator"}
    broken = []
    for case in range(gradients):
        kinds = (agent.critic_optimiser, agent.update_critics), (agent.actor_optimiser, agent.update_actor)
        optimiser, update = kinds[case % 2]
        poison = [float("nan"), float("inf")][case // 2 % 2]

        def poisoned(largest_norm, optimiser=optimiser, poison=poison):
            gradient = optimiser.parameters[int(rng.integers(len(optimiser.parameters)))].grad
            gradient.view(-1)[int(rng.integers(gradient.numel()))] = poison
            return Adam.step(optimiser, largest_norm)

        optimiser.step = poisoned
        try:
            update(agent.windows(batch(rng)))
            checkpoint.save()
            broken.append(f"gradient {case}: it was stepped on and saved")
        except FloatingPointError:
            pass
        del optimiser.step
        if any(not torch.equal(tensor, agent.state_dict()[name]) for name, tensor in before.items()):
            broken.append(f"gradient {case}: the learner changed")
            agent.load_state_dict(agent.state_dict() | {name: tensor.clone() for name, tensor in before.items()})
        if {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} != on_disk:
            broken.append(f"gradient {case}: the checkpoint changed")
            on_disk = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return broken


def test_a_gradient_that_is_not_finite_never_steps_and_never_saves(tmp_path, monkeypatch):
    gradients = fault_count(pull_request=20, nightly=200)
    broken = broken_by_nan_gradients(tmp_path / "kept", gradients)
    monkeypatch.setattr(Adam, "step", unguarded)
    control = broken_by_nan_gradients(tmp_path / "control", gradients)
    assert all("the learner changed" in case for case in control), "weights of NaN were saved"
    record_fault(
        "R2", "a gradient with NaN or an infinity: weights, optimiser and checkpoint stay",
        injected=gradients, broken=broken, control_failed=len(control),
    )  # fmt: skip
