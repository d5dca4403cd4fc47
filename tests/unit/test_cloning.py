"""The cloned base policy: it fits, plays its chunks in order, and comes back from disk as it was, or not at all."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.policies.cloning import ClonedPolicy, CloningSettings, train_cloning  # noqa: E402
from robo_reward.testing.episodes import make_episode as blank_episode  # noqa: E402

SMALL = CloningSettings(chunk=4, hidden=64, steps=400, batch=64, learning_rate=3e-3)
P, E, A = 3, 2, 2


def make_episode(number, steps=25):
    """The demonstrator's action is a smooth function of what is seen: tanh of agent_pos plus a share of estimate."""
    rng = np.random.default_rng(number)
    # A slow walk, so that what is seen now says what to do during the next few steps too.
    agent_pos = (rng.uniform(-1, 1, P) + 0.02 * np.cumsum(rng.normal(size=(steps + 1, P)), 0)).astype(np.float32)
    estimate = np.tile(rng.uniform(-1, 1, E), (steps + 1, 1)).astype(np.float32)
    return blank_episode(
        steps, f"demo-{number}", source="expert", seed=number, agent_pos=agent_pos, estimate=estimate,
        action=demonstrated(agent_pos, estimate)[:-1], oracle=np.zeros(steps + 1, np.float32),
    )  # fmt: skip


def demonstrated(agent_pos, estimate):
    return np.tanh(agent_pos[..., :A] + 0.5 * estimate).astype(np.float32)


DEMOS = [make_episode(number) for number in range(40)]


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    return train_cloning(DEMOS, SMALL)


@pytest.fixture(scope="module")
def policy(trained):
    return trained[0]


def act(policy, agent_pos, estimate, state=None):
    return policy.act(agent_pos[None], estimate[None], state or policy.initial_state(1))


def test_it_fits_the_demonstrations_and_says_how_well(trained):
    policy, summary = trained
    unseen = make_episode(1000)
    errors = [
        np.abs(act(policy, agent_pos, estimate)[0][0] - action).mean()
        for agent_pos, estimate, action in zip(unseen.agent_pos, unseen.estimate, unseen.action, strict=False)
    ]
    baseline = np.abs(unseen.action - np.mean([demo.action.mean(0) for demo in DEMOS], axis=0)).mean()
    assert np.mean(errors) < 0.08 < 0.5 * baseline
    assert summary["cloning_loss"] < 0.08 and summary["demonstrations"] == 40 and summary["frames"] == 40 * 25


def test_a_chunk_is_executed_in_order_without_looking_and_then_the_next_is_asked_for(policy):
    """The state of an episode is the rest of its chunk; what is seen matters at its first step only."""
    first, other = DEMOS[0], DEMOS[1]
    chunk, state = [], policy.initial_state(1)
    for _ in range(SMALL.chunk):
        action, state = act(policy, first.agent_pos[0], first.estimate[0], state)
        chunk.append(action[0])
    blind, state = [], policy.initial_state(1)
    for step in range(SMALL.chunk):
        seen = first if step == 0 else other
        action, state = act(policy, seen.agent_pos[0], seen.estimate[0], state)
        blind.append(action[0])
    np.testing.assert_array_equal(blind, chunk)
    following, _ = act(policy, other.agent_pos[0], other.estimate[0], state)
    np.testing.assert_array_equal(following, act(policy, other.agent_pos[0], other.estimate[0])[0])
    assert not np.allclose(following[0], chunk[0])


def test_the_second_action_of_a_chunk_was_trained_on_the_second_step():
    """A demonstrator who says which step it is: a chunk that starts at step t must play t, t+1, t+2, t+3."""
    steps = 12
    clock = np.linspace(-1, 1, steps + 1, dtype=np.float32)
    demo = dataclasses.replace(
        make_episode(0, steps), agent_pos=np.tile(clock[:, None], (1, P)),
        estimate=np.zeros((steps + 1, E), np.float32), action=np.stack([clock[:-1], -clock[:-1]], 1),
    )  # fmt: skip
    policy, _ = train_cloning([demo], SMALL)
    state = policy.initial_state(1)
    for step in range(4, 8):
        action, state = act(policy, demo.agent_pos[4], demo.estimate[4], state)
        np.testing.assert_allclose(action[0], demo.action[step], atol=0.05)


def test_the_end_of_a_demonstration_is_not_padded_with_actions_nobody_took():
    """The last step's chunk has one known action; a demonstrator of -1 then 1 must not be averaged over padding."""
    demo = dataclasses.replace(
        make_episode(0, 2), agent_pos=np.repeat(np.float32([[0], [1], [1]]), P, 1),
        estimate=np.zeros((3, E), np.float32), action=np.float32([[-1, -1], [1, 1]]),
    )  # fmt: skip
    policy, _ = train_cloning([demo], SMALL)
    state, actions = policy.initial_state(1), []
    for _ in range(2):
        action, state = act(policy, demo.agent_pos[0], demo.estimate[0], state)
        actions.append(action[0])
    np.testing.assert_allclose(actions, demo.action, atol=0.05)


def test_actions_stay_in_range(policy):
    far = np.full(P, 50, np.float32)
    action, _ = act(policy, far, np.full(E, -50, np.float32))
    assert action.dtype == np.float32 and np.abs(action).max() <= 1


def test_one_seed_gives_one_policy(policy):
    torch.rand(7)  # whatever was drawn before
    again, _ = train_cloning(DEMOS, SMALL)
    assert again.policy_id == policy.policy_id
    other, _ = train_cloning(DEMOS, dataclasses.replace(SMALL, seed=1, steps=5))
    assert other.policy_id != policy.policy_id


# ---- columns ----


def test_only_the_chosen_columns_are_seen():
    columns = (0, 2, 4)
    policy, _ = train_cloning(DEMOS, dataclasses.replace(SMALL, steps=50), columns)
    demo = DEMOS[0]
    seen = np.concatenate([demo.agent_pos[0], demo.estimate[0]])
    wanted, _ = act(policy, demo.agent_pos[0], demo.estimate[0])
    for column in range(P + E):
        changed = seen.copy()
        changed[column] += 1
        found, _ = act(policy, changed[:P], changed[P:])
        assert np.array_equal(found, wanted) == (column not in columns), column


# ---- on disk ----


@pytest.mark.parametrize("columns", [None, (0, 1, 3, 4)])
def test_what_was_saved_acts_as_it_did(tmp_path, columns):
    policy, _ = train_cloning(DEMOS, dataclasses.replace(SMALL, steps=30), columns)
    policy.save(tmp_path)
    loaded = ClonedPolicy.load(tmp_path)
    assert loaded.policy_id == policy.policy_id
    states = [policy.initial_state(5), loaded.initial_state(5)]
    for step in range(SMALL.chunk + 2):
        agent_pos = np.stack([demo.agent_pos[step] for demo in DEMOS[:5]])
        estimate = np.stack([demo.estimate[step] for demo in DEMOS[:5]])
        wanted, states[0] = policy.act(agent_pos, estimate, states[0])
        found, states[1] = loaded.act(agent_pos, estimate, states[1])
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("place", [0.02, 0.3, 0.7, 0.999])
def test_tampered_weights_are_refused_in_one_line(policy, tmp_path, place):
    policy.save(tmp_path)
    (file,) = [path for path in tmp_path.iterdir() if path.suffix == ".safetensors"]
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 4
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError) as error:
        ClonedPolicy.load(tmp_path)
    message = str(error.value)
    assert "\n" not in message and str(file) in message and "train again" in message


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_half_written_weights_are_refused_in_one_line(policy, tmp_path, share):
    policy.save(tmp_path)
    (file,) = [path for path in tmp_path.iterdir() if path.suffix == ".safetensors"]
    data = file.read_bytes()
    file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError) as error:
        ClonedPolicy.load(tmp_path)
    assert "\n" not in str(error.value) and str(file) in str(error.value)


def test_a_folder_without_a_policy_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        ClonedPolicy.load(tmp_path)


def test_nothing_to_clone_is_said():
    with pytest.raises(ValueError, match="no demonstrations"):
        train_cloning([], SMALL)
