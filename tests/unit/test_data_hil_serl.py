"""HIL-SERL's transitions become episodes: split where they end or where something is missing in between."""

from __future__ import annotations

import pickle  # noqa: TID251 - the test writes the files that the reader must read
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robo_reward.data.hil_serl import read_hil_serl
from robo_reward.types import UNKNOWN_STAGE


def observation(code: float, history: bool = True, size: int = 8) -> dict[str, np.ndarray]:
    found = {"state": np.full(4, code, np.float32), "wrist_1": np.full((size, size, 3), int(code), np.uint8)}
    return {key: value[None] if history else value for key, value in found.items()}


def trajectory(first: int, steps: int, *, reward: float = 1.0, done: bool = True, history: bool = True) -> list[Any]:
    """Observations are numbered on from `first`."""
    return [
        {
            "observations": observation(first + t, history),
            "actions": np.full(7, 0.1 * t),
            "next_observations": observation(first + t + 1, history),
            "rewards": reward if t == steps - 1 else 0,
            "masks": 1.0 - (done and t == steps - 1),
            "dones": done and t == steps - 1,
            "infos": {"succeed": bool(reward), "note": "x", "grasp_penalty": np.float64(0.0)},
        }
        for t in range(steps)
    ]


def write(path: Path, transitions: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(transitions, protocol))
    return path


@pytest.mark.parametrize("history", [True, False])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_transitions_become_episodes(tmp_path, history, protocol):
    transitions = trajectory(0, 5, history=history) + trajectory(50, 3, reward=0.0, history=history)
    won, lost = read_hil_serl(write(tmp_path / "usb_insertion-2_demos.pkl", transitions, protocol))
    assert (won.episode_id, lost.episode_id) == ("usb_insertion-2_demos-0", "usb_insertion-2_demos-1")
    assert won.instruction == "usb insertion 2 demos" and won.source == "human"
    assert won.agent_pos[:, 0].tolist() == [0, 1, 2, 3, 4, 5] and won.agent_pos.shape == (6, 4)
    np.testing.assert_allclose(won.action[:, 6], [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    assert won.reward.tolist() == [0, 0, 0, 0, 1] and won.success and won.terminated and not won.truncated
    assert not lost.success and lost.truncated and not lost.terminated  # its time-out is marked as done
    assert lost.agent_pos[-1, 0] == 53 and lost.frames["wrist_1"][:, 0, 0, 0].tolist() == [50, 51, 52, 53]
    assert won.oracle is None and (won.stage == UNKNOWN_STAGE).all() and won.estimate.shape == (6, 0)


def test_frames_are_kept_at_the_query_rate(tmp_path):
    (one,) = read_hil_serl(write(tmp_path / "a.pkl", trajectory(0, 5)), query_every=2, instruction="plug it in")
    assert one.frame_steps.tolist() == [0, 2, 4, 5] and one.instruction == "plug it in"
    assert one.frames["wrist_1"][:, 3, 3, 1].tolist() == [0, 2, 4, 5]
    (one,) = read_hil_serl(tmp_path / "a.pkl", views=())
    assert not one.frames


def test_a_gap_ends_an_episode_too(tmp_path):
    """Files of interventions hold only what the operator did."""
    whole = trajectory(0, 8)
    first, second = read_hil_serl(write(tmp_path / "a.pkl", whole[:3] + whole[5:]))
    assert first.agent_pos[:, 0].tolist() == [0, 1, 2, 3] and not first.success and first.truncated
    assert second.agent_pos[:, 0].tolist() == [5, 6, 7, 8] and second.success and second.terminated


def test_a_success_that_was_never_done_is_no_terminal_state(tmp_path):
    (one,) = read_hil_serl(write(tmp_path / "a.pkl", trajectory(0, 3, done=False)))
    assert one.success and one.truncated and not one.terminated


def test_several_state_keys_are_joined_in_their_order(tmp_path):
    transitions = trajectory(0, 2)
    for transition in transitions:
        for key in ("observations", "next_observations"):
            transition[key]["force"] = np.full((1, 2), 9.0)
    (one,) = read_hil_serl(write(tmp_path / "a.pkl", transitions), state_keys=("force", "state"))
    assert one.agent_pos[1].tolist() == [9, 9, 1, 1, 1, 1]


def changed(**changes: Any) -> list[Any]:
    transitions = trajectory(0, 3)
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            transitions[1][part][key] = value
        else:
            transitions[1][part] = value
    return transitions


@pytest.mark.parametrize(
    ("transitions", "words"),
    [
        ({"observations": 1}, "holds a dict, expected a list of transitions"),
        ([], "holds a list, expected a list of transitions"),
        ([{"observations": {}}], r"transition 0 is no dict with observations, actions"),
        (changed(observations=None), "transition 1: observations is no dict of arrays"),
        (changed(observations__state=[1, 2]), "transition 1: observations is no dict of arrays"),
        (changed(observations__state=np.zeros((2, 4))), r"shape \(2, 4\), expected shape \(P,\) or \(1, P\)"),
        (changed(observations__wrist_1=np.zeros((1, 8, 8, 3))), "'wrist_1' is no uint8 image"),
        (changed(observations__wrist_1=np.zeros((2, 8, 8, 3), np.uint8)), "holds 2 frames: record a history of 1"),
        (changed(observations__wrist_1=np.zeros((1, 9, 8, 3), np.uint8)), "wrist_1 changes its shape"),
        (changed(actions=np.full(7, -3.0)), r"actions reach 3 in column 0, allowed is \[-1, 1\]: normalise"),
        (changed(actions=np.zeros(6)), "actions changes its shape"),
        (changed(actions=0.5), "actions is no array"),
        (changed(rewards="much"), "transition 1: rewards is a str, expected one number"),
        (changed(rewards=np.zeros(2)), "transition 1: rewards is a PickledArray"),
        (changed(dones=None), "transition 1: dones is a NoneType"),
        (changed(actions=np.full(7, np.nan)), "not finite"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(tmp_path, transitions, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_hil_serl(write(tmp_path / "a.pkl", transitions))
    assert "\n" not in str(caught.value) and "a" in str(caught.value)


def test_unknown_keys_are_told_with_the_known_ones(tmp_path):
    path = write(tmp_path / "a.pkl", trajectory(0, 2))
    with pytest.raises(ValueError, match="no observation 'side': choose from state, wrist_1"):
        read_hil_serl(path, views=("side",))
    with pytest.raises(ValueError, match="no observation 'pose'"):
        read_hil_serl(path, state_keys=("pose",))


def test_one_picture_named_a_thousand_times_does_not_fill_the_memory(tmp_path, monkeypatch):
    transitions = [dict(trajectory(0, 1)[0])] * 1000
    path = write(tmp_path / "a.pkl", transitions)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("robo_reward.data.hil_serl.MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="unfolds to 192000 bytes of images, allowed are 100000"):
        read_hil_serl(path)


def test_a_hostile_file_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(b"cposix\nsystem\n(X\x0c\x00\x00\x00touch canarytR.")
    with pytest.raises(
        ValueError, match=r"a\.pkl names posix\.system, which is not data: refused, nothing was executed"
    ):
        read_hil_serl(tmp_path / "a.pkl")
    assert not (tmp_path / "canary").exists()
