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
