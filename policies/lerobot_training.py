"""ACT and diffusion policies trained with LeRobot's networks, losses and normalisation, small enough for a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from robo_reward.policies.cloning import CloningSettings
from robo_reward.policies.inputs import policy_input, split_columns
from robo_reward.policies.lerobot import ENVIRONMENT, STATE, import_policies
from robo_reward.types import Episode

OBSERVATIONS = {"act": 1, "diffusion": 2}
"""Newest observations that each looks at."""


def train_lerobot(
    kind: str, episodes: list[Episode], settings: CloningSettings, columns: tuple[int, ...] | None, folder: Path
) -> dict[str, float]:
    """Fit an ACT or a diffusion policy to the executed actions of `episodes` and save it as LeRobot does.

    Args:
        kind: act or diffusion.
        episodes: demonstrations.
        settings: `hidden` is the transformer's width or the U-Net's wider stage.
        columns: of (agent_pos, estimate) that it sees, see `policy_input`.
        folder: is filled with LeRobot's config.json, model.safetensors and processors.

    Raises:
        ValueError: no episodes, sizes that do not fit, no columns of the estimate, or LeRobot is not installed.
    """
    if not episodes:
        raise ValueError("no demonstrations to clone; collect some first")
    configs, act, diffusion, factory = import_policies()
    torch.manual_seed(settings.seed)
    data = _samples(episodes, settings.chunk, OBSERVATIONS[kind], columns)
    sizes = {key: value.shape[-1] for key, value in data.items() if key != "action_is_pad"}
    config = _config(kind, settings, sizes)
    policy = (act.ACTPolicy if kind == "act" else diffusion.DiffusionPolicy)(config).train()
    before, after = factory.make_pre_post_processors(config, dataset_stats=_statistics(data))
    data = {key: value for key, value in before(data).items() if key in data} | {"action_is_pad": data["action_is_pad"]}
    if kind == "act":
        data |= {key: data[key][:, 0] for key in (STATE, ENVIRONMENT)}
    optimiser = torch.optim.AdamW(policy.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    generator, losses = torch.Generator().manual_seed(settings.seed), []
    for _ in range(settings.steps):
        rows = torch.randint(len(data["action"]), (settings.batch,), generator=generator)
        loss, _ = policy({key: value[rows] for key, value in data.items()})
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    policy.save_pretrained(folder)
    for processor in (before, after):
        processor.save_pretrained(folder)
    last = losses[-max(1, len(losses) // 10) :]
    return {"cloning_loss": float(np.mean(last)), "demonstrations": len(episodes), "frames": len(data["action"])}


def _samples(
    episodes: list[Episode], chunk: int, observations: int, columns: tuple[int, ...] | None
) -> dict[str, torch.Tensor]:
    """Rows of LeRobot's training batch: observations up to a step, and the actions from the first of them on."""
    own, other = split_columns(columns, episodes[0].agent_pos.shape[1], episodes[0].perceived.shape[1])
    if not other:
        raise ValueError("base=act and base=diffusion need an estimate besides agent_pos: set observation=features")
    horizon = _horizon(chunk, observations)
    rows: dict[str, list[np.ndarray]] = {STATE: [], ENVIRONMENT: [], "action": [], "action_is_pad": []}
    for episode in episodes:
        policy_input(episode.agent_pos, episode.perceived, columns)  # refuses what is not finite
        first = np.arange(len(episode))[:, None] - (observations - 1)
        looked = np.maximum(first + np.arange(observations), 0)
        steps = first + np.arange(horizon)
        rows[STATE].append(episode.agent_pos[:, own][looked])
        rows[ENVIRONMENT].append(episode.perceived[:, other][looked])
        rows["action"].append(episode.action[np.clip(steps, 0, len(episode) - 1)])
        rows["action_is_pad"].append((steps < 0) | (steps >= len(episode)))
    return {key: torch.from_numpy(np.concatenate(value)) for key, value in rows.items()}


def _horizon(chunk: int, observations: int) -> int:
    """Actions predicted: the chunk, for diffusion those of the older observations too, in steps of its two halvings."""
    return chunk if observations == 1 else -(-(chunk + observations - 1) // 4) * 4


def _statistics(data: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """What LeRobot normalises by, of every vector."""
    flat = {key: value.flatten(0, -2) for key, value in data.items() if key != "action_is_pad"}
    return {
        key: {"mean": v.mean(0), "std": v.std(0) + 1e-4, "min": v.amin(0), "max": v.amax(0)} for key, v in flat.items()
    }


def _config(kind: str, settings: CloningSettings, sizes: dict[str, int]) -> Any:
    from lerobot.configs.types import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies import ACTConfig, DiffusionConfig

    hidden = settings.hidden
    if hidden % 32:
        raise ValueError(f"base.hidden={hidden}: base={kind} takes a multiple of 32")
    standard, range_ = NormalizationMode.MEAN_STD, NormalizationMode.MIN_MAX
    shared = {
        "input_features": {
            STATE: PolicyFeature(FeatureType.STATE, (sizes[STATE],)),
            ENVIRONMENT: PolicyFeature(FeatureType.ENV, (sizes[ENVIRONMENT],)),
        },
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (sizes["action"],))},
        "normalization_mapping": {"STATE": standard, "ENV": standard, "ACTION": standard if kind == "act" else range_},
        "device": "cpu",
        "push_to_hub": False,
    }
    if kind == "act":
        return ACTConfig(
            **shared, chunk_size=settings.chunk, n_action_steps=settings.chunk, dim_model=hidden, n_heads=4,
            dim_feedforward=2 * hidden, n_encoder_layers=2, n_vae_encoder_layers=2, latent_dim=16,
            pretrained_backbone_weights=None,
        )  # fmt: skip
    # DDIM in 10 steps: the full 100 of DDPM would take most of an episode's time on a CPU.
    return DiffusionConfig(
        **shared, n_obs_steps=OBSERVATIONS[kind], horizon=_horizon(settings.chunk, OBSERVATIONS[kind]),
        n_action_steps=settings.chunk, down_dims=(hidden // 2, hidden), diffusion_step_embed_dim=64,
        noise_scheduler_type="DDIM", num_inference_steps=10, do_mask_loss_for_padding=True,
    )  # fmt: skip
