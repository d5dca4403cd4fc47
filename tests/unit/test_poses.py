"""Poses as axes and as quaternions."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.hardware.poses import from_axes, to_axes


def test_poses_go_there_and_back():
    rng = np.random.default_rng(0)
    for _ in range(100):
        axes = np.concatenate([rng.normal(size=3), rng.normal(size=3)])
        axes[3:] *= rng.uniform(0, np.pi - 0.01) / np.linalg.norm(axes[3:])
        position, quaternion = from_axes(axes)
        assert np.linalg.norm(quaternion) == pytest.approx(1)
        np.testing.assert_allclose(to_axes(position, quaternion), axes, atol=1e-9)
        np.testing.assert_allclose(to_axes(position, -quaternion), axes, atol=1e-9)
    np.testing.assert_allclose(from_axes(np.zeros(6))[1], [1, 0, 0, 0])
    yaw = from_axes(np.array([0, 0, 0, 0, 0, np.pi / 2]))[1]
    np.testing.assert_allclose(np.abs(yaw), [np.sqrt(0.5), np.sqrt(0.5), 0, 0], atol=1e-12)
