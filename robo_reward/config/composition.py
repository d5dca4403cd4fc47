"""Settings as Hydra composes them from `conf/` and the command line, into the dataclasses."""

from __future__ import annotations

import json
import typing
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from robo_reward.config.command import Config
from robo_reward.config.runtime import REACHED
from robo_reward.settings import build, settings_digest


def register(command: str) -> None:
    """Make the command's defaults and the `settings_digest` resolver known to Hydra; harmless when repeated."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import DictConfig, OmegaConf

    def digest(_root_: DictConfig) -> str:
        sections = {str(key): value for key, value in _root_.items_ex(resolve=False) if key not in ("run", "hydra")}
        plain: dict[str, Any] = {
            k: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for k, v in sections.items()
        }
        plain["runtime"] = {name: value for name, value in plain["runtime"].items() if name not in REACHED}
        return settings_digest(plain)

    OmegaConf.register_new_resolver("settings_digest", digest, replace=True)
    defaults = json.loads(json.dumps(asdict(Config(command=command))))  # OmegaConf knows lists, not tuples
    for key in ("name", "dir", "stages"):
        defaults["run"][key] = "???"
    node = OmegaConf.create(defaults)
    # Cameras have any names; a robot's settings are checked where they are known.
    for section in (node.video, node.robot, node.base["names"]):
        OmegaConf.set_struct(section, False)
    ConfigStore.instance().store(name="defaults", node=node)


def from_hydra(composed: Any) -> Config:
    """The dataclasses from Hydra's composition; its own `hydra` node is passed over."""
    from omegaconf import OmegaConf

    plain = typing.cast("dict[str, Any]", OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    plain.pop("hydra", None)
    return build(Config, plain)


def own_files(overrides: Sequence[str]) -> list[str]:
    """The overrides as Hydra takes them, which knows only the files of conf/: `robot=FILE.yaml`, and `reward=FOLDER`
    of a trained reward model, which is `reward_model=FOLDER`; `perturb=AXIS:SEVERITY` or `perturb=AXIS`;
    `model=FOLDER`, which is `reward.model=FOLDER`; and the sections that `plan=`, `compare=` and `policies=` belong
    to."""
    words = []
    for word in overrides:
        name, _, value = word.partition("=")
        if name == "robot" and value.endswith(".yaml"):
            word = f"robot={{file:'{value}'}}"
        elif name == "reward" and "/" in value:
            word = f"reward_model={value}"
        elif name in ("plan", "compare", "policies") and value:
            word = f"evaluate.{name}=[{value.strip('[]')}]"
        elif name == "perturb" and value:
            axis, colon, severity = value.partition(":")
            words += [f"perturb.severities=[{severity}]"] * bool(colon)
            word = f"perturb.axes=[{axis}]"
        elif name == "model":
            word = f"reward.model={value}"
        words.append(word)
    return words


def load_config(overrides: Sequence[str] = (), command: str = "train") -> Config:
    """Compose as the command line would, for scripts, notebooks and tests.

    Args:
        overrides: Hydra overrides such as `"agent.heads=4"` or `"shaping=none"`.
        command: the command whose configuration it is.
    """
    from hydra import compose, initialize_config_module

    register(command)
    with initialize_config_module("robo_reward.conf", version_base="1.3"):
        return from_hydra(compose("config", own_files(overrides)))
