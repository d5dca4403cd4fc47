"""Plain data and numpy arrays out of a pickle, by a small machine of its own that has no way to run anything.

Python's own unpickler imports names and calls what it finds. This one knows the handful of instructions that lists,
dicts, numbers, texts and arrays need (protocols 2 to 5, numpy 1 and 2), imports nothing and calls nothing but the
builders below; every other instruction or name is refused where it stands. Arrays are views of the bytes that the file
really holds, so a file cannot claim more memory than a small multiple of its own size.
"""

from __future__ import annotations

import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

MAX_BYTES = 8 << 30
"""Files above this are refused [B]: everything is held in memory."""
DTYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
MAX_AXES = 32
MAX_INSTRUCTIONS = 20_000_000
"""Some 50 000 transitions; each instruction makes one small object at most."""
_REST_OF_DTYPE = (None, None, None, -1, -1, 0)


@dataclass
class _Name:
    """A global that the file names: never looked up, only compared."""

    name: str


@dataclass
class _Dtype:
    code: str
    order: str = "="


@dataclass
class PickledArray:
    """An array of the file; `value` is None until its content has come."""

    value: np.ndarray | None = None


class _Mark:
    """Where the next tuple, list or dict begins on the stack."""


_MARK = _Mark()


@dataclass
class _Machine:
    budget: int
    """Bytes that texts may still be turned into: else one long text, turned again and again, would fill the memory."""
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]


def read_pickle(path: str | Path) -> Any:
    """The data in a pickle file: lists, tuples, dicts with text keys, numbers, texts, bytes, None, and `PickledArray`.

    Raises FileNotFoundError; ValueError, naming the file, when it is damaged, too large, or holds anything else.
    Nothing of the file is ever executed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: check the path")
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise ValueError(f"{path} has {size} bytes, allowed are 1 to {MAX_BYTES}: split it into several files")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _run(data, _Machine(budget=size))
        except _Refused as error:
            raise ValueError(f"{path} {error}: refused, nothing was executed") from None
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            reason = "a value it refers to is not in it" if isinstance(error, KeyError) else error
            raise ValueError(
                f"{path} is a damaged pickle ({reason}): refused, nothing was executed; copy or record it again"
            ) from None


class _Refused(Exception):
    """The file holds something that is not data."""


def _run(data: Any, machine: _Machine) -> Any:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count >= MAX_INSTRUCTIONS:
            raise _Refused(f"has more than {MAX_INSTRUCTIONS} instructions (split it into several files)")
        step = _STEPS.get(opcode.name)
        if step is None:
            raise _Refused(f"holds the pickle instruction {opcode.name}, which is not data")
        step(machine, argument)
    result = machine.pop()
    if machine.stack:
        raise ValueError("values are left over")
    return result


def _nothing(machine: _Machine, argument: Any) -> None:
    pass


def _push(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _constant(make: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(values[::-1]))

    return step


def _extend(machine: _Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise ValueError("an element has no list to go to")
    target.extend(values)


def _update(machine: _Machine, values: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not dict or len(values) % 2:
        raise ValueError("an entry has no dict to go to")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if type(key) is not str:  # also: a key that is not hashed cannot be a tuple of a million tuples
            raise _Refused(f"has a dict with a key of type {type(key).__name__}, expected text")
        target[key] = value


def _name(machine: _Machine, name: str) -> None:
    if name not in _BUILDERS:
        raise _Refused(f"names {name[:200]}, which is not data")
    machine.stack.append(_Name(name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise ValueError("a name is no text")
    _name(machine, f"{module}.{name}")


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, function = machine.pop(), machine.pop()
    if type(function) is not _Name or type(arguments) is not tuple:
        raise _Refused("calls something that is no builder of arrays")
    machine.stack.append(_BUILDERS[function.name](machine, arguments))


def _build(machine: _Machine, _: Any) -> None:
    """Give an array or a dtype its state; nothing else has one."""
    state, target = machine.pop(), machine.stack[-1]
    if type(target) is _Dtype and type(state) is tuple and len(state) == 8:
        version, order, *rest = state
        if version != 3 or type(order) is not str or order not in ("<", ">", "|", "=") or tuple(rest) != _REST_OF_DTYPE:
            raise _Refused("has a dtype with fields or metadata")
        target.order = order
    elif type(target) is PickledArray and target.value is None and type(state) is tuple and len(state) == 5:
        _, shape, dtype, fortran, raw = state
        if type(raw) is not bytes:
            raise _Refused("has an array of objects")
        target.value = _array(raw, dtype, shape, "F" if fortran is True else "C")
    else:
        raise _Refused(f"sets the state of a {type(target).__name__}, which has none")


def _array(raw: bytes | bytearray, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """A read-only array over exactly the bytes that are there."""
    if type(dtype) is not _Dtype or type(shape) is not tuple or order not in ("C", "F"):
        raise _Refused("has an array of another make")
    if len(shape) > MAX_AXES or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape):
        raise ValueError(f"an array has {len(shape)} axes or one out of range")
    kind = np.dtype(dtype.order + dtype.code)
    if prod(shape) * kind.itemsize != len(raw):
        raise ValueError(f"an array of shape {shape} {dtype.code} has {len(raw)} bytes")
    array = np.frombuffer(raw, kind).reshape(shape, order=order)
    array.flags.writeable = False
    return array


def _new_array(machine: _Machine, arguments: tuple[Any, ...]) -> PickledArray:
    kind, shape, code = arguments
    if type(kind) is not _Name or kind.name != "numpy.ndarray" or shape != (0,) or code not in (b"b", "b"):
        raise _Refused("has an array of another class than numpy.ndarray")
    return PickledArray()


def _array_from_buffer(machine: _Machine, arguments: tuple[Any, ...]) -> PickledArray:
    raw, dtype, shape, order = arguments
    if type(raw) not in (bytes, bytearray):
        raise _Refused("has an array without bytes of its own")
    return PickledArray(_array(raw, dtype, shape, order))


def _scalar(machine: _Machine, arguments: tuple[Any, ...]) -> Any:
    dtype, raw = arguments
    if type(raw) is not bytes:
        raise _Refused("has a number without bytes of its own")
    return _array(raw, dtype, (), "C").item()


def _new_dtype(machine: _Machine, arguments: tuple[Any, ...]) -> _Dtype:
    code, *flags = arguments
    if type(code) is not str or code not in DTYPES or not all(type(flag) in (bool, int) for flag in flags):
        raise _Refused(f"has an array of dtype {_said(code)}, allowed are {', '.join(sorted(DTYPES))}")
    return _Dtype(code)


def _said(value: Any) -> str:
    """A value for a message: what is no text may be nested too deep to be printed."""
    return repr(value[:40]) if type(value) is str else f"a {type(value).__name__}"


def _encode(machine: _Machine, arguments: tuple[Any, ...]) -> bytes:
    """How protocol 2 writes bytes."""
    text, encoding = arguments
    if type(text) is not str or encoding != "latin1":
        raise _Refused("turns something other than text into bytes")
    machine.budget -= len(text)
    if machine.budget < 0:
        raise _Refused("unfolds into more bytes than it has")
    return text.encode("latin1")


def _empty(kind: type) -> Callable[[_Machine, tuple[Any, ...]], Any]:
    def build(machine: _Machine, arguments: tuple[Any, ...]) -> Any:
        if arguments:
            raise _Refused(f"calls {kind.__name__} with arguments")
        return kind()

    return build


def _no_call(machine: _Machine, arguments: tuple[Any, ...]) -> Any:
    raise _Refused("calls numpy.ndarray")


_BUILDERS: dict[str, Callable[[_Machine, tuple[Any, ...]], Any]] = {
    "numpy.ndarray": _no_call,  # only ever an argument
    "numpy.dtype": _new_dtype,
    "_codecs.encode": _encode,
    **{f"{module}.bytes": _empty(bytes) for module in ("__builtin__", "builtins")},  # protocol 2's empty bytes
    "collections.OrderedDict": _empty(dict),
    **{f"numpy.{core}.multiarray._reconstruct": _new_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _array_from_buffer for core in ("core", "_core")},
}
"""What a name in the file stands for here."""

_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), _push),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), _push),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "MARK": _constant(lambda: _MARK),
    "EMPTY_LIST": _constant(list),
    "EMPTY_DICT": _constant(dict),
    **{f"{'EMPTY_TUPLE' if n == 0 else f'TUPLE{n}'}": _tuple_of(n) for n in range(4)},
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "APPEND": lambda machine, _: _extend(machine, [machine.pop()]),
    "APPENDS": lambda machine, _: _extend(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: _update(machine, [machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: _update(machine, machine.pop_to_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, n: machine.memo.update({n: machine.stack[-1]})),
    "MEMOIZE": lambda machine, _: machine.memo.update({len(machine.memo): machine.stack[-1]}),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, n: machine.stack.append(machine.memo[n])),
    "GLOBAL": lambda machine, name: _name(machine, name.replace(" ", ".", 1)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
}
"""Every instruction there is."""
