"""The stages between collecting and learning, each kept by content: labels, reward model, benchmark, observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_reward.config import SIBLINGS, Config
from robo_reward.progress.completion import CompletionTarget
from robo_reward.runtime.bases import base_stage as base_stage
from robo_reward.runtime.bases import check_base as check_base
from robo_reward.runtime.bases import cloning_settings as cloning_settings
from robo_reward.runtime.bases import load_base as load_base
from robo_reward.runtime.collecting import read_split
from robo_reward.runtime.distil import MakeStudent
from robo_reward.runtime.kept import kept_stage
from robo_reward.runtime.labelling import find_keyframes, known_stages, label_key, write_labels
from robo_reward.runtime.observing import write_observed
from robo_reward.runtime.potentials import learner_annotate as learner_annotate
from robo_reward.runtime.potentials import load_annotate as load_annotate
from robo_reward.runtime.potentials import make_annotate as make_annotate
from robo_reward.runtime.remote_reward import call_settings, check_remote, remote_stage
from robo_reward.runtime.stages import StageResult
from robo_reward.runtime.tasks import SPLITS, task_of
from robo_reward.runtime.training_stage import load_agent as load_agent
from robo_reward.runtime.training_stage import recheck_stage as recheck_stage
from robo_reward.runtime.training_stage import residual_stage as residual_stage
from robo_reward.runtime.training_stage import taught as taught
from robo_reward.runtime.worlds import world_key
from robo_reward.types import Episode, PhiTrack

if TYPE_CHECKING:
    from robo_reward.progress.models.grm import GrmSettings
    from robo_reward.progress.models.sibling import SiblingSettings

Log = Callable[..., None]


def check_labels(config: Config) -> None:
    """Raises FileNotFoundError or ValueError for a file of keyframes, or a `label.model`, that cannot be read; called
    before any work begins."""
    label_key(config)


def label_stage(config: Config, data: StageResult) -> StageResult:
    """Keyframes, by `label.source`, and the potential of every observation."""
    key = {**label_key(config), "pictures": config.label.pictures}
    return kept_stage(config, "label", key, [data], lambda folder: write_labels(config, data.path, folder))


def reward_stage(config: Config, data: StageResult) -> StageResult:
    """The reward model, from demonstrations and weak rollouts; compact's completion calibrated on validation."""
    if config.reward.kind == "remote":
        return remote_stage(config, data)
    settings = {name: value for name, value in asdict(config.reward).items() if name not in _OTHERS}
    key = {"reward": settings, "completion": config.completion, "every": config.collect.query_every,
           **label_key(config), "env": world_key(config)}  # fmt: skip
    if (weights := check_reward(config)) is not None:
        key["weights"] = weights
    compact = reward_stage(with_reward(config, "compact"), data) if config.reward.kind in _FROZEN else None
    inputs = [data, *([compact] if compact else [])]
    return kept_stage(config, "train-reward", key, inputs, lambda folder: _train_reward(config, data, folder, compact))


_OTHERS = ("rivals", "teacher", "teacher_every", "url", "api", "deadline_s", "attempts", "concurrency", "cool_down_s")
"""Settings that no model that is trained here depends on."""


def check_reward(config: Config) -> str | None:
    """A fingerprint of the vision-language model's files, None where there is none; called before any work begins.

    Raises ValueError for a model that is not there or cannot be loaded, or where nobody has said who serves it.
    """
    kind = config.reward.kind
    if kind == "remote" and config.reward_model is None:
        check_remote(config)
    if kind == "compact":
        from robo_reward.progress.models.compact_net import check_names

        check_names(config.reward.views or config.env.cameras)
    if kind not in ("grm", *SIBLINGS) or config.reward_model is not None:
        return None
    from robo_reward.progress.models.vlm_files import check_vlm, find_vlm, fingerprint

    if config.reward.model is None:
        raise ValueError(
            f"reward={kind} needs a vision-language model: add reward.model=FOLDER, or OWNER/NAME on the hub"
        )
    if config.reward.url is not None:  # the folder says who answered there when it was made
        return f"{config.reward.url} {config.reward.model} {call_settings(config)}"
    if kind in SIBLINGS:
        from robo_reward.progress.models.sibling import check_files

        return check_files(sibling_settings(config))
    folder = find_vlm(config.reward.model, config.reward.revision)
    check_vlm(folder)
    return fingerprint(folder)


_FROZEN = ("transport", "feature_distance")
"""Rivals that look through the trained compact model's encoder."""


def with_reward(config: Config, kind: str) -> Config:
    """The same settings with a reward model of another kind."""
    return replace(config, reward=replace(config.reward, kind=kind, model=None))


def _train_reward(
    config: Config, data: StageResult, folder: Path, compact: StageResult | None = None
) -> dict[str, Any]:
    from robo_reward.progress.rivals import RIVALS, train_rival
    from robo_reward.progress.training import train_reward

    validation = read_split(data.path, "validation", config.collect.query_every, config.reward.views) or None
    settings = reward_settings(config, len(task_of(config.env).stages))
    episodes, keyframes = reward_episodes(config, data), find_keyframes(config, data.path)
    if config.reward.kind in ("grm", *SIBLINGS):
        from robo_reward.progress.grm_reward import prepare_grm

        asked = grm_settings(config) if config.reward.kind == "grm" else sibling_settings(config)
        return prepare_grm(asked, episodes, settings, folder, validation or [])
    if config.reward.kind in RIVALS:
        encoder = compact.path if compact else None
        return train_rival(config.reward.kind, episodes, settings, folder, config.quiet, validation, keyframes, encoder)
    return train_reward(episodes, settings, folder, config.quiet, validation, keyframes)


def reward_episodes(config: Config, data: StageResult) -> list[Episode]:
    """What a reward model learns from: demonstrations and weak rollouts, as labels may see them."""
    every, views = config.collect.query_every, config.reward.views
    episodes = [e for split in ("demos", "weak") for e in read_split(data.path, split, every, views)]
    return [known_stages(config, episode) for episode in episodes]


NO_TEST = "no test episodes to measure the reward model on: set collect.test above 0, without dataset="


def bench_stage(
    config: Config, data: StageResult, reward: StageResult, rivals: Sequence[StageResult] = ()
) -> StageResult:
    """The reward model against rivals, controls and the oracle on the held-out test split."""
    return kept_stage(config, "bench-reward", {"every": config.collect.query_every}, [data, reward, *rivals],
                  lambda folder: _bench(config, data, reward, rivals, folder))  # fmt: skip


def _bench(
    config: Config, data: StageResult, reward: StageResult, rivals: Sequence[StageResult], folder: Path
) -> dict[str, Any]:
    from robo_reward.progress.bench.row import BenchSettings
    from robo_reward.progress.bench.suite import bench_reward as run_suite
    from robo_reward.progress.scorer import load_scorer

    episodes = read_split(data.path, "test", config.collect.query_every, config.reward.views)
    if not episodes:
        raise ValueError(NO_TEST)
    settings = BenchSettings(config.env.horizon, len(task_of(config.env).stages), seed=config.reward.seed)
    scorers = [load_scorer(stage.path) for stage in (reward, *rivals)]
    validation = read_split(data.path, "validation", config.collect.query_every, config.reward.views)
    summary = run_suite(scorers[0], episodes, settings, folder, scorers[1:], validation)
    track = make_annotate(config, reward)
    names = [f"{index}-{'success' if e.success else 'failure'}" for index, e in enumerate(episodes)]
    tracks = {name: found.phi for name, found in zip(names, track(episodes), strict=True)}
    np.savez_compressed(folder / "tracks.npz", **tracks)  # type: ignore[arg-type]
    return summary


def can_bench(data: StageResult) -> bool:
    """Whether there are held-out episodes of both outcomes to measure a reward model on."""
    return 0 < data.summary.get("test_success", 0.0) < 1


def annotate_stage(config: Config, data: StageResult, reward: StageResult) -> StageResult:
    """The reward model's potential and confidence of every step of every episode."""
    return kept_stage(config, "annotate", {"every": config.collect.query_every}, [data, reward],
                  lambda folder: _annotate(config, data, reward, folder))  # fmt: skip


def _annotate(config: Config, data: StageResult, reward: StageResult, folder: Path) -> dict[str, Any]:
    track = make_annotate(config, reward)
    arrays: dict[str, np.ndarray] = {}
    for split in SPLITS:
        episodes = read_split(data.path, split, config.collect.query_every, config.reward.views)
        for episode, found in zip(episodes, track(episodes), strict=True):
            arrays |= {f"{episode.episode_id}.phi": found.phi, f"{episode.episode_id}.confidence": found.confidence}
    np.savez_compressed(folder / "annotations.npz", **arrays)  # type: ignore[arg-type]
    return {"annotated_episodes": len(arrays) // 2}


def reward_settings(config: Config, stages: int) -> Any:
    """The reward section as the training settings of `progress`."""
    from robo_reward.progress.completion import CompletionRule
    from robo_reward.progress.models.compact_net import CompactSettings
    from robo_reward.progress.pairs import PairSettings
    from robo_reward.progress.tracker import TrackerSettings
    from robo_reward.progress.training import TrainSettings

    r = config.reward
    views = r.views or config.env.cameras
    return TrainSettings(
        seed=r.seed,
        steps=r.steps,
        learning_rate=r.learning_rate,
        labels=r.labels,
        failures=r.failures,
        pairs=PairSettings(swap_reference=r.swap_references),
        model=CompactSettings(views=views, image_size=config.env.image_size, stages=stages, target=r.target),
        tracker=TrackerSettings(
            every=config.collect.query_every,
            fusion=r.fusion,
            completion=CompletionRule(sustain=config.completion.sustain),
        ),
        completion=completion_target(config),
    )


def grm_settings(config: Config) -> GrmSettings:
    """The reward section as which vision-language model is asked, and how."""
    from robo_reward.progress.models.grm import GrmSettings

    r, source = config.reward, config.reward.model or ""
    if Path(source).expanduser().is_dir():
        source = str(Path(source).expanduser().resolve())
    return GrmSettings(
        source, r.revision, views=r.views or config.env.cameras, stages=len(task_of(config.env).stages),
        order=r.order, answer=r.answer, answer_mass=r.answer_mass,
        max_pixels=r.max_pixels, batch=r.batch, device=r.device, four_bit=r.four_bit,
    )  # fmt: skip


def student_of(config: Config) -> MakeStudent:
    """How a compact model is trained on another reward model's tracks."""
    from robo_reward.progress.training import train_reward

    settings = reward_settings(config, len(task_of(config.env).stages))

    def make(episodes: Sequence[Episode], answers: Mapping[str, PhiTrack], folder: Path) -> None:
        train_reward(episodes, settings, folder, quiet=True, answers=answers)

    return make


def sibling_settings(config: Config) -> SiblingSettings:
    """The reward section as which other pretrained model is asked."""
    from robo_reward.progress.models.sibling import SiblingSettings

    r, asked = config.reward, grm_settings(config)
    return SiblingSettings(
        r.kind, asked.source, asked.revision, asked.views, asked.image_size, asked.stages, r.baseline, r.batch,
        r.device, r.url, call_settings(config),
    )  # fmt: skip


def completion_target(config: Config) -> CompletionTarget:
    """The completion section as what a calibration has to keep to."""
    return CompletionTarget(config.completion.false_success_bound, config.completion.confidence)


def observed_stage(config: Config, data: StageResult) -> StageResult:
    """The demonstrations as learned policies see them: `data` itself, or with the reward model's features."""
    if config.observation != "features":
        return data
    reward = reward_stage(with_reward(config, "compact"), data)
    return kept_stage(config, "observe", {}, [data, reward],
                      lambda folder: write_observed(config, data.path, reward.path, folder))  # fmt: skip
