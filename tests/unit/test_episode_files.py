"""Episodes on disk: what was saved is what is read; a damaged or foreign file is one line, and never runs code."""

import dataclasses
import io
import os
import zipfile

import numpy as np
import pytest

from robo_reward.data.episodes import load_episode, save_episode
from robo_reward.types import Episode


def make_episode(steps=7, **changes):
    rng = np.random.default_rng(steps)
    frame_steps = np.unique([0, steps // 2, steps])
    episode = Episode(
        episode_id="policy-7: Größe",
        instruction="insert the peg into the blue socket",
        source="policy",
        seed=7,
        agent_pos=rng.normal(size=(steps + 1, 5)).astype(np.float32),
        estimate=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        action=rng.uniform(-1, 1, (steps, 4)).astype(np.float32),
        reward=rng.normal(size=steps).astype(np.float32),
        stage=rng.integers(0, 4, steps + 1),
        oracle=rng.uniform(size=steps + 1).astype(np.float32),
        terminated=True,
        truncated=False,
        success=True,
        frame_steps=frame_steps,
        frames={
            view: rng.integers(0, 256, (len(frame_steps), 12, 10, 3)).astype(np.uint8) for view in ("front", "a.b")
        },
        base_action=rng.uniform(-1, 1, (steps + 1, 4)).astype(np.float32),
    )
    return dataclasses.replace(episode, **changes)


NO_FRAMES = {"frames": {}, "frame_steps": np.zeros(0, np.int64)}


@pytest.mark.parametrize(
    "episode",
    [make_episode(), make_episode(1), make_episode(base_action=None), make_episode(**NO_FRAMES),
     make_episode(terminated=False, truncated=True, success=False, seed=-1, instruction="")],
    ids=["whole", "one step", "no base", "no frames", "time-out"],
)  # fmt: skip
def test_what_was_saved_is_what_is_read(tmp_path, episode):
    save_episode(tmp_path / "e.npz", episode)
    read = load_episode(tmp_path / "e.npz")
    for item in dataclasses.fields(Episode):
        wanted, found = getattr(episode, item.name), getattr(read, item.name)
        assert type(found) is type(wanted), item.name
        if isinstance(wanted, np.ndarray):
            assert found.dtype == wanted.dtype, item.name
        np.testing.assert_equal(found, wanted)
    assert os.listdir(tmp_path) == ["e.npz"]  # nothing half-written stays


@pytest.fixture
def saved(tmp_path):
    save_episode(tmp_path / "e.npz", make_episode())
    return tmp_path / "e.npz"


def refused(path):
    """The one line that says so."""
    with pytest.raises(ValueError) as error:
        load_episode(path)
    message = str(error.value)
    assert "\n" not in message and str(path) in message, message
    return message


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_truncated_file_is_refused(saved, kept):
    content = saved.read_bytes()
    saved.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    refused(saved)


def test_a_flipped_bit_is_noticed_wherever_it_is(saved):
    content = saved.read_bytes()
    whole = load_episode(saved)
    for place in np.linspace(0, len(content) - 1, 60).astype(int):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        saved.write_bytes(damaged)
        try:
            read = load_episode(saved)
        except ValueError:
            continue
        for item in dataclasses.fields(Episode):  # a bit of the archive that carries no data, such as a date
            np.testing.assert_equal(getattr(read, item.name), getattr(whole, item.name))


def test_text_is_refused(tmp_path):
    (tmp_path / "e.npz").write_text("not an episode")
    refused(tmp_path / "e.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"e\.npz"):
        load_episode(tmp_path / "e.npz")


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def rewrite(path, **changes):
    """The file with some arrays replaced, added or, with None, taken out."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize("name", ["reward", "instruction", "something"])
def test_object_arrays_are_refused_and_nothing_in_them_runs(saved, tmp_path, name):
    witness = tmp_path / "ran"
    rewrite(saved, **{name: np.array([Payload(witness)], dtype=object)})
    witness.unlink(missing_ok=True)
    refused(saved)
    assert not witness.exists()


@pytest.mark.parametrize(
    "changes",
    [{"reward": None}, {"episode_id": None}, {"more": np.zeros(3)}, {"seed": np.zeros((2, 2))}],
    ids=["a field too few", "an id too few", "a field too many", "an array for a number"],
)
def test_another_program_s_file_is_refused(saved, changes):
    rewrite(saved, **changes)
    refused(saved)


def test_an_episode_that_contradicts_itself_is_refused(saved):
    rewrite(saved, action=np.full((7, 4), 1.5, np.float32))
    with pytest.raises(ValueError, match="action outside"):
        load_episode(saved)


def test_a_crash_while_saving_leaves_the_earlier_file(saved, monkeypatch):
    def power_failure(file, **arrays):
        file.write(b"half")
        raise OSError("power failure")

    monkeypatch.setattr(np, "savez_compressed", power_failure)
    with pytest.raises(OSError, match="power failure"):
        save_episode(saved, make_episode(3))
    monkeypatch.undo()
    assert len(load_episode(saved)) == 7
    save_episode(saved, make_episode(3))
    assert len(load_episode(saved)) == 3


def test_a_file_inside_the_archive_that_is_no_array_is_refused(saved):
    buffer = io.BytesIO(saved.read_bytes())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("readme.txt", "hello")
    saved.write_bytes(buffer.getvalue())
    refused(saved)
