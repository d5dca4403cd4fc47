"""Plain settings into frozen dataclasses: types and ranges checked, wrong words answered with the nearest right one."""

from __future__ import annotations

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def number(default: Any, low: float | None = None, high: float | None = None, above: float | None = None) -> Any:
    """A field holding a number with low <= value <= high and value > above; a tuple's elements each obey it."""
    return field(default=default, metadata={"low": low, "high": high, "above": above})


def choice(default: Any, *options: Any) -> Any:
    """A field holding one of `options`."""
    return field(default=default, metadata={"options": options})


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?` for the nearest known word, else the list of what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"there is {', '.join(known)}"


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """One line that names an unknown word and the nearest known one."""
    return f"unknown {what} '{word}': {did_you_mean(word, known)}"


def leaf_keys(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all sections and settings."""
    keys = []
    for key, value in settings.items():
        keys.append(prefix + key)
        if isinstance(value, Mapping):
            keys += leaf_keys(value, f"{prefix}{key}.")
    return keys


def build(cls: type[T], settings: Mapping[str, Any], path: str = "") -> T:
    """A frozen dataclass from plain settings; keys left out keep their defaults.

    Raises:
        ValueError: unknown key, wrong type or value out of range, named by its dotted path.
    """
    hints = typing.get_type_hints(cls)
    for key in settings:
        if key not in hints:
            raise ValueError(unknown("setting", path + str(key), [path + name for name in hints]))
    values = {}
    for item in fields(cls):  # type: ignore[arg-type]
        if item.name in settings:
            values[item.name] = _convert(hints[item.name], settings[item.name], path + item.name)
        elif item.default is MISSING and item.default_factory is MISSING:
            raise ValueError(f"{path}{item.name} is missing")
        if item.name in values:
            _check_range(values[item.name], item.metadata, path + item.name)
    return cls(**values)


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type `hint` (a dataclass, a union with None, a tuple, a mapping or a plain type)."""
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ValueError(f"{path}={value!r}: expected a section of settings")
        return build(typing.cast(type, hint), value, path + ".")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, path)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"{path}={value!r}: expected a list, such as {path}=[a,b]")
        return tuple(_convert(arguments[0], element, f"{path}[{i}]") for i, element in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise ValueError(f"{path}={value!r}: expected entries, such as {path}.name=value")
        return {str(key): _convert(arguments[1], element, f"{path}.{key}") for key, element in value.items()}
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        raise ValueError(f"{path}={value!r}: expected {names[hint]}")
    return value


def _check_range(value: Any, limits: Mapping[str, Any], path: str) -> None:
    if value is None or not limits:
        return
    options = limits.get("options")
    if options is not None and value not in options:
        raise ValueError(unknown(f"{path} value", str(value), map(str, options)))
    for element in value if isinstance(value, tuple) else (value,):
        rules = []
        if limits.get("low") is not None:
            rules.append((f">= {limits['low']}", element >= limits["low"]))
        if limits.get("above") is not None:
            rules.append((f"> {limits['above']}", element > limits["above"]))
        if limits.get("high") is not None:
            rules.append((f"<= {limits['high']}", element <= limits["high"]))
        if not all(kept for _, kept in rules):  # NaN keeps no rule
            raise ValueError(f"{path}={value}: must be {' and '.join(rule for rule, _ in rules)}")


def settings_digest(settings: Mapping[str, Any]) -> str:
    """Eight hex digits of everything that changes a run's numbers: not where it is written, nor what it prints."""
    kept = {key: value for key, value in settings.items() if key not in ("run", "quiet", "hydra")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]
