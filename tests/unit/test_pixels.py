"""Policies that see: who teaches the encoder, what a shift does, frames kept once, and a training run cut in two."""

import dataclasses

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.config import Config, EnvConfig, RewardConfig, TrainConfig, load_config  # noqa: E402
from robo_reward.data.store import TransitionStore  # noqa: E402
from robo_reward.envs.seeing import Seeing  # noqa: E402
from robo_reward.evaluation.rollout import run_policy  # noqa: E402
from robo_reward.learning.agents import AGENTS  # noqa: E402
from robo_reward.learning.pixels import Eyes, PixelEncoder, random_shift  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay, concatenate, whose_fault  # noqa: E402
from robo_reward.learning.weights import load_weights  # noqa: E402
from robo_reward.policies.scripted import ScriptedPeg  # noqa: E402
from robo_reward.policies.simple import ZeroPolicy  # noqa: E402
from robo_reward.runtime.local import train_residual  # noqa: E402
from robo_reward.runtime.observing import check_frames, eyes_of, input_columns, learner_columns  # noqa: E402
from robo_reward.shaping import SCHEMES  # noqa: E402
from robo_reward.testing.episodes import make_episode as blank_episode  # noqa: E402
from robo_reward.testing.episodes import oracle  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

torch.set_num_threads(1)
P, A, T, SIZE = 3, 2, 10, 32
EYES = Eyes(("front", "side"), SIZE)
SMALL = ["agent.hidden=16", "agent.heads=3", "agent.batch=6", "agent.updates_per_step=1", "agent.random_shift=2"]
LEARNERS = ("residual_td3", "residual_sac")


def learner(kind="residual_td3", **changes):
    settings = dataclasses.replace(load_config([f"agent={kind}", *SMALL]).agent, **changes)
    zeros = np.zeros(P, np.float32)
    return AGENTS[settings.kind](zeros, zeros + 1, A, settings, SCHEMES["potential"], 1.0, 0, eyes=EYES)


def make_episode(number=0, steps=T):
    """Every observation and every frame says which step it is."""
    code = np.arange(steps + 1, dtype=np.float32)[:, None]
    frames = np.full((steps + 1, SIZE, SIZE, 3), code[..., None, None], np.uint8)
    action = np.random.default_rng(number).uniform(-1, 1, (steps, A)).astype(np.float32)
    return blank_episode(
        steps, f"e{number}", instruction="go", seed=number, agent_pos=np.repeat(code, P, 1), estimate=code,
        action=action, frames={"side": 100 + frames, "front": frames, "top": 200 + frames},
        base_action=np.zeros((steps + 1, A), np.float32),
    )  # fmt: skip


def filled(episodes, capacity=100):
    replay = EpisodeReplay(capacity, P, A, 3, 0.99)
    for episode in episodes:
        ones = np.ones(len(episode) + 1, np.float32)
        frames = EYES.frames(episode.frames)
        replay.append(episode, episode.agent_pos, PhiTrack("m", ones, ones), demonstration=True, frames_TVHWC=frames)
    return replay


def weights(network):
    return [parameter.detach().clone() for parameter in network.parameters()]


def changed(network, before):
    return any(not torch.equal(now, then) for now, then in zip(network.parameters(), before, strict=True))


# ---- the encoder ----


@pytest.mark.parametrize("kind", LEARNERS)
def test_only_the_critics_errors_teach_the_encoder(kind):
    agent, rng = learner(kind), np.random.default_rng(0)
    replay = filled([make_episode()])
    before = weights(agent.encoder)
    agent.update_critics(agent.windows(replay.sample(6, rng)))
    taught, actor = weights(agent.encoder), weights(agent.actor)
    assert all(not torch.equal(now, then) for now, then in zip(taught, before, strict=True))
    assert changed(agent.encoder_target, before)  # its average follows
    for network in (agent.encoder, agent.critic):
        network.zero_grad(set_to_none=True)
    agent.update_actor(agent.windows(replay.sample(6, rng)))
    assert changed(agent.actor, actor) and not changed(agent.encoder, taught)
    assert all(parameter.grad is None for parameter in agent.encoder.parameters())


def test_every_camera_is_seen_and_none_through_another_s_filters():
    torch.manual_seed(0)
    encoder, frames = PixelEncoder(EYES), torch.randint(0, 256, (1, 2, SIZE, SIZE, 3), dtype=torch.uint8)
    other = frames.clone()
    other[:, 1] = 255 - other[:, 1]
    seen, after = ([], [])
    with torch.no_grad():
        for shown, kept in ((frames, seen), (other, after)):
            planes = shown.permute(0, 1, 4, 2, 3).flatten(1, 2).float() / 255 - 0.5
            kept.extend(encoder.convolutions[:-1](planes)[0].chunk(2))
        assert torch.equal(seen[0], after[0]) and not torch.equal(seen[1], after[1])
        assert not torch.equal(encoder(frames), encoder(other)) and encoder(frames).abs().max() <= 1


def test_a_shift_moves_every_frame_by_itself_and_repeats_its_edge():
    generator, most = torch.Generator().manual_seed(0), 4
    frames = torch.randint(0, 256, (64, 2, 9, 11, 3), dtype=torch.uint8)
    shifted = random_shift(frames, most, generator)
    assert shifted.shape == frames.shape and shifted.dtype == torch.uint8
    padded = np.pad(frames.numpy(), [(0, 0), (0, 0), (most, most), (most, most), (0, 0)], mode="edge")
    ways = [(down, right) for down in range(2 * most + 1) for right in range(2 * most + 1)]
    crops = {way: padded[:, :, way[0] : way[0] + 9, way[1] : way[1] + 11] for way in ways}
    drawn = {}
    for place in np.ndindex(64, 2):
        [drawn[place]] = [way for way, crop in crops.items() if np.array_equal(crop[place], shifted[place].numpy())]
    assert {down for down, _ in drawn.values()} == {right for _, right in drawn.values()} == set(range(9))
    assert any(drawn[n, 0] != drawn[n, 1] for n in range(64))  # the cameras of one moment
    assert torch.equal(random_shift(frames, 0, generator), frames)


def test_acting_is_the_same_every_time_and_looks_at_the_frames():
    agent, replay, rng = learner(tau=0.5, average_rate=0.5), filled([make_episode()]), np.random.default_rng(0)
    for _ in range(3):
        agent.update_critics(agent.windows(replay.sample(6, rng)))
        agent.update_actor(agent.windows(replay.sample(6, rng)))
    state, base = np.zeros(P, np.float32), np.zeros(A, np.float32)
    frames = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    chance = agent.generator.get_state()
    for deployed in (False, True):
        action = agent.act(state, base, frames, deployed=deployed)
        np.testing.assert_array_equal(agent.act(state, base, frames, deployed=deployed), action)
        assert np.abs(agent.act(state, base, 255 - frames, deployed=deployed) - action).max() > 0
    assert torch.equal(agent.generator.get_state(), chance)  # what acts is not shifted


@pytest.mark.parametrize("kind", LEARNERS)
def test_a_saved_learner_goes_on_bit_for_bit(kind):
    agent, replay = learner(kind), filled([make_episode()])
    agent.update_critics(agent.windows(replay.sample(6, np.random.default_rng(0))))
    other = learner(kind)
    other.load_state_dict({name: tensor.clone() for name, tensor in agent.state_dict().items()})
    for learning in (agent, other):
        rng = np.random.default_rng(1)
        learning.update_critics(learning.windows(replay.sample(6, rng)))
        learning.update_actor(learning.windows(replay.sample(6, rng)))
    again = other.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in agent.state_dict().items())


# ---- frames in the replay ----


def test_a_window_has_the_frames_of_its_own_two_ends():
    batch = filled([make_episode(0), make_episode(1, 4)]).sample(200, np.random.default_rng(0))
    assert batch.frames_BVHWC.shape == (200, 2, SIZE, SIZE, 3) and batch.frames_BVHWC.dtype == np.uint8
    for frames, states in (
        (batch.frames_BVHWC, batch.state_BS), (batch.next_frames_BVHWC, batch.next_state_BS),
    ):  # fmt: skip
        step = states[:, 0]
        np.testing.assert_array_equal(frames[:, 0], np.broadcast_to(step[:, None, None, None], frames[:, 0].shape))
        np.testing.assert_array_equal(frames[:, 1], frames[:, 0] + 100)  # in the order of the eyes
    both = concatenate(batch, batch)
    assert both.next_frames_BVHWC.shape[0] == 400
    assert whose_fault(batch).startswith("the learner has diverged")


def test_frames_are_kept_once_and_leave_with_their_episode():
    episode, replays = make_episode(), [EpisodeReplay(25, P, A, 3, 0.99) for _ in range(2)]
    frames, ones = EYES.frames(episode.frames), np.ones(T + 1, np.float32)
    for replay in replays:
        replay.append(episode, episode.agent_pos, PhiTrack("m", ones, ones), demonstration=0.0, frames_TVHWC=frames)
        assert all(np.shares_memory(kept, frames) for kept in replay._frames.values())
    many = filled([make_episode(number) for number in range(6)], capacity=25)
    assert many.episodes == 2 and len(many._frames) == 2 * (T + 1)
    with pytest.raises(ValueError, match="e0 has 10 frames of 11: a learner that sees needs every step's"):
        replays[0].append(episode, episode.agent_pos, PhiTrack("m", ones, ones), demonstration=0.0,
                          frames_TVHWC=frames[:-1])  # fmt: skip


# ---- a run ----

CONFIG = Config(
    quiet=True,
    observation="pixels",
    env=EnvConfig(image_size=SIZE, cameras=("front", "wrist")),
    reward=RewardConfig(kind="oracle"),
    train=TrainConfig(rollouts=3, warmup_rollouts=1, warmup_updates=2, evaluate_every=2, evaluate_episodes=1),
)


def train(config, folder, interrupt_at=None):
    env, annotated = Seeing(gymnasium.make("robo_reward/PegInsert-v0", horizon=5, image_size=SIZE), None, True), 0
    shown = list(run_policy(env, ScriptedPeg("expert", 0), [1, 2], source="expert", query_every=1))

    def annotate(episodes):
        nonlocal annotated
        annotated += episodes[0].source == "policy"
        if annotated == interrupt_at:
            raise KeyboardInterrupt
        return oracle(episodes)

    return train_residual(config, env, ZeroPolicy(4), shown, annotate, None, folder, lambda *_, **numbers: None)


@pytest.mark.parametrize("kind", LEARNERS)
def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(kind, tmp_path):
    config = dataclasses.replace(CONFIG, agent=load_config([f"agent={kind}", *SMALL]).agent)
    whole = train(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", interrupt_at=3)
    assert train(config, tmp_path / "cut")["curve"] == whole["curve"] and whole["updates"] > 4
    wanted, found = (load_weights(tmp_path / name / "agent")[0] for name in ("whole", "cut"))
    assert wanted.keys() == found.keys() and any(name.startswith("encoder.") for name in wanted)
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name
    with TransitionStore(tmp_path / "cut" / "store") as store:
        for episode in store.read_all():
            assert episode.frame_steps.tolist() == list(range(len(episode) + 1))
            assert episode.base_action is not None and episode.features is None


def test_the_learner_sees_what_the_arm_knows_and_the_base_what_it_always_saw():
    """No estimate, which stands in for perception, and nothing privileged."""
    episode = make_episode()
    assert learner_columns(CONFIG, episode) == tuple(range(P))
    assert input_columns(CONFIG, episode) == input_columns(load_config([]), episode)
    assert eyes_of(CONFIG) == Eyes(("front", "wrist"), SIZE) and eyes_of(load_config([])) is None


@pytest.mark.parametrize("broken, expected", [
    (lambda e: dataclasses.replace(e, frames={}, frame_steps=np.zeros(0, np.int64)),
     "e0 has 0 of 11: set collect.all_frames=true"),
    (lambda e: dataclasses.replace(e, frames={"side": e.frames["side"]}),
     "e0: the policy looks through camera 'front', which is not there"),
    (lambda e: dataclasses.replace(e, frames={v: f[:, ::2, ::2] for v, f in e.frames.items()}),
     r"e0: camera 'front' gives \(16, 16, 3\) uint8, the policy looks at \(32, 32, 3\) uint8: set env.image_size"),
])  # fmt: skip
def test_demonstrations_without_the_frames_that_are_looked_at_are_refused_in_one_line(broken, expected):
    check_frames([make_episode()], EYES)
    with pytest.raises(ValueError, match=expected) as caught:
        check_frames([make_episode(1), broken(make_episode())], EYES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("words, expected", [
    (["agent=ibrl"], "agent.kind=ibrl does not learn to see: with observation=pixels use residual_td3 or residual_sac"),
    (["agent.cloning_updates=5"], "agent.cloning_updates=5 comes before the encoder"),
    (["env.image_size=31"], "env.image_size=31 is too small for observation=pixels: set 32 or more"),
    (["collect.all_frames=false"], "observation=pixels looks at every frame: set collect.all_frames=true"),
    (["agent.random_shift=17"], "random_shift"),
])  # fmt: skip
def test_what_cannot_be_learned_from_pixels_is_refused_before_it_begins(words, expected):
    with pytest.raises(ValueError, match=expected):
        load_config(["observation=pixels", *words])


@pytest.mark.slow
def test_the_whole_line_runs_from_the_command_line(tmp_path, capsys):
    from robo_reward.cli import main

    words = [
        "experiment=smoke", "observation=pixels", "reward=oracle", "quiet=true", f"run.root={tmp_path}",
        "env.image_size=32", "env.horizon=40", "collect.demos=2", "collect.weak=0", "collect.validation=0",
        "collect.test=0", "base.demos=1", "agent.batch=8", "agent.heads=2", "agent.updates_per_step=1",
        "train.rollouts=2", "train.warmup_updates=2", "evaluate.episodes=1", "evaluate.videos=0",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(["train", *words])
    assert ended.value.code == 0, capsys.readouterr().err
    [trained] = (tmp_path / "stages").glob("train-[0-9a-f]*/agent.safetensors")
    assert "encoder.summary.0.weight" in load_weights(trained.with_suffix(""))[0]
