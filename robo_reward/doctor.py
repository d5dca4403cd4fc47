"""The `doctor` command: does this machine have what the commands need, and what to do where it does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from robo_reward.config import Config
from robo_reward.extras import EXTRA_OF
from robo_reward.terminal import say

DISTRIBUTION_OF = {"PIL": "pillow", "cv2": "opencv-python-headless", "rerun": "rerun-sdk"}
"""Import name -> name on the package index, where they differ."""

DEFAULT_EXTRAS = ("learn", "sim", "lerobot")
"""What the default experiment imports."""

RENDER = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 1"/><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 32, 32)
renderer.update_scene(data)
assert renderer.render().any(), "the picture is black"
"""


@dataclass(frozen=True)
class Check:
    """One row of the table."""

    name: str
    good: bool
    detail: str
    """What was found, or what to do."""
    needed: bool = True
    """Whether the default experiment needs it."""


def doctor(config: Config) -> dict[str, Any]:
    """Print the table of checks: of this machine, of the transition store that `store=` names, or of reward=grm.

    Returns:
        {"good": number of checks passed, "bad": number failed}

    Raises:
        ValueError: something that the default experiment needs is missing, the store is damaged, or the model cannot
            be used, so that the exit code says so.
    """
    if config.store is not None:
        return doctor_store(config.store, config.repair)
    if config.reward.kind == "grm":
        return show(check_grm(config))
    return show([check_python(), check_rendering(), check_ffmpeg(), *check_packages()])


def show(checks: Sequence[Check]) -> dict[str, Any]:
    """Print the checks as a table; returns and raises as `doctor`."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    for check in checks:
        word, code = ("ok", 32) if check.good else ("MISSING", 31) if check.needed else ("absent", 33)
        shown = f"\033[{code}m{word:<8}\033[0m" if colour else f"{word:<8}"
        say(f"{shown}{check.name:<24}{check.detail}")
    bad = [check for check in checks if not check.good]
    if any(check.needed for check in bad):
        raise ValueError(f"{len(bad)} of {len(checks)} checks failed: {', '.join(check.name for check in bad)}")
    return {"good": len(checks) - len(bad), "bad": len(bad)}


def check_grm(config: Config) -> list[Check]:
    """The files, size and answers of the vision-language model that `reward.model=` names.

    Raises ValueError for what no further check is possible after.
    """
    from robo_reward.progress.models.grm import load_grm
    from robo_reward.progress.models.vlm_check import GIB, bundled_pair, memory_here, memory_needed
    from robo_reward.progress.models.vlm_files import check_vlm, chosen_device, find_vlm
    from robo_reward.runtime.steps import check_reward, grm_settings

    check_reward(config)
    settings = grm_settings(config)
    folder, device = find_vlm(settings.source, settings.revision), chosen_device(settings.device)
    checks = [Check("files", True, str(folder)), Check("architecture", True, check_vlm(folder))]
    needed, here = memory_needed(folder, device, settings.four_bit), memory_here(device)
    checks.append(
        Check("memory", needed <= here, f"{needed / GIB:.1f} GiB needed, {here / GIB:.1f} GiB there ({device})")
    )
    if needed > here:
        return checks  # loading it would end this process
    return [*checks, Check("answer", *bundled_pair(load_grm(settings)))]


def doctor_store(path: str, mend: bool) -> dict[str, Any]:
    """Read every byte of a transition store, say what is in it, and repair it where that is asked for."""
    from robo_reward.data.store import find_store, repair, verify

    folder = find_store(path)
    index = verify(folder)
    torn = [damage for damage in index.damages if damage.open_end]
    damaged = len(index.damages) - len(torn)
    size = sum(file.stat().st_size for file in folder.glob("*.log"))
    steps = sum(entry.ending.steps for entry in index.episodes.values())
    open_episodes = sum(actor.open is not None for actor in index.actors.values())
    say(f"{folder}: {len(index.episodes)} episodes, {steps} transitions, {size / 1e6:.1f} MB")
    say(f"{open_episodes} episodes not ended yet, {len(index.abandoned)} abandoned by their actor")
    say(f"{len(torn)} torn ends of segments (never acknowledged, passed over), {damaged} damaged places")
    if damaged and mend:
        say(f"repaired: {len(index.episodes)} episodes kept, the damaged store is in {repair(folder)}")
        damaged = 0
    if damaged:
        lost = f"{len(index.broken)} episodes lost records" + (
            f" ({', '.join(index.broken[:3])})" if index.broken else ""
        )
        raise ValueError(f"the store is damaged, {lost}: repair=true puts one with the whole episodes in its place")
    return {"good": len(index.episodes), "bad": 0}


def check_python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", (3, 10) <= sys.version_info[:2] < (3, 13), f"{version} (3.10 to 3.12 are supported)")


def check_rendering() -> Check:
    """Render one picture in a process of its own: a broken driver may crash it."""
    backend = os.environ.get("MUJOCO_GL", "egl")
    name = f"rendering ({backend})"
    if importlib.util.find_spec("mujoco") is None:
        return Check(name, False, "needs mujoco: pip install 'robo_reward[sim]'")
    environment = {**os.environ, "MUJOCO_GL": backend}
    try:
        run = subprocess.run(
            [sys.executable, "-c", RENDER], env=environment, capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        return Check(name, False, "no picture within 120 s")
    if run.returncode == 0:
        return Check(name, True, "a picture was rendered")
    last = (run.stderr.strip().splitlines() or ["the process died"])[-1]
    return Check(name, False, f"{last[:100]}; apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri")


def check_ffmpeg() -> Check:
    found = shutil.which("ffmpeg")
    return Check("ffmpeg", found is not None, found or "apt-get install ffmpeg")


def check_packages() -> list[Check]:
    """Optional packages, without importing them."""
    checks = []
    for module, extra in EXTRA_OF.items():
        if importlib.util.find_spec(module) is None:
            needed = extra in DEFAULT_EXTRAS
            checks.append(Check(module, False, f"pip install 'robo_reward[{extra}]'", needed))
        else:
            checks.append(Check(module, True, _version(DISTRIBUTION_OF.get(module, module))))
    return checks


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "installed, version unknown"
