"""Shaping, the base policy, the learner on top of it, and how long it learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robo_reward.settings import choice, number


@dataclass(frozen=True)
class ShapingConfig:
    """How the potential enters the reward."""

    kind: str = choice("potential", "none", "potential", "naive", "absolute", "par", "gated", "contrast", "ra_bc")
    """potential leaves the best policy as it is, and so do none and ra_bc, which weighs the imitation term; the others
    are controls."""
    scale: float = number(1.0, low=0)
    """Multiplies the potential; it remains a potential."""


@dataclass(frozen=True)
class BaseConfig:
    """The frozen base policy."""

    kind: str = choice("cloning", "cloning", "act", "diffusion", "lerobot", "remote", "distilled", "search", "zero")
    """cloning; act or diffusion, LeRobot's networks; distilled, clones a run's successes; lerobot, one that LeRobot
    saved; remote, on a policy server; search and zero, controls."""
    demos: int = number(8, low=1)
    """Few on purpose: what makes the base weak."""
    steps: int = number(2000, low=1)
    """Training steps."""
    batch: int = number(128, low=1)
    """Rows a step."""
    learning_rate: float = number(1e-3, above=0)
    """Start of a cosine decay."""
    hidden: int = number(256, low=1)
    """Width of the two hidden layers, of ACT's transformer, or of the diffusion U-Net's inner stage."""
    chunk: int = number(8, low=1)
    """[steps] predicted at once; executed of a server's chunk"""
    ensemble: float | None = None
    """Temporal ensembling's coefficient, such as 0.01: chunks are asked for at every step and averaged with weights
    exp(-ensemble * i), i = 0 the oldest; null: a chunk is used up first."""
    path: str | None = None
    """Folder that LeRobot's save_pretrained wrote, for base=lerobot."""
    run: str | None = None
    """Folder of a run of `train`, of its training stage or of a transition store, whose successful rollouts
    base=distilled clones."""
    url: str | None = None
    """Of the policy server for base=remote, such as ws://127.0.0.1:8000."""
    timeout_s: float = number(10.0, above=0)
    """[s] for which a policy server may keep the robot waiting"""
    names: Mapping[str, str] = field(default_factory=dict)
    """What a policy server calls things: state, prompt or a camera's name -> its key, such as
    base.names.front=observation/image; cameras that are not named are not sent. Default: observation/state, prompt, and
    observation/CAMERA for every camera."""
    action_scale: tuple[float, ...] = ()
    """Factors from the units of a loaded or remote policy's actions to [-1, 1], one a dimension; default: the same."""


@dataclass(frozen=True)
class AgentConfig:
    """The residual learner."""

    kind: str = choice(
        "residual_td3", "residual_td3", "residual_sac", "residual_ppo", "ibrl", "filtered_cloning"
    )  # fmt: skip
    """Ours are residual_td3 and residual_sac; the others are peers."""
    gamma: float = number(0.99, above=0, high=1)
    """Discount a step."""
    n_step: int = number(3, low=1)
    """Steps of return before the bootstrap."""
    heads: int = number(5, low=2)
    """Critics."""
    subset: int = number(2, low=1)
    """Heads drawn for each target, whose smallest value counts."""
    actor_subset: int | None = number(None, low=1)
    """Heads drawn for each actor update, whose lower bound it climbs; null: all."""
    value_bins: int = number(0, low=0, high=1024)
    """Bins of critics that learn a distribution of values; 0: they learn the value alone."""
    value_limit: float = number(1.2, above=0)
    """Largest value, up and down, that the bins hold."""
    value_init: str = choice("random", "random", "potential")
    """Where the critics start: anywhere, or at 0, which under shaping=potential makes the potential the first value."""
    hidden: int = number(128, low=1)
    """Width of the two hidden layers."""
    layer_norm: bool = True
    """After each hidden layer of actor and critics."""
    precision: str = choice("float32", "float32", "bfloat16")
    """Of the products in hidden layers while learning: bfloat16 is faster where the processor multiplies it."""
    device: str = choice("cpu", "cpu", "cuda")
    """Where networks and batches are while learning and acting; a run may go on, and its policy act, on the other."""
    batch: int = number(128, low=2)
    """Windows of an update."""
    demonstration_share: float = number(0.5, low=0, high=1)
    """Of a batch; the rest is online."""
    symmetry: bool = True
    """Whether windows are turned and mirrored at random where the task says that it is the same from all sides."""
    anchor_share: float = number(0.0, low=0, high=1)
    """Of what is online in a batch, from the rollouts of the warm-up: they keep the values around the base in sight."""
    learning_rate: float = number(1e-3, above=0)
    """Of the critics."""
    actor_learning_rate: float = number(1e-3, above=0)
    """Of the actor."""
    tau: float = number(0.005, above=0, high=1)
    """Share by which the targets follow at every update."""
    average_rate: float = number(5e-4, above=0, high=1)
    """Share by which the deployed actor, a long average, follows at every actor update."""
    residual_scale: float = number(0.4, above=0, high=2)
    """Largest residual, in action units."""
    reach: str = choice("fixed", "fixed", "growing", "learned")
    """What becomes of that scale: growing starts at a tenth of it; learned finds one for each dimension of the action,
    up to twice as large."""
    reach_updates: int = number(5000, low=1)
    """Actor steps until a growing one is whole."""
    updates_per_step: int = number(4, low=1)
    """Critic updates for each environment step."""
    last_updates_per_step: int | None = number(None, low=1)
    """That number at the last rollout, reached in equal steps; null: the same all along."""
    actor_every: int = number(2, low=1)
    """Critic updates for each actor update."""
    exploration_noise: float = number(0.05, low=0)
    """Standard deviation, in action units."""
    target_noise: float = number(0.1, low=0)
    """Standard deviation of the noise on target actions, before residual_scale."""
    target_noise_clip: float = number(0.3, low=0)
    """Largest such noise."""
    gradient_clip: float = number(1.0, above=0)
    """Largest norm of a gradient."""
    pessimism: float = number(1.0, low=0)
    """Standard deviations over the heads that the actor's objective subtracts."""
    evaluation_noise: float = number(0.05, low=0)
    """Dither of the evaluated and deployed policy, in action units."""
    noise_correlation: float = number(0.8, low=0, high=0.999)
    """Of exploration and dither, from one step to the next."""
    search_chance: float = number(0.0, low=0, high=1)
    """Of exploring a few steps back and aside, at each step of a contact that lasts; 0: never."""
    search_after: int = number(8, low=1)
    """[steps] of contact before that"""
    imitation: float = number(1.0, low=0)
    """Weight of the imitation term on demonstrated steps."""
    cloning_updates: int = number(0, low=0)
    """Steps of imitation alone before the first rollout: the residual starts as a clone, not as nothing."""
    prior: float = number(0.0, low=0)
    """Weight of the pull, on the learner's own steps, towards that clone, or towards the base where there is none."""
    self_imitation: float = number(0.0, low=0, high=0.99)
    """Share of that weight on the steps of the learner's own successes."""
    q_filter: bool = False
    """Whether only those steps are imitated whose action the critics prefer to the actor's."""
    random_shift: int = number(4, low=0, high=16)
    """[px] each way by which frames are shifted when they are learned from, with observation=pixels"""
    replay_capacity: int = number(200_000, low=1)
    """[observations]; the oldest episodes make room"""
    priority: float = number(0.0, low=0, high=1)
    """Exponent of prioritised sampling; 0 samples uniformly."""
    temperature: float = number(0.01, above=0)
    """residual_sac: weight of the policy's entropy at the start; then tuned."""
    target_entropy: float = number(-0.5)
    """residual_sac: entropy of the residual, per dimension, that the temperature is tuned to [nats]"""
    entropy_backup: bool = True
    """residual_sac: whether values count the entropy to come."""
    on_policy_rollouts: int = number(8, low=1)
    """residual_ppo: rollouts between two updates, each learned from once."""
    epochs: int = number(10, low=1)
    """residual_ppo: passes over them."""
    ratio_clip: float = number(0.2, above=0, high=1)
    """residual_ppo: how far the probability of an action may move in an update, as a share."""
    gae: float = number(0.95, low=0, high=1)
    """residual_ppo: lambda of the advantage estimate."""


@dataclass(frozen=True)
class TrainConfig:
    """The training run."""

    rollouts: int = number(150, low=1)
    """Online episodes."""
    warmup_rollouts: int = number(10, low=0)
    """First of them, of base plus noise, before the actor moves."""
    warmup_updates: int = number(1500, low=0)
    """Critic-only updates at the end of the warm-up."""
    task_reward: str = choice("environment", "environment", "completion")
    """Who says that an online rollout did the task: the simulator, or the reward model's completion rule (with
    reward=classifier its verdict on single pictures), which can be fooled."""
    done_at: float | None = number(None, above=0, high=1)
    """Completion score that task_reward=completion takes for done; null: the calibrated threshold, and 0.5 of a
    classifier."""
    evaluate_every: int = number(10, low=1)
    """[rollouts]"""
    evaluate_episodes: int = number(40, low=1)
    """Episodes for each point of the learning curve."""
    evaluate_seed: int = number(90_000, low=0)
    """First of the initial states that the learning curve is measured on [never used in training]"""
