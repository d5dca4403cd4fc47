"""`robo-reward doctor` tells what is missing and how to get it."""

from __future__ import annotations

import pytest

from robo_reward import doctor
from robo_reward.config import Config


def test_a_missing_package_is_answered_with_its_extra(monkeypatch, capsys):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(ValueError, match="checks failed: .*torch"):
        doctor.doctor(Config())
    shown = capsys.readouterr().out
    assert "pip install 'robo_reward[learn]'" in shown
    assert "pip install 'robo_reward[sim]'" in shown


def test_a_missing_optional_package_is_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "check_rendering", lambda: doctor.Check("rendering", True, ""))
    monkeypatch.setattr(doctor, "check_ffmpeg", lambda: doctor.Check("ffmpeg", True, ""))
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda module: None if module == "robosuite" else object())
    assert doctor.doctor(Config())["bad"] == 1
    assert "absent" in capsys.readouterr().out


def test_no_display_library_is_answered_with_the_packages_to_install(monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.setenv("MUJOCO_GL", "no-such-backend")
    check = doctor.check_rendering()
    assert not check.good and "libegl1" in check.detail


def test_missing_ffmpeg_is_answered_with_the_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert doctor.check_ffmpeg().detail == "apt-get install ffmpeg"


def damaged_store(folder):
    """A store of two episodes, the first one hurt."""
    from robo_reward.data.store import TransitionStore

    with TransitionStore(folder, writable=True) as store:
        number = 0
        for name in ("first", "second"):
            number = store.append_episode("arm", number, small_episode(name))
    [segment] = folder.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[400] ^= 8
    segment.write_bytes(data)


def small_episode(name):
    import numpy as np

    from robo_reward.testing.episodes import make_episode

    zeros = np.zeros((3, 2), np.float32)
    return make_episode(
        2, name, instruction="go", agent_pos=zeros, estimate=zeros, action=zeros[:2], oracle=zeros[:, 0],
    )  # fmt: skip


def test_a_damaged_store_is_told_then_repaired(tmp_path, capsys):
    damaged_store(tmp_path / "store")
    with pytest.raises(ValueError, match=r"the store is damaged.*repair=true"):
        doctor.doctor(Config(store=str(tmp_path)))
    assert "1 episodes, 2 transitions" in capsys.readouterr().out
    assert doctor.doctor(Config(store=str(tmp_path), repair=True)) == {"good": 1, "bad": 0}
    assert "store.damaged0" in capsys.readouterr().out
    (tmp_path / "store").rename(tmp_path / "store.repaired")  # as if the power had gone before the second renaming
    assert doctor.doctor(Config(store=str(tmp_path / "store"))) == {"good": 1, "bad": 0}
    (tmp_path / "store/store.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="has format 2, this robo_reward knows 1"):
        doctor.doctor(Config(store=str(tmp_path / "store")))
    with pytest.raises(FileNotFoundError, match="no transition store in"):
        doctor.doctor(Config(store=str(tmp_path / "nothing")))
