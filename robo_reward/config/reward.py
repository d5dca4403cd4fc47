"""The reward model, what it is adapted to, and what counts as done."""

from __future__ import annotations

from dataclasses import dataclass

from robo_reward.settings import choice, number

RIVALS = (
    "sarm", "rewind", "progressor", "vlac", "graded", "classifier", "transport", "feature_distance", "pixel_distance",
)  # fmt: skip
"""Those of `robo_reward.progress.rivals`."""
TALKERS = ("gvl", "vlac_vlm", "lrm")
"""Pretrained models that answer in words, here or behind a chat server, `robo_reward.progress.models.talk`."""
SIBLINGS = (
    "roboreward", "topreward", "robometer", "vlm_rm", "contrasting", "lerobot_classifier", "lerobot_sarm", *TALKERS,
)  # fmt: skip
"""Pretrained models of the literature, `robo_reward.progress.models.sibling`."""
HOP_MODELS = ("compact", "grm", *SIBLINGS)
"""Those that answer hops, so that a tracker, with its completion rule, can follow an episode."""


@dataclass(frozen=True)
class RewardConfig:
    """The reward model."""

    kind: str = choice("compact", "compact", "grm", "oracle", "remote", *SIBLINGS, *RIVALS)
    """compact learns from images; grm is a vision-language model, `model`; oracle is the simulator's own progress;
    remote is served at `reward.url`; roboreward, topreward, robometer, vlm_rm, contrasting, gvl, vlac_vlm and lrm are
    pretrained models of the literature, `model`, and the two of lerobot are what LeRobot trained, `model`; the others
    are rivals from the literature, trained on the same episodes."""
    model: str | None = None
    """Vision-language model of reward=grm and of the other pretrained ones: a local folder, or OWNER/NAME on the hub;
    what the server calls it, with reward.api=openai, or reward.url= and a model that answers in words."""
    revision: str | None = None
    """Commit, 40 hex digits, of a model on the hub, which needs one."""
    order: str = choice("released", "released", "rules_first")
    """Of the question's parts for reward=grm: as released weights know it, or with the long rules in front of the
    pictures, where they are computed once an episode; for a model that was fine-tuned so."""
    answer: str = choice("expectation", "expectation", "enumerated", "sampled")
    """What reward=grm reads: the expectation over the tokens that tell answers apart, or over every token of all 201
    answers (slower), or one sampled text, as the released code does."""
    answer_mass: float = number(0.5, low=0, high=1)
    """Probability of an answer in the right form below which reward=grm has no answer; sampled texts parse or not."""
    batch: int = number(8, low=1)
    """Questions that reward=grm answers in one pass."""
    max_pixels: int = number(76800, low=12544)
    """Area that larger pictures are scaled down to for reward=grm."""
    baseline: str = "a robot arm beside a table"
    """What the scene shows when nothing is done, in words, for vlm_rm and contrasting; the goal is the instruction."""
    device: str = choice("auto", "auto", "cpu", "cuda")
    """Where reward=grm computes: in bfloat16 on a GPU, in float32 without."""
    four_bit: bool = False
    """Whether reward=grm holds its weights in 4 bits; needs a GPU and bitsandbytes."""
    rivals: tuple[str, ...] = ()
    """Rivals that `bench-reward` trains too and puts into its table, such as [sarm,rewind]."""
    fusion: str = choice("kalman", "average", "consistency", "kalman", "incremental", "forward", "backward")
    """How the three perspectives become one potential; the last three use a single one."""
    target: str = choice("hop", "hop", "absolute", "difference")
    """What the network learns of two frames: the hop, the later one's progress, or the plain difference."""
    labels: str = choice("steps", "steps", "frames")
    """Sub-tasks share the progress equally, or, as a control, it is linear from a success's first frame to its last."""
    swap_references: float = number(0.75, low=0, high=1)
    """Share of a success's visits in training whose references are another demonstration's, not its own."""
    failures: bool = True
    """Whether failed rollouts are trained on; the completion threshold is set with them in any case."""
    seed: int = number(0, low=0)
    """Of weights and pairs; apart from the run's seed."""
    steps: int = number(600, low=1)
    """Training steps."""
    learning_rate: float = number(2e-3, above=0)
    """Peak of the schedule."""
    views: tuple[str, ...] | None = None
    """Cameras the model sees; null: all of the environment's."""
    url: str | None = None
    """Of the server that reward=remote asks, such as http://127.0.0.1:8766, or of the chat server that gvl, vlac_vlm
    and lrm ask in place of a folder. Its token comes from the environment, ROBO_REWARD_TOKEN."""
    api: str = choice("robo_reward", "robo_reward", "openai")
    """What it speaks: robo_reward, what `serve-reward` does; openai, the chat completions of vLLM, SGLang and
    `transformers serve`."""
    deadline_s: float = number(60.0, above=0)
    """[s] for which an answer of the server is waited for"""
    attempts: int = number(3, low=1, high=10)
    """How often a request is tried, after random pauses, before the episode has to wait for its annotation."""
    concurrency: int = number(8, low=1, high=256)
    """Requests that are on their way at once."""
    cool_down_s: float = number(30.0, low=0)
    """[s] for which a server that gave no answer is left alone"""
    teacher: str | None = None
    """Folder of a slow reward model, or of the run that made it, which annotates the rollouts of `train` in the
    background; a compact model that learns from its answers takes over again and again. null: none."""
    teacher_every: int = number(20, low=1)
    """Episodes annotated by the teacher from one such model to the next"""


@dataclass(frozen=True)
class ServeConfig:
    """The service of `serve-reward`."""

    host: str = "127.0.0.1"
    """Address to listen at; beyond this machine only with a certificate."""
    port: int = number(8766, low=0, high=65535)
    """0 takes any free one."""
    certificate: str | None = None
    """PEM file of the TLS certificate; with it the service speaks https."""
    key: str | None = None
    """PEM file of its private key."""
    rows: int = number(256, low=1)
    """Questions that the model is asked at once."""
    wait_ms: float = number(5.0, low=0)
    """[ms] for which a question waits for others to be asked with it"""
    waiting: int = number(32, low=1)
    """Requests that are read, wait or are answered; more are told to come back later (429)."""
    deadline_s: float = number(60.0, above=0)
    """[s] after which a request is given up (504)"""


@dataclass(frozen=True)
class AdaptConfig:
    """Fine-tuning of a reward model to the one demonstration of `train-reward adapt_from= demo=`."""

    steps: int = number(200, low=1)
    """Training steps."""
    learning_rate: float = number(5e-4, above=0)
    """Peak of the schedule."""
    replay: int = number(16, low=0)
    """Episodes of the model's own training data that are replayed, half of them demonstrations, where they still lie
    beside it; else, and with 0, its reference pictures are."""


@dataclass(frozen=True)
class CompletionConfig:
    """When the reward model calls a task done."""

    sustain: int = number(2, low=1)
    """Queries in a row that have to agree."""
    false_success_bound: float = number(0.05, above=0, high=0.999)
    """Largest share of failures that may be called done; 59 failures or more are needed to show 0.05."""
    confidence: float = number(0.95, above=0, high=0.999)
    """With which that is said of failures like those of the validation split."""


@dataclass(frozen=True)
class SuiteConfig:
    """What `bench-reward` measures beside the environment's own task."""

    tasks: tuple[str, ...] = ()
    """Names of `conf/env/` that are measured in one table; those with the same cameras share one reward model."""


@dataclass(frozen=True)
class TuneConfig:
    """Fine-tuning of the vision-language model `reward.model` by `train-reward reward=grm`. The rates are those of the
    released recipe for one task."""

    steps: int = number(200, low=1)
    """Training steps."""
    batch: int = number(16, low=1)
    """Questions of a step."""
    at_once: int = number(4, low=1)
    """Questions in one pass; a batch is added up from several, which takes less memory."""
    learning_rate: float = number(1e-5, above=0)
    """Peak of the schedule: a warm-up, then a cosine to 0."""
    vision_learning_rate: float = number(5e-7, low=0)
    """The same for the vision tower, when all weights are trained."""
    warm_up: float = number(0.03, low=0, high=0.5)
    """Share of the steps over which the rates rise."""
    weight_decay: float = number(0.01, low=0)
    """Of matrices; biases and norms are spared."""
    lora: int = number(16, low=0, high=1024)
    """Rank of adapters (LoRA) beside the language model's layers, merged into it at the end; 0 trains all weights."""
    lora_alpha: int = number(32, low=1)
    """Scale of the adapters, over their rank."""
    hop_weight: float = number(0.0, low=0)
    """Of the squared error of the expected hop, beside the cross-entropy of the answer's tokens; only for models with
    one token an answer, such as those from scratch."""
    from_scratch: bool = False
    """Whether to begin with a small random model of the same architecture in place of reward.model; all its weights are
    trained, at rates that suit it; see experiment=small_vlm."""
    save_every: int = number(20, low=1)
    """Steps between two checkpoints, from which an interrupted fine-tuning goes on."""
    held_out: int = number(256, low=0)
    """Questions about validation episodes on which the result is measured."""
    questions: int = number(1000, low=1)
    """Questions that `export format=grm` writes; above 64 rounded up to a multiple of 64."""
