"""Writing trained policy and compact reward model for the robot's computer: graphs, descriptions, LeRobot folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robo_reward.data.disk import replace_file
from robo_reward.deploy import policy as exported_policy
from robo_reward.deploy import reward as exported_reward
from robo_reward.deploy.graphs import write_graph
from robo_reward.deploy.sessions import FORMAT
from robo_reward.deploy.step import PolicyStep
from robo_reward.progress.models.compact import SAME
from robo_reward.progress.models.compact_net import CompactNet, word_ids
from robo_reward.progress.reward_model import RewardModel


def write_policy(step: PolicyStep, folder: Path, about: Mapping[str, Any]) -> float:
    """Write policy.onnx, policy.ts and policy.json; returns the largest difference to torch's numbers.

    about: JSON values that the description repeats, such as the task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shape, generator = step.shape, torch.Generator().manual_seed(0)
    # Twice the chunk, so that every step of it is compared.
    rows = 2 * shape.chunk
    example = [
        torch.randn(rows, shape.agent_pos, generator=generator),
        torch.randn(rows, shape.estimate, generator=generator),
        torch.rand(rows, shape.chunk, shape.actions, generator=generator) * 2 - 1,
        torch.arange(rows) % shape.chunk,
    ]
    names = ("action", "base_action", "next_plan", "next_step")
    found = write_graph(step, example, ("agent_pos", "estimate", "plan", "step"), names, folder / "policy")
    _write_json(folder / exported_policy.DESCRIPTION, {"format": FORMAT, **found, "shape": asdict(shape), **about})
    return float(found["max_difference"])


def write_reward(reward: RewardModel, folder: Path) -> float:
    """Write encoder and head as .onnx and .ts, references.npz and reward_model.json.

    Returns:
        The largest difference to torch's numbers.

    Raises:
        ValueError: a model of the control `reward.target=absolute`, whose answers are not one network's.
    """
    net, settings = reward.compact.net, reward.compact.settings
    if settings.target == "absolute":
        raise ValueError("reward.target=absolute is a control whose hops are computed from two answers: not exported")
    folder.mkdir(parents=True, exist_ok=True)
    generator, size = torch.Generator().manual_seed(0), settings.image_size
    words = {instruction: word_ids(instruction) for instruction in reward.instructions}
    pictures = torch.randint(0, 256, (len(settings.views), 4, size, size, 3), generator=generator).byte()
    shown = torch.ones(4, len(settings.views), dtype=torch.bool)
    shown[1, 0] = False
    told = torch.from_numpy(next(iter(words.values()))).expand(4, -1).contiguous()
    encoder = write_graph(
        Encoder(net), [told, shown, *pictures], ("words", "shown", *settings.views), ("z",), folder / "encoder"
    )
    z = torch.randn(5, settings.features, generator=generator)
    pairs = torch.tensor([[0, 1, 2, 3], [1, 0, -1, 3], [2, 4, 2, -1], [3, 3, -1, -1], [4, 2, 0, 1]])
    head = write_graph(Head(net), [z, pairs], ("z", "pairs"), ("hop", "spread"), folder / "head")
    reward.references.save(folder / exported_reward.REFERENCES)
    _write_json(folder / exported_reward.DESCRIPTION, {
        "format": FORMAT, "model_id": reward.model.model_id, "views": list(settings.views),
        "image_size": size, "words": {name: ids.tolist() for name, ids in words.items()},
        "tracker": asdict(reward.tracker), "encoder_sha256": encoder["onnx_sha256"],
        "head_sha256": head["onnx_sha256"],
    })  # fmt: skip
    return max(float(encoder["max_difference"]), float(head["max_difference"]))


def write_lerobot(step: PolicyStep, folder: Path) -> None:
    """The policy as a folder of LeRobot's `save_pretrained`, with its two processors; made anew if it is there."""
    from robo_reward.lerobot_plugin.configuration_policy import RoboRewardConfig
    from robo_reward.lerobot_plugin.modeling_policy import RoboRewardPolicy, processors

    if folder.exists():
        shutil.rmtree(folder)
    policy = RoboRewardPolicy(RoboRewardConfig.of(step.shape))
    policy.step.load_state_dict(step.state_dict())
    policy.save_pretrained(folder)
    for processor in processors(policy.config):
        processor.save_pretrained(folder)


class Encoder(nn.Module):
    """`FrameEncoder.embed` with an explicit flag for what a camera does not show: (words, shown, *frames) -> z."""

    def __init__(self, net: CompactNet):
        super().__init__()
        self.net = net

    def forward(self, words_FL: torch.Tensor, shown_FV: torch.Tensor, *frames_FHWC: torch.Tensor) -> tuple[Any, ...]:
        """int64 (F, L), bool (F, V), and one uint8 (F, H, W, 3) a view -> (F, features)."""
        net = self.net
        text, parts = net.text(net.words(words_FL).sum(1)), []
        for i, view in enumerate(net.settings.views):
            image = frames_FHWC[i].permute(0, 3, 1, 2).float() / 255.0
            seen = net.views_out[view](net.trunks[view]((image - net.mean_VCHW[i]) / net.std_V[i], text).flatten(1))
            parts.append(torch.where(shown_FV[:, i : i + 1], seen, net.no_view[i]))
        return (net.joined(parts),)


class Head(nn.Module):
    """`CompactNet.logits` and `expectation`: (z, pairs) -> (hop, spread); equal frames have not moved."""

    def __init__(self, net: CompactNet):
        super().__init__()
        self.net = net

    def forward(self, z_Ff: torch.Tensor, pairs_B4: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings, and int64 rows (before, after, start, goal), -1 for a reference that is missing."""
        net = self.net
        before, after, start, goal = pairs_B4.unbind(1)
        table = torch.cat([net.no_reference, z_Ff])
        none = torch.zeros_like(start)
        first = table[torch.where(start < 0, none, start + 2)]
        last = table[torch.where(goal < 0, none + 1, goal + 2)]
        b, a = table[before + 2], table[after + 2]
        mean, std = net.expectation(net.head(torch.cat([b, a, a - b, first, last], dim=1)))
        moved = ((b - a).abs().amax(1) > SAME).float()
        return mean * moved, std


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    replace_file(path, (json.dumps(values, indent=1) + "\n").encode())
