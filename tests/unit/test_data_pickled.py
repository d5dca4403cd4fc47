"""Pickles: numpy arrays come back as they were; whatever is not plain data is refused before it can do anything."""

from __future__ import annotations

import copyreg
import io
import os
import pickle  # noqa: TID251 - the test writes the files that the reader must read or refuse
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robo_reward.data.pickled import DTYPES, PickledArray, read_pickle

PROTOCOLS = (2, 3, 4, 5)


def plain(value: Any) -> Any:
    """With the arrays taken out of their wrapper."""
    if isinstance(value, PickledArray):
        return value.value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return type(value)(plain(item) for item in value) if isinstance(value, (list, tuple)) else value


def read(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    return plain(read_pickle(path))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", sorted(DTYPES))
@pytest.mark.parametrize("order", "<>")
def test_arrays_of_every_allowed_dtype_come_back(tmp_path, protocol, code, order):
    whole = np.arange(24).reshape(2, 3, 4).astype(order + code)
    arrays = [
        whole, np.asfortranarray(whole), whole[:, ::2], whole[0, 0, :1], np.zeros((0, 3), order + code),
        np.array(3).astype(order + code), whole.T, whole.ravel()[0],
    ]  # fmt: skip
    read_back = read(tmp_path / "a.pkl", pickle.dumps(arrays, protocol))
    for before, after in zip(arrays[:-1], read_back[:-1], strict=True):
        assert after.dtype == before.dtype and np.array_equal(before, after)
        assert not after.flags.writeable
    assert read_back[-1] == arrays[-1]  # a scalar is a number


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_comes_back(tmp_path, protocol):
    shared = np.arange(3.0)
    data = [
        {
            "a": [1, -1, 255, 256, 70000, 2**40, -(2**40)],
            "b": (),
            "c": (1,),
            "d": (1, 2),
            "e": (1, 2, 3),
            "f": (1,) * 9,
        },
        {"text": "grün", "long": "x" * 300, "bytes": b"\xff\x00", "none": b"", "number": 1.5, "yes": True, "no": False},
        OrderedDict(one=None, two=[]),
        *[{"i": i} for i in range(2000)],
    ]
    assert read(tmp_path / "a.pkl", pickle.dumps(data, protocol)) == [*data[:2], dict(data[2]), *data[3:]]
    twice = read(tmp_path / "b.pkl", pickle.dumps([shared, shared], protocol))
    assert twice[0] is twice[1]


def test_numpy_1_names_are_known_too(tmp_path):
    data = pickle.dumps([np.arange(3), np.float32(2)], 2).replace(b"numpy._core.", b"numpy.core.")
    first, second = read(tmp_path / "a.pkl", data)
    assert first.tolist() == [0, 1, 2] and second == 2


# ---- hostile files: each would write the canary, or eat the memory, in Python's own unpickler ----


class Calls:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced

    def __call__(self) -> None:
        """So that the result of one call can be the function of the next."""


class Persistent(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return "touch canary" if isinstance(value, set) else None


def persistent() -> bytes:
    buffer = io.BytesIO()
    Persistent(buffer, 4).dump([set()])
    return buffer.getvalue()


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, function: str) -> bytes:
    return text(module) + text(function) + b"\x93"


def array_with(state: bytes) -> bytes:
    """A pickled array whose state is built by these instructions."""
    make = name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    return b"\x80\x04" + make + state + b"b."


F8 = name("numpy", "dtype") + text("f8") + b"\x89\x88\x87R"
RUN = "touch canary"
CALL = name("posix", "system") + text(RUN) + b"\x85R"
EIGHT = b"\x89C\x08" + bytes(8) + b"t"
HUGE = struct.pack("<Q", 1 << 45)


def hostile() -> dict[str, tuple[bytes, str]]:
    """Name -> file and a part of the answer."""
    getattr_chain = Calls(getattr, Calls(__import__, "os"), "system")
    files = {
        "os.system": (pickle.dumps([Calls(os.system, RUN)]), "names posix.system, which is not data"),
        "os.system, protocol 2": (pickle.dumps([Calls(os.system, RUN)], 2), "names posix.system"),
        "os.system by GLOBAL": (b"cos\nsystem\n(X\x0c\x00\x00\x00touch canarytR.", "names os.system, which is not"),
        "eval": (pickle.dumps(Calls(eval, "open('canary', 'w')")), "names builtins.eval"),
        "exec, protocol 2": (pickle.dumps(Calls(exec, "open('canary', 'w')"), 2), "names __builtin__.exec"),
        "open": (pickle.dumps(Calls(open, "canary", "w")), "names io.open|names _io.open"),
        "getattr chain": (pickle.dumps(Calls(getattr_chain, RUN)), "names builtins.getattr"),
        "attribute path": (b"\x80\x04" + name("numpy", "ndarray.__class__.__base__") + b".", "names numpy.ndarray._"),
        "numpy's own loader": (pickle.dumps(Calls(np.load, "canary")), "names numpy.load"),
        "numpy's doors to modules": (b"\x80\x04" + name("numpy", "os.system") + b".", "names numpy.os.system"),
        "call inside array state": (array_with(b"(K\x01K\x01\x85" + F8 + b"\x89" + CALL + b"t"), "names posix.system"),
        "call inside dtype state": (b"\x80\x04" + F8 + b"(K\x03" + CALL + b"NNNNNNtb.", "names posix.system"),
        "object array": (pickle.dumps(np.array([Calls(os.system, RUN), 1], object)), "dtype 'O8'|names posix"),
        "object array of numbers": (pickle.dumps([np.array([1, "a"], object)]), "dtype 'O8', allowed are b1, f2"),
        "list in place of bytes": (array_with(b"(K\x01K\x01\x85" + F8 + b"\x89]K\x01at"), "an array of objects"),
        "record dtype": (pickle.dumps(np.zeros(2, [("a", "f4")])), "dtype 'V4'"),
        "text dtype": (pickle.dumps(np.array(["a"])), "dtype 'U1'"),
        "subclass": (pickle.dumps(np.ma.array([1.0])), "names numpy.ma.core._mareconstruct"),
        "persistent id": (persistent(), "instruction BINPERSID"),
        "persistent id as text": (b"Ptouch canary\n.", "instruction PERSID"),
        "extension 1": (b"\x80\x02\x82\x01.", "instruction EXT1"),
        "extension 2": (b"\x80\x02\x83\x01\x00.", "instruction EXT2"),
        "extension 4": (b"\x80\x02\x84\x01\x00\x00\x00.", "instruction EXT4"),
        "INST": (b"(X\x0c\x00\x00\x00touch canaryios\nsystem\n.", "instruction INST"),
        "OBJ": (b"(cos\nsystem\nX\x0c\x00\x00\x00touch canaryo.", "names os.system"),
        "NEWOBJ of an allowed name": (b"\x80\x04" + name("numpy", "ndarray") + b"K\x01\x85\x81.", "instruction NEWOBJ"),
        "call of numpy.ndarray": (b"\x80\x04" + name("numpy", "ndarray") + b"K\x01\x85R.", "calls numpy.ndarray"),
        "call of a text": (b"\x80\x04" + text("os.system") + text(RUN) + b"\x85R.", "calls something that is"),
        "state of a builder": (b"\x80\x04" + name("numpy", "dtype") + b"N}" + text("name") + b"Ns\x86b.", "a _Name"),
        "state of a name": (b"\x80\x04" + name("numpy", "dtype") + b"}b.", "sets the state of a _Name"),
        "state of a dict": (b"\x80\x04}}b.", "sets the state of a dict"),
        "buffer from outside": (b"\x80\x05\x97.", "instruction NEXT_BUFFER"),
        "set": (pickle.dumps({1, 2}), "instruction EMPTY_SET"),
        "keys that hash for ever": (b"\x80\x04}" + b")" + b"\x85" * 100_000 + b"K\x01s.", "key of type tuple"),
        "encoded by another codec": (b"\x80\x02c_codecs\nencode\n" + text("a") + text("zip") + b"\x86R.", "into bytes"),
        "bytes() of a number": (b"\x80\x02c__builtin__\nbytes\nJ\x00\x00\x00\x7f\x85R.", "calls bytes with arguments"),
        "copyreg": (b"ccopy_reg\n_reconstructor\n.", "names copy_reg._reconstructor"),
    }  # fmt: skip
    return files


def broken() -> dict[str, bytes]:
    """Files that no honest writer leaves, without anything to run."""
    good = pickle.dumps([np.arange(1000.0)])
    return {
        "truncated": good[:-200],
        "truncated at the end": good[:-1],
        "first byte only": good[:1],
        "huge shape, small data": array_with(b"(K\x01J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86" + F8 + EIGHT),
        "shape beyond 64 bits": array_with(b"(K\x01\x8a\x0a" + b"\x01" * 10 + b"\x85" + F8 + EIGHT),
        "negative shape": array_with(b"(K\x01J\xff\xff\xff\xff\x85" + F8 + EIGHT),
        "too few bytes": array_with(b"(K\x01K\x02\x85" + F8 + EIGHT),
        "too many bytes": array_with(b"(K\x01K\x01\x85" + F8 + b"\x89C\x09" + bytes(9) + b"t"),
        "shape that is a bomb": array_with(b"(K\x01)" + b"\x85" * 100_000 + F8 + EIGHT),
        "bytes of a claimed petabyte": b"\x80\x04\x8e" + HUGE + b"x.",
        "text of a claimed petabyte": b"\x80\x04\x8d" + HUGE + b"x.",
        "bytearray of a claimed petabyte": b"\x80\x05\x96" + HUGE + b"x.",
        "number of a claimed gigabyte": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
        "unknown memo": b"\x80\x04h\x07.",
        "nothing left": b"\x80\x04].a"[:2] + b"a.",
        "mark without end": b"\x80\x04(.",
        "append to a number": b"\x80\x04K\x01K\x02a.",
        "odd dict": b"\x80\x04}(K\x01u.",
        "two results": b"\x80\x04K\x01K\x02.",
        "no pickle": b"PK\x03\x04 this is a zip",
        "unknown instruction": b"\x80\x04\xfe.",
        "damaged text": b"\x80\x04\x8c\x02\xff\xff.",
    }  # fmt: skip


@pytest.fixture
def canary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("case", hostile())
def test_a_hostile_file_is_refused_before_any_effect(tmp_path, canary, case):
    data, words = hostile()[case]
    with pytest.raises(ValueError, match=words) as caught:
        read(tmp_path / "a.pkl", data)
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "a.pkl")) and "refused, nothing was executed" in message
    assert "\n" not in message and len(message) < 600


@pytest.mark.parametrize("case", broken())
def test_a_broken_file_is_told(tmp_path, case):
    with pytest.raises(ValueError, match="nothing was executed") as caught:
        read(tmp_path / "a.pkl", broken()[case])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_a_reason_that_is_a_number_alone_is_put_into_words(tmp_path):
    with pytest.raises(ValueError, match="a value it refers to is not in it"):
        read(tmp_path / "a.pkl", b"hi, no pickle")


def test_the_canary_would_sing(tmp_path, canary):
    """Python's own unpickler does what these files ask for, so the test above can fail."""
    pickle.loads(pickle.dumps(Calls(os.system, RUN)))  # noqa: S301
    assert canary.exists()
    canary.unlink()


def test_a_registered_extension_does_not_help(tmp_path, canary):
    copyreg.add_extension("posix", "system", 250)
    try:
        with pytest.raises(ValueError, match="instruction EXT1"):
            read(tmp_path / "a.pkl", b"\x80\x02\x82\xfa" + text(RUN) + b"\x85R.")
    finally:
        copyreg.remove_extension("posix", "system", 250)


def test_bombs_stay_small(tmp_path, monkeypatch):
    laughs = b"".join(b"h" + bytes([i, ord("h"), i]) + b"\x86\x94" for i in range(200))
    (tmp_path / "laughs.pkl").write_bytes(b"\x80\x04](]\x94" + laughs + b"e.")
    assert len(read_pickle(tmp_path / "laughs.pkl")) == 201  # 2**200 elements, if anybody went to look at them
    (tmp_path / "deep.pkl").write_bytes(b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".")
    assert len(read_pickle(tmp_path / "deep.pkl")) == 1
    encode = b"c_codecs\nencode\n"
    first = encode + b"X\xe8\x03\x00\x00" + b"x" * 1000 + b"q\x01" + text("latin1") + b"q\x02\x86R"
    unfolding = b"\x80\x04](" + first + (encode + b"h\x01h\x02\x86R") * 1000 + b"e."
    with pytest.raises(ValueError, match="unfolds into more bytes than it has"):
        read(tmp_path / "unfolding.pkl", unfolding)
    monkeypatch.setattr("robo_reward.data.pickled.MAX_INSTRUCTIONS", 100)
    with pytest.raises(ValueError, match="more than 100 instructions"):
        read(tmp_path / "long.pkl", pickle.dumps(list(range(200))))


def test_missing_empty_and_too_large_files_are_told(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="check the path"):
        read_pickle(tmp_path / "nowhere.pkl")
    with pytest.raises(ValueError, match="has 0 bytes"):
        read(tmp_path / "empty.pkl", b"")
    monkeypatch.setattr("robo_reward.data.pickled.MAX_BYTES", 10)
    with pytest.raises(ValueError, match="has 11 bytes, allowed are 1 to 10"):
        read(tmp_path / "large.pkl", b"x" * 11)
