"""Each defect found in released residual and human-in-the-loop learners, as a test that this project does not have it.

The title of each part names the defect. Where a test could pass for a trivial reason, a control shows that it cannot.
"""

import dataclasses

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("mujoco")

import robo_reward.envs  # noqa: E402, F401  (registers the environments)
from robo_reward.config import AgentConfig  # noqa: E402
from robo_reward.evaluation.rollout import run_episode, run_policy  # noqa: E402
from robo_reward.learning.networks import mlp  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay, concatenate  # noqa: E402
from robo_reward.learning.weights import load_weights, save_weights  # noqa: E402
from robo_reward.policies.cloning import ClonedPolicy  # noqa: E402
from robo_reward.testing.episodes import make_episode as blank_episode  # noqa: E402
from robo_reward.testing.learners import small_learner  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

GAMMA, N_STEP, ACTIONS = 0.9, 3, 2
SETTINGS = AgentConfig(gamma=GAMMA, n_step=N_STEP, heads=4, hidden=32, batch=16)


def make_episode(number, steps, *, terminated=False):
    """An episode whose every observation says which episode and step it is: agent_pos = (number, step)."""
    codes = np.stack([np.full(steps + 1, number), np.arange(steps + 1)], axis=1).astype(np.float32)
    rng = np.random.default_rng(number)
    return blank_episode(
        steps, f"test-{number}", success=terminated, seed=number, agent_pos=codes,
        action=rng.uniform(-1, 1, (steps, ACTIONS)).astype(np.float32),
        reward=rng.normal(size=steps).astype(np.float32), oracle=np.zeros(steps + 1, np.float32),
        base_action=codes / 1000,
    )  # fmt: skip


def fill(episodes):
    replay = EpisodeReplay(10_000, 2, ACTIONS, N_STEP, GAMMA)
    for episode in episodes:
        phi = (episode.agent_pos[:, 0] * 0.01 + episode.agent_pos[:, 1] * 0.0001).astype(np.float32)
        track = PhiTrack("model", phi, np.ones_like(phi))
        replay.append(episode, episode.agent_pos, track, demonstration=False)
    return replay


EPISODES = [make_episode(i, steps, terminated=i % 2 == 0) for i, steps in enumerate([5, 1, 2, 7, 4, 3, 12])]


@pytest.fixture(scope="module")
def batch():
    return fill(EPISODES).sample(2000, np.random.default_rng(0))


# ---- a time-out treated as terminal, or bootstrapped from the next episode's first frame ----


def test_only_windows_that_end_in_a_terminal_state_are_masked(batch):
    number, step = batch.state_BS.T.astype(int)
    at_end = step + batch.length_B == [len(EPISODES[i]) for i in number]
    terminal = np.array([EPISODES[i].terminated for i in number])
    assert (at_end & ~terminal).any() and (at_end & terminal).any()
    np.testing.assert_array_equal(batch.terminated_B, at_end & terminal)


def test_a_time_out_is_bootstrapped_from_its_own_final_observation_and_that_ones_base_action(batch):
    number, step = batch.state_BS.T
    own = np.stack([number, step + batch.length_B], axis=1)
    np.testing.assert_array_equal(batch.next_state_BS, own)
    np.testing.assert_allclose(batch.next_base_BR, own / 1000, rtol=1e-6)
    np.testing.assert_allclose(batch.discount_B, GAMMA**batch.length_B, rtol=1e-6)


def test_the_environments_time_out_is_no_termination_and_its_last_observation_is_the_one_before_the_reset():
    env = gymnasium.make("robo_reward/PegInsert-v0", horizon=5)
    seen = []

    def still(agent_pos, estimate):
        seen.append(agent_pos)
        return np.zeros(4), np.full(4, 0.1 * len(seen), np.float32)

    episode = run_episode(env, still, seed=0, source="policy").validate()
    assert len(episode) == 5 and episode.truncated and not episode.terminated and not episode.success
    np.testing.assert_array_equal(episode.agent_pos, seen)  # T+1 observations, the last of them queried as well
    np.testing.assert_allclose(episode.base_action[:, 0], 0.1 * np.arange(1, 7), rtol=1e-6)
    following, _ = env.reset(seed=1)
    assert not np.allclose(episode.agent_pos[-1], following["agent_pos"])


def learner(seed=0, **changes):
    return small_learner(seed=seed, size=2, action_size=ACTIONS, settings=SETTINGS, **changes)


def critic_after(batch, **changes):
    agent = learner()
    agent.update_critics(agent.windows(dataclasses.replace(batch, **changes)))
    return torch.cat([p.detach().ravel() for p in agent.critic.parameters()])


def test_the_critic_bootstraps_through_a_time_out_and_not_through_a_terminal_state(batch):
    elsewhere = batch.next_state_BS + 3
    for terminated, ignored in ((np.ones_like(batch.terminated_B), True), (np.zeros_like(batch.terminated_B), False)):
        here = critic_after(batch, terminated_B=terminated)
        there = critic_after(batch, terminated_B=terminated, next_state_BS=elsewhere)
        assert torch.equal(here, there) == ignored


# ---- the base policy's chunk queue not reset at a time-out: a stale first action in the new episode ----


@pytest.fixture
def env():
    return gymnasium.make("robo_reward/PegInsert-v0", horizon=6)


@pytest.fixture
def sizes(env):
    """Of agent_pos and of estimate."""
    return [env.observation_space[key].shape[0] for key in ("agent_pos", "estimate")]


@pytest.fixture
def chunked(sizes):
    """A policy that looks once and acts eight times; episodes of six steps always end in the middle of a chunk."""
    torch.manual_seed(0)
    mean = np.zeros(sum(sizes), np.float32)
    return ClonedPolicy(mlp(len(mean), 16, 8 * 4), mean, mean + 1, 8, 4)


def test_the_first_action_of_an_episode_does_not_depend_on_the_episode_before(env, chunked):
    first, after_first = run_policy(env, chunked, [1, 2], source="base")
    (alone,) = run_policy(env, chunked, [2], source="base")
    assert first.truncated
    np.testing.assert_array_equal(after_first.action, alone.action)
    # Control: the queue left over from the first episode would have acted differently.
    state = chunked.initial_state(1)
    for t in range(6):
        _, state = chunked.act(first.agent_pos[t : t + 1], first.estimate[t : t + 1], state)
    stale, _ = chunked.act(alone.agent_pos[:1], alone.estimate[:1], state)
    fresh, _ = chunked.act(alone.agent_pos[:1], alone.estimate[:1], chunked.initial_state(1))
    assert not np.allclose(stale, fresh)


def test_acting_leaves_the_state_it_was_given_alone_and_resets_one_episode_of_a_batch(chunked, sizes):
    rng = np.random.default_rng(0)
    agent_pos, estimate = (rng.normal(size=(3, size)).astype(np.float32) for size in sizes)
    _, state = chunked.act(agent_pos, estimate, chunked.initial_state(3))
    again = [chunked.act(agent_pos, estimate, state)[0] for _ in range(2)]
    np.testing.assert_array_equal(*again)
    (empty,) = chunked.initial_state(1)
    mixed, _ = chunked.act(agent_pos, estimate, [state[0], empty, state[2]])
    fresh, _ = chunked.act(agent_pos[1:2], estimate[1:2], [empty])
    np.testing.assert_array_equal(mixed[[0, 2]], again[0][[0, 2]])
    np.testing.assert_allclose(mixed[1], fresh[0], atol=1e-6)


# ---- windows stored so that an edge pairs with a foreign frame ----


def test_no_window_leaves_its_episode(batch):
    number, step = batch.state_BS.T.astype(int)
    steps = np.array([len(EPISODES[i]) for i in number])
    np.testing.assert_array_equal(batch.length_B, np.minimum(N_STEP, steps - step))
    columns = np.minimum(step[:, None] + np.arange(N_STEP + 1), (step + batch.length_B)[:, None])
    np.testing.assert_allclose(batch.phi_BW, number[:, None] * 0.01 + columns * 0.0001, atol=1e-7)
    for i, t, m, action, reward in zip(number, step, batch.length_B, batch.action_BA, batch.reward_B, strict=True):
        np.testing.assert_array_equal(action, EPISODES[i].action[t])
        expected = (EPISODES[i].reward[t : t + m] * GAMMA ** np.arange(m)).sum()
        assert reward == pytest.approx(expected, abs=1e-5)


def test_every_step_can_be_sampled_and_no_final_observation_starts_a_window(batch):
    pairs = {tuple(pair) for pair in batch.state_BS.astype(int).tolist()}
    assert pairs == {(i, t) for i, episode in enumerate(EPISODES) for t in range(len(episode))}


def test_two_reward_models_never_meet_in_one_replay():
    replay = fill(EPISODES[:1])
    episode = EPISODES[1]
    other = PhiTrack("another model", np.zeros(2, np.float32), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="another model"):
        replay.append(episode, episode.agent_pos, other, demonstration=False)


# ---- the stored action is what the policy asked for, not what was done ----


def test_the_stored_action_is_the_executed_one_where_the_gate_cut_it():
    """Pressing on: the workspace ends before the commanded -1 per step is used up."""
    env = gymnasium.make("robo_reward/PegInsert-v0", horizon=40)
    command = np.array([0.0, 0.0, -1.0, 0.0])
    episode = run_episode(env, lambda *_: (command, None), seed=0, source="policy")
    cut = np.abs(episode.action - command).max(axis=1) > 1e-3
    assert cut.any()
    # What was done is what the arm reports next as its last action, and the next policy input shows it.
    np.testing.assert_allclose(episode.action, episode.agent_pos[1:, -4:], atol=1e-6)


def test_the_learner_acts_within_the_range_that_is_executed():
    agent = learner(residual_scale=2.0)
    with torch.no_grad():
        network = agent.actor_target.mlp
        network.views(network.flat).bias_N1O.fill_(5.0)
    np.testing.assert_array_equal(agent.act(np.zeros(2, np.float32), np.array([0.9, -0.5], np.float32)), [1.0, 1.0])


# ---- human actions outside the residual's reach ----


def test_the_critic_learns_from_the_full_action_and_tells_it_from_the_nearest_reachable_one():
    """The base says 0, the residual reaches +-.1, the human did +-.8 and succeeded where +-.1 fails."""
    agent = learner(residual_scale=0.1, learning_rate=3e-3)
    size = 64
    full = np.tile(np.float32([[0.8, 0.8], [0.1, 0.1]]), (size // 2, 1))
    zeros = np.zeros(size, np.float32)
    state = np.zeros((size, 2), np.float32)
    batch = dataclasses.replace(
        fill(EPISODES).sample(size, np.random.default_rng(0)),
        state_BS=state, next_state_BS=state, base_BR=state, next_base_BR=state, action_BA=full,
        reward_B=np.tile(np.float32([1.0, 0.0]), size // 2), terminated_B=zeros + 1,
        phi_BW=np.zeros((size, N_STEP + 1), np.float32),
    )  # fmt: skip
    for _ in range(200):
        agent.update_critics(agent.windows(batch))
    with torch.no_grad():
        q = agent.critic(torch.zeros(2, 2), torch.tensor([[0.8, 0.8], [0.1, 0.1]])).mean(0)
    assert q[0] > 0.9 and q[1] < 0.1


def test_the_actor_imitates_the_nearest_reachable_residual():
    reach, state = 0.1, np.zeros((8, 2), np.float32)
    template = fill(EPISODES).sample(8, np.random.default_rng(0))
    weights = []
    for shown in (reach, 0.8, -0.8):
        agent = learner(residual_scale=reach, imitation=10.0)
        batch = dataclasses.replace(
            template, state_BS=state, base_BR=state, action_BA=state + np.float32(shown),
            demonstration_B=np.ones(8, np.float32),
        )  # fmt: skip
        for _ in range(20):
            agent.update_actor(agent.windows(batch))
        weights.append(torch.cat([p.detach().ravel() for p in agent.actor.parameters()]))
    nearest, beyond, opposite = weights
    torch.testing.assert_close(nearest, beyond)
    assert not torch.allclose(nearest, opposite)


# ---- no resume ----


def test_a_learner_saved_and_loaded_into_another_continues_bit_for_bit(tmp_path):
    replay, settings = fill(EPISODES), {"imitation": 0.1}

    def train(agent, rng, updates):
        for _ in range(updates):
            batch = concatenate(replay.sample(8, rng), replay.sample(8, rng))
            agent.update_critics(agent.windows(batch))
            agent.update_actor(agent.windows(batch))

    straight, rng = learner(1, **settings), np.random.default_rng(5)
    train(straight, rng, 6)

    before, rng = learner(1, **settings), np.random.default_rng(5)
    train(before, rng, 3)
    save_weights(tmp_path / "learner", before.state_dict(), {})
    torch.manual_seed(999)  # nothing may hang on the process's own random state
    after = learner(2, **settings)
    after.load_state_dict(load_weights(tmp_path / "learner")[0])
    train(after, rng, 3)
    wanted, found = straight.state_dict(), after.state_dict()
    assert wanted.keys() == found.keys()
    for name, tensor in wanted.items():
        assert torch.equal(tensor, found[name]), name


def test_damaged_weights_are_refused(tmp_path):
    save_weights(tmp_path / "learner", learner().state_dict(), {})
    file = tmp_path / "learner.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="checksum"):
        load_weights(tmp_path / "learner")
