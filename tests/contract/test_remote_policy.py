"""A base policy on a policy server: a real process that speaks openpi's protocol, well and in every wrong way."""

import numpy as np
import pytest

pytest.importorskip("websockets")
pytest.importorskip("msgpack")

from robo_reward.policies.remote import connect


def ask(policy, value=0.25, brightness=51, steps=1):
    """Actions (steps, A) of one episode in which nothing changes."""
    frame = np.full((8, 8, 3), brightness, np.uint8)
    info = {"views": {"front": frame, "wrist": frame // 2}, "instruction": "insert the peg"}
    state, actions = policy.initial_state(1), []
    for _ in range(steps):
        action, state = policy.act(
            np.full((1, 5), value, np.float32), np.zeros((1, 3), np.float32), policy.look(state, info)
        )
        actions.append(action[0])
    return np.array(actions)


def remote(policy_server, path="", **settings):
    return connect(f"{policy_server}/{path}", 4, 3, ("front", "wrist"), **settings)


def test_state_frames_and_instruction_reach_the_server_and_its_chunk_is_executed(policy_server):
    actions = ask(remote(policy_server), steps=4)
    np.testing.assert_allclose(actions, [[0.25, 0.2, 0.14, step / 10] for step in (0, 1, 2, 0)], atol=1e-6)


def test_a_servers_own_keys(policy_server):
    """DROID's and LIBERO's servers call the cameras differently; those that are not named are not sent."""
    policy = remote(policy_server, names={"wrist": "observation/image"})
    assert policy.views == ("wrist",)
    np.testing.assert_allclose(ask(policy)[0, 1], 25 / 255, atol=1e-6)
    with pytest.raises(ValueError, match=r"camera 'top': there is front, wrist, state and prompt"):
        remote(policy_server, names={"top": "observation/image"})


def test_ensembling_asks_at_every_step(policy_server):
    actions = ask(remote(policy_server, ensemble=0.0), steps=3)
    np.testing.assert_allclose(actions[:, 3], [0.0, 0.05, 0.1], atol=1e-6)


def test_other_units_are_refused_and_factors_mend_them(policy_server):
    with pytest.raises(ValueError, match=r"action of 6\.25.*base\.action_scale"):
        ask(remote(policy_server, "units"))
    np.testing.assert_allclose(
        ask(remote(policy_server, "units", scale=(0.04,) * 4))[0], [0.25, 0.2, 0.14, 0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("shape", r"shape \(10, 7\), expected \(3, 4\)"),
        ("short", r"shape \(2, 4\), expected \(3, 4\)"),
        ("nan", "not finite"),
        ("nothing", "without 'actions': tokens, server_timing"),
        ("error", r"failed: KeyError: 'observation/joint_position'"),
        ("hang", r"did not answer within 0\.5 s.*base\.timeout_s"),
        ("silent", r"did not answer within 0\.5 s"),
        ("other", "does not speak openpi's protocol"),
    ],
)
def test_a_server_that_fails_is_one_line(policy_server, path, says):
    with pytest.raises(ValueError, match=says) as error:
        ask(remote(policy_server, path, timeout_s=0.5 if "0\\.5" in says else 60.0))
    assert "\n" not in str(error.value)


def test_a_server_that_dies_and_one_that_is_not_there(serve_policies):
    with serve_policies() as url:
        policy = remote(url, "die")
        with pytest.raises(ValueError, match="is not there"):
            ask(policy)
        with pytest.raises(ValueError, match=r"is not there .*: start it"):
            remote(url)
    with pytest.raises(ValueError, match="base.url=nonsense is no websocket's address"):
        connect("nonsense", 4, 3, ("front",))
