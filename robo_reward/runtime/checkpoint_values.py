"""What a checkpoint may hold and how it becomes bytes: a small fixed list of kinds, each given back exactly."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as tensors_from
from safetensors.torch import save as bytes_of

STATE = "state.json"


def kind_of(name: str, value: Any) -> str:
    """`tensors`, `generator`, `dataclass` or `json`; ValueError for anything else, naming the attribute."""
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return "tensors"
    if isinstance(value, np.random.Generator):
        return "generator"
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and not _frozen(value):
        return "dataclass"
    if value is None or isinstance(value, (bool, int, float, str, list, dict)):
        return "json"
    raise ValueError(
        f"checkpoint.{name} is a {type(value).__name__}; give an object with state_dict and load_state_dict, "
        "a numpy Generator, a dataclass that is not frozen, or a JSON value"
    )


def encode(contents: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> bytes: one file for every attribute that has tensors, state.json for the others.

    Args:
        contents: attribute name -> value, of the kinds that `kind_of` knows.

    Raises:
        FloatingPointError: a tensor or number is not finite.
        ValueError: a state_dict is not a flat dict of tensors, or a value changes on its way through JSON.
    """
    files: dict[str, bytes] = {}
    values: dict[str, Any] = {}
    for name, value in contents.items():
        kind = kind_of(name, value)
        if kind == "tensors":
            files[f"{name}.safetensors"] = bytes_of(_checked_tensors(name, value.state_dict()))
        elif kind == "generator":
            values[name] = _checked_json(name, value.bit_generator.state)
        elif kind == "dataclass":
            values[name] = _checked_json(name, {f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
        else:
            values[name] = _checked_json(name, value)
    files[STATE] = (json.dumps(values, indent=1) + "\n").encode()
    return files


def _checked_tensors(name: str, state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    plain = {}
    for key, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(
                f"checkpoint.{name}: state_dict()['{key}'] is a {type(tensor).__name__}; return a flat dict of tensors"
            )
        if not torch.isfinite(tensor).all():
            raise FloatingPointError(f"checkpoint.{name}: {key} holds a non-finite value; nothing was saved")
        # A copy of its own: safetensors refuses tensors that share memory, as tied weights do.
        plain[key] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    return plain


def _checked_json(name: str, value: Any) -> Any:
    """The value, refused unless JSON gives it back exactly: it turns tuples into lists, number keys into texts."""
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except TypeError:
        same = False
    except ValueError:
        raise FloatingPointError(f"checkpoint.{name} holds a non-finite number; nothing was saved") from None
    if not same:
        raise ValueError(f"checkpoint.{name} is no JSON value: give lists, dicts with text keys, numbers and texts")
    return value


def restore(contents: dict[str, Any], files: Mapping[str, bytes], path: Path) -> None:
    """Put the files' values into the attributes; everything is decoded and compared before the first is touched.

    Args:
        contents: attribute name -> value; plain values are replaced in this dict, all others restored in place.
        files: what `encode` returned.
        path: where the files lie, for messages.

    Raises:
        ValueError: a value does not fit its attribute: nothing was restored. Or an object refused its tensors, some
            of which it may have taken.
    """
    values = json.loads(files[STATE])
    tensors = {name: tensors_from(files[f"{name}.safetensors"]) for name in contents if name not in values}
    for name, value in values.items():
        if not _fits(contents[name], value):
            raise ValueError(
                f"{path}: {name} does not fit this program's {type(contents[name]).__name__}: "
                "use the program that saved it, or choose another folder"
            )
    for name, state in tensors.items():
        try:
            contents[name].load_state_dict(state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{path}: {name} does not take its tensors back ({reason}): was it built alike?"
            ) from error
    for name, value in values.items():
        target = contents[name]
        if isinstance(target, np.random.Generator):
            target.bit_generator.state = value
        elif isinstance(target, list):
            target[:] = value
        elif isinstance(target, dict):
            target.clear()
            target.update(value)
        elif dataclasses.is_dataclass(target):
            for field, entry in value.items():
                setattr(target, field, entry)
        else:
            contents[name] = value


def _frozen(value: Any) -> bool:
    return bool(type(value).__dataclass_params__.frozen)


def _fits(target: Any, value: Any) -> bool:
    if isinstance(target, np.random.Generator):
        return bool(value["bit_generator"] == target.bit_generator.state["bit_generator"])
    if isinstance(target, (list, dict)):
        return type(value) is type(target)
    if dataclasses.is_dataclass(target):
        return set(value) == {field.name for field in dataclasses.fields(target)}
    return True
