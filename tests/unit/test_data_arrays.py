"""Files of arrays: given back exactly, and refused in one line however they are damaged."""

import numpy as np
import pytest

from robo_reward.data.arrays import read_arrays, write_arrays

ARRAYS = {"a": np.arange(1000.0), "b/c": np.array(["x", "yz"])}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "some.npz"
    write_arrays(path, ARRAYS)
    return path


def test_arrays_come_back(file):
    found = read_arrays(file)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    assert [path.name for path in file.parent.iterdir()] == ["some.npz"]  # nothing is left beside it


@pytest.mark.parametrize("what", ["cut off", "empty", "a flipped byte", "no archive", "a single array"])
def test_a_damaged_file_is_a_value_error(file, what):
    whole = file.read_bytes()
    if what == "a single array":
        with file.open("wb") as out:
            np.save(out, np.zeros(3))
    else:
        flipped = whole[:200] + bytes([whole[200] ^ 0xFF]) + whole[201:]
        broken = {"cut off": whole[: len(whole) // 2], "empty": b"", "a flipped byte": flipped, "no archive": b"text"}
        file.write_bytes(broken[what])
    with pytest.raises(ValueError, match="some.npz is damaged"):
        read_arrays(file)


def test_a_missing_file_is_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "none.npz")
