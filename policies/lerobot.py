"""ACT and diffusion policies of LeRobot: loaded from the folders that LeRobot saves, and acting as a base policy.

`observation.state` is agent_pos, `observation.environment_state` the estimate (or features), each whole or the columns
that learned policies see here, whichever has the size that the policy was made for; `observation.images.VIEW` is a
camera. Weights and normalisation are safetensors and JSON; nothing is unpickled, and no class is imported by name.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.extras import missing_extra
from robo_reward.learning.weights import digest_of
from robo_reward.policies.chunks import ChunkedPolicy, Seen
from robo_reward.policies.inputs import policy_input, split_columns

STATE, ENVIRONMENT, IMAGE = "observation.state", "observation.environment_state", "observation.images."
_FILES = ("config.json", "model.safetensors", "policy_preprocessor.json", "policy_postprocessor.json")


def import_policies() -> Any:
    """LeRobot's modules as (configs, act, diffusion, factory). Raises ValueError in one line for a missing package."""
    import_lerobot()
    try:
        from lerobot.configs import policies as configs
        from lerobot.policies import factory
        from lerobot.policies.act import modeling_act
        from lerobot.policies.diffusion import modeling_diffusion
    except ImportError as error:
        raise ValueError(missing_extra(error) or f"LeRobot's policies do not load: {error}") from error
    return configs, modeling_act, modeling_diffusion, factory


def load_lerobot(
    folder: Path,
    columns: tuple[int, ...] | None,
    *,
    ensemble: float | None = None,
    scale: tuple[float, ...] = (),
) -> ChunkedPolicy:
    """The policy that LeRobot saved in `folder` (`.../pretrained_model`).

    Args:
        folder: with config.json, model.safetensors and the two processors' files.
        columns: of (agent_pos, estimate) that learned policies see here, see `policy_input`.
        ensemble: see `ChunkedPolicy`; None takes the policy's own.
        scale: see `ChunkedPolicy`.

    Raises:
        ValueError: files missing or damaged, another kind of policy, or actions in other units.
    """
    for name in _FILES:
        if not (folder / name).is_file():
            raise ValueError(f"base.path={folder} has no {name}: give the folder that LeRobot's save_pretrained wrote")
    for name in _FILES[2:]:
        _refuse_foreign_steps(folder / name)
    configs, act, diffusion, factory = import_policies()
    kinds = {"act": act.ACTPolicy, "diffusion": diffusion.DiffusionPolicy}
    kind = _read_json(folder / _FILES[0]).get("type")
    if kind not in kinds:
        raise ValueError(
            f"base.path={folder} holds a '{kind}' policy; act and diffusion load here: serve it, base=remote"
        )
    try:
        config = configs.PreTrainedConfig.from_pretrained(str(folder))
        config.pretrained_backbone_weights = None  # they come with the file, and LeRobot would download others first
        with redirect_stdout(io.StringIO()):  # LeRobot tells of every load
            policy = kinds[kind].from_pretrained(str(folder), config=config, strict=True)
        before, after = factory.make_pre_post_processors(
            config, str(folder), preprocessor_overrides={"device_processor": {"device": config.device}}
        )
    except Exception as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"base.path={folder} does not load as a LeRobot policy: {line}") from error
    _check_units(after, scale, folder)
    return _wrap(policy, before, after, columns, ensemble=ensemble, scale=scale)


def _wrap(
    policy: Any,
    before: Any,
    after: Any,
    columns: tuple[int, ...] | None,
    *,
    ensemble: float | None = None,
    scale: tuple[float, ...] = (),
) -> ChunkedPolicy:
    """A LeRobot policy between its processors as a base policy; it answers alike whenever it is asked alike.

    A diffusion policy denoises the same noise for every chunk: drawn anew, it would look random to a learner on top.
    """
    config = policy.config
    policy.eval().requires_grad_(False)
    if ensemble is None:
        ensemble = getattr(config, "temporal_ensemble_coeff", None)
    views = tuple(key.removeprefix(IMAGE) for key in config.image_features)
    action_size = config.action_feature.shape[0]
    noise = None
    if config.type == "diffusion":
        noise = torch.randn(1, config.horizon, action_size, generator=torch.Generator().manual_seed(0))

    def predict(seen: Sequence[tuple[Seen, ...]]) -> np.ndarray:
        batch = before(_batch(config, seen, columns, views))
        batch = {key: value for key, value in batch.items() if key in config.input_features}
        with torch.no_grad():
            if noise is None:
                chunks = policy.predict_action_chunk({key: value[:, 0] for key, value in batch.items()})
            else:
                if views:
                    images = [batch.pop(IMAGE + view) for view in views]
                    batch["observation.images"] = torch.stack(images, dim=2)
                repeated = noise.to(batch[STATE].device).expand(len(seen), -1, -1)
                chunks = policy.diffusion.generate_actions(batch, noise=repeated)
        answer: np.ndarray = after(chunks).cpu().numpy()
        return answer

    chunk = config.n_action_steps if ensemble is None else getattr(config, "chunk_size", config.n_action_steps)
    policy_id = f"{config.type}-{digest_of({**policy.state_dict(), **_statistics(before, after)})[:12]}"
    return ChunkedPolicy(
        predict,
        policy_id,
        chunk,
        action_size,
        observations=config.n_obs_steps,
        ensemble=ensemble,
        scale=scale,
        views=views,
    )


def _batch(
    config: Any, seen: Sequence[tuple[Seen, ...]], columns: tuple[int, ...] | None, views: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """LeRobot's observation keys -> (B, observations, ...); ValueError where the sizes do not fit."""
    agent_pos_BNP = np.stack([[s.agent_pos for s in episode] for episode in seen])
    estimate_BNE = np.stack([[s.estimate for s in episode] for episode in seen])
    policy_input(agent_pos_BNP, estimate_BNE, columns)  # refuses what is not finite
    own, other = split_columns(columns, agent_pos_BNP.shape[-1], estimate_BNE.shape[-1])
    sources = {STATE: (agent_pos_BNP, own, "agent_pos"), ENVIRONMENT: (estimate_BNE, other, "estimate")}
    batch = {}
    for key, feature in config.input_features.items():
        if key.removeprefix(IMAGE) in views:
            frames = np.stack([[s.look.views[key.removeprefix(IMAGE)] for s in e if s.look] for e in seen])
            batch[key] = torch.from_numpy(frames).movedim(-1, 2).float().div_(255)
            if tuple(batch[key].shape[2:]) != tuple(feature.shape):
                raise ValueError(f"{key}: the base policy takes {tuple(feature.shape)}, the camera gives "
                                 f"{tuple(batch[key].shape[2:])}: set env.image_size")  # fmt: skip
            continue
        if key not in sources:
            raise ValueError(
                f"the base policy takes {key}, which is not known here: {STATE}, {ENVIRONMENT} or {IMAGE}*"
            )
        whole, chosen, name = sources[key]
        size = int(np.prod(feature.shape))
        if size not in (whole.shape[-1], len(chosen)):
            raise ValueError(
                f"the base policy takes {size} numbers as {key}, but {name} has {whole.shape[-1]}, {len(chosen)} of "
                "which learned policies see: use a policy that was trained on this environment's data"
            )
        batch[key] = torch.from_numpy(np.float32(whole if size == whole.shape[-1] else whole[..., chosen]))
    return batch


def _statistics(*processors: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for number, processor in enumerate(processors):
        for step in processor.steps:
            found |= {f"{number}.{name}": torch.as_tensor(value) for name, value in step.state_dict().items()}
    return found


def _check_units(after: Any, scale: tuple[float, ...], folder: Path) -> None:
    """Refuse a policy whose training actions do not lie in [-1, 1]: clipped, they would come out as full speed."""
    known = _statistics(after)
    bounds = [known[name].numpy() * (scale or 1.0) for name in ("0.action.min", "0.action.max") if name in known]
    if not bounds:
        return
    low, high = float(np.min(bounds)), float(np.max(bounds))
    if low < -1.01 or high > 1.01:
        raise ValueError(
            f"base.path={folder} was trained on actions from {low:.3g} to {high:.3g}, where [-1, 1] is the range: set "
            "base.action_scale=[...] to the factors between them, one a dimension"
        )


def _refuse_foreign_steps(path: Path) -> None:
    """A step that is not in LeRobot's registry is a class to be imported by the name in the file: not from here."""
    for step in _read_json(path).get("steps", []):
        if "registry_name" not in step:
            raise ValueError(f"{path} names the class {step.get('class')}: only LeRobot's own steps are loaded")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): save the policy again") from error
    return found
