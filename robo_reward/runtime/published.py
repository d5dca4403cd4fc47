"""What the learner hands its actors: the newest weights, and once what the agent and its base policy are made of.

Weights travel as safetensors with a sha256 and are taken only whole: the same tensors, shapes and types as the actor's
own agent has, all finite. Otherwise the actor keeps what it has.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from robo_reward.config import Config
from robo_reward.learning.agents import AGENTS
from robo_reward.learning.ibrl import IBRL
from robo_reward.learning.residual_td3 import ResidualTD3
from robo_reward.runtime.messages import MAX_BYTES, PART_BYTES, Part
from robo_reward.runtime.observing import eyes_of
from robo_reward.runtime.stages import manifest
from robo_reward.settings import build
from robo_reward.shaping import SCHEMES

_ACTING = ("actor.", "actor_target.", "reach.", "encoder.", "encoder_target.")
_MAX_FILES, _MAX_FILE_BYTES = 1000, 4 << 30
_NAME = re.compile(r"[\w\-][\w.\-]*(/[\w\-][\w.\-]*){0,8}")


@dataclass(frozen=True)
class About:
    """What an actor's agent and base policy are made of, see `ResidualTD3`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    action_size: int
    columns: tuple[int, ...] | None
    phase_size: int
    files: Mapping[str, str]
    """Relative path -> sha256 (hex) of what the base policy and the world's encoder are loaded from."""
    sizes: Mapping[str, int]
    """[bytes] of each"""

    @classmethod
    def of(cls, agent: ResidualTD3, folders: Mapping[str, Path]) -> About:
        """Of the learner's own; `folders`: first part of a file's path -> the folder that it lies in."""
        files = {f"{top}/{name}": sha for top, folder in folders.items() for name, sha in manifest(folder).items()}
        sizes = {name: (folders[name.split("/")[0]] / name.split("/", 1)[1]).stat().st_size for name in files}
        columns = None if agent.columns is None else tuple(agent.columns)
        mean, std = tuple(agent.mean.tolist()), tuple(agent.std.tolist())
        return cls(mean, std, agent.action_size, columns, agent.phase_size, files, sizes)

    def to_json(self) -> str:
        """For `Welcome.about`."""
        return json.dumps(asdict(self))


def read_about(text: str) -> About:
    """What `About.to_json` wrote. ValueError for anything else, and for files that would lie outside their folder."""
    try:
        about = build(About, json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"the learner's description of its agent cannot be read: {error}") from None
    if not 0 < len(about.mean) == len(about.std) <= 1 << 20 or not np.isfinite([*about.mean, *about.std]).all():
        raise ValueError("the learner's description of its agent has no mean and standard deviation of its input")
    if min(about.std) <= 0 or not 0 < about.action_size <= 1024 or not 0 <= about.phase_size <= 1024:
        raise ValueError("the learner's description of its agent has a size or a standard deviation out of range")
    if about.files.keys() != about.sizes.keys() or len(about.files) > _MAX_FILES:
        raise ValueError(f"the learner offers {len(about.files)} files, {_MAX_FILES} at most, each with a size")
    for name, size in about.sizes.items():
        if len(name) > 255 or not _NAME.fullmatch(name) or not 0 <= size <= _MAX_FILE_BYTES:
            raise ValueError(f"the learner offers a file {name[:80]!r} of {size} bytes: refused")
    return about


def new_actor_agent(config: Config, about: About) -> ResidualTD3:
    """An agent that acts as the learner's does once it has its weights."""
    return AGENTS[config.agent.kind](
        np.array(about.mean, np.float32), np.array(about.std, np.float32), about.action_size,
        replace(config.agent, device="cpu"), SCHEMES[config.shaping.kind], config.shaping.scale, config.seed,
        about.columns, about.phase_size, eyes_of(config),
    )  # fmt: skip


def fetch_files(about: About, folder: Path, ask: Callable[[str, int], bytes]) -> None:
    """Copy the offered files into the folder, unless they are there.

    Args:
        ask: (name, offset) -> the file's bytes from there on, as many as fit into a message.

    Raises:
        ValueError: a file is not what was announced; it was not kept.
    """
    for name, sha256 in about.files.items():
        path, wanted, data = folder / name, about.sizes[name], b""
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            continue
        while len(data) < wanted and (part := ask(name, len(data))):
            data += part
        if len(data) != wanted or hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError(f"{name} came damaged from the learner: start the actor again")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def file_part(folders: Mapping[str, Path], about: About, name: str, offset: int) -> bytes:
    """The bytes of an offered file from the offset on. ValueError for any other file."""
    if name not in about.files:
        raise ValueError(f"no file {name[:80]!r} is offered")
    top, _, rest = name.partition("/")
    with open(folders[top] / rest, "rb") as file:
        file.seek(offset)
        return file.read(PART_BYTES)


def acting_weights(agent: ResidualTD3) -> dict[str, torch.Tensor]:
    """The agent's tensors that `act` needs while it explores."""
    needed = (*_ACTING, "critic_target.") if isinstance(agent, IBRL) else _ACTING
    return {name: tensor for name, tensor in agent.state_dict().items() if name.startswith(needed)}


def take_weights(agent: ResidualTD3, weights: Mapping[str, torch.Tensor]) -> None:
    """Act with these weights, which `unpack_weights` has checked, from now on."""
    agent.load_state_dict({**agent.state_dict(), **weights})


def pack_weights(version: int, agent: ResidualTD3) -> Part:
    """The agent's newest weights as a message.

    Raises:
        FloatingPointError: one is not finite; nothing is to be published.
        ValueError: they are more than a link carries.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in acting_weights(agent).items()}
    if (bad := _not_finite(weights)) is not None:
        raise FloatingPointError(f"the weights {bad} are not finite: they are not published")
    data = save(weights)
    if len(data) > MAX_BYTES - 1024:
        raise ValueError(f"the policy's weights have {len(data)} bytes, a link carries {MAX_BYTES}: lower agent.hidden")
    return Part(version, hashlib.sha256(data).hexdigest(), data)


def unpack_weights(part: Part, agent: ResidualTD3) -> dict[str, torch.Tensor]:
    """The tensors of a message, checked against the agent that is to take them.

    Raises:
        ValueError: they are not what was packed, not this agent's, or not finite.
    """
    if hashlib.sha256(part.data).hexdigest() != part.sha256:
        raise ValueError("the weights do not match their checksum")
    try:
        weights = load(part.data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"the weights are no safetensors ({error})") from None
    own = acting_weights(agent)
    shapes: list[dict[str, Any]] = [
        {n: (tuple(t.shape), t.dtype) for n, t in found.items()} for found in (own, weights)
    ]
    if shapes[0] != shapes[1]:
        differing = sorted(name for name in {*own, *weights} if shapes[0].get(name) != shapes[1].get(name))
        raise ValueError(f"the weights are of another agent: {', '.join(differing[:3])} differ")
    if (bad := _not_finite(weights)) is not None:
        raise ValueError(f"the weights {bad} are not finite")
    return weights


def _not_finite(weights: Mapping[str, torch.Tensor]) -> str | None:
    """Name of a tensor with a NaN or an infinity, if there is one."""
    floats = (name for name, tensor in weights.items() if tensor.is_floating_point())
    return next((name for name in floats if not torch.isfinite(weights[name]).all()), None)
