"""The episode protocol: any sequence of events leaves it whole, an e-stop always stops, and a restart loses nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_reward.data.disk import Disk
from robo_reward.hil.protocol import ABORTED, EVENTS, IN_FLIGHT, LABELS, STATES, Protocol

TO_RUNNING = ["arm", "start"]


def after(*events, path=None):
    protocol = Protocol(path)
    for event in events:
        protocol.apply(event)
    return protocol


def test_an_episode_from_start_to_label():
    protocol = after(*TO_RUNNING, "take_over", "release", "pause", "resume", "finish")
    assert protocol.state == "judging" and protocol.labels == []
    assert protocol.apply("success") == "resetting"
    assert protocol.apply("reset_done") == "armed"
    assert protocol.labels == ["success"] and protocol.scene == 1


@pytest.mark.parametrize("label", LABELS)
def test_a_label_given_while_it_runs_ends_the_episode(label):
    protocol = after(*TO_RUNNING, label)
    assert (protocol.state, protocol.labels) == ("resetting", [label])
    assert protocol.scene == (0 if label == "re_record" else 1)


def test_undo_puts_the_last_episode_up_for_judgement_again():
    protocol = after(*TO_RUNNING, "success", "reset_done", "undo")
    assert (protocol.state, protocol.labels) == ("judging", [])
    assert after(*TO_RUNNING, "success", "undo", "failure").labels == ["failure"]


def test_what_is_not_possible_is_refused_with_what_is():
    with pytest.raises(ValueError, match="'success' is not possible while idle: choose arm, e_stop"):
        Protocol().apply("success")
    with pytest.raises(ValueError, match="'dance' is not possible"):
        Protocol().apply("dance")
    with pytest.raises(ValueError, match="'undo' is not possible while resetting"):  # an e-stop is no label
        after(*TO_RUNNING, "e_stop", "clear").apply("undo")


def test_an_e_stop_aborts_a_running_episode_and_keeps_one_that_is_judged():
    protocol = after(*TO_RUNNING, "e_stop")
    assert protocol.labels == [ABORTED] and protocol.possible() == ("clear",)
    assert protocol.apply("clear") == "resetting"
    assert after(*TO_RUNNING, "finish", "e_stop", "clear").state == "judging"


def test_a_restart_does_not_clear_an_e_stop(tmp_path):
    after(*TO_RUNNING, "e_stop", path=tmp_path / "protocol.json")
    assert Protocol(tmp_path / "protocol.json").state == "e_stopped"


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2}', '{"format": 1, "state": "dancing"}'])
def test_a_foreign_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "protocol.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="protocol.json is no session protocol"):
        Protocol(path)


def test_a_disk_that_fails_does_not_hold_an_e_stop_up(tmp_path):
    class Full(Disk):
        full = False

        def write(self, path, data):
            if self.full:
                raise OSError(28, "No space left on device")
            super().write(path, data)

    disk = Full()
    protocol = Protocol(tmp_path / "protocol.json", disk)
    disk.full = True
    with pytest.raises(OSError, match="No space"):
        protocol.apply("e_stop")
    assert protocol.state == "e_stopped"


@given(st.lists(st.sampled_from(EVENTS), max_size=60), st.integers(0, 60))
@settings(max_examples=25, deadline=None)
def test_any_sequence_of_events_with_a_restart_somewhere(events, restart):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "protocol.json"
        protocol = Protocol(path)
        for number, event in enumerate(events):
            if number == restart:
                labels, before = list(protocol.labels), protocol.state
                protocol = Protocol(path)
                assert protocol.labels == labels + [ABORTED] * (before in IN_FLIGHT)
                assert protocol.state not in (*IN_FLIGHT, "armed")
                if before in ("judging", "resetting", "e_stopped"):
                    assert protocol.state == before
            labels, before, possible = list(protocol.labels), protocol.state, protocol.possible()
            try:
                protocol.apply(event)
                assert event in possible
            except ValueError:
                assert event not in possible
                assert (protocol.labels, protocol.state) == (labels, before)
            assert protocol.state in STATES and protocol.possible()
            assert ("e_stop" in protocol.possible()) == (protocol.state != "e_stopped")
            assert abs(len(protocol.labels) - len(labels)) <= 1
