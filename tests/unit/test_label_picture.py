"""The picture of an episode's keyframes."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

from robo_reward.evaluation.label_picture import SHOWN, label_picture  # noqa: E402

PHI = np.linspace(0, 1, 21)
RED, BLUE = (250, 0, 0), (0, 0, 250)


def picture(keyframes=(0, 8, 20), views=("front", "wrist"), **more) -> bytes:
    frames = {view: np.zeros((21, 32, 32, 3), np.uint8) for view in views}
    for at in frames.values():
        at[:8], at[8:] = RED, BLUE
    return label_picture(keyframes, PHI, PHI, PHI, frames=frames, frame_steps=np.arange(21), **more)


def share(png: bytes, colour: tuple[int, int, int]) -> float:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return float((np.abs(pixels - colour).max(-1) < 8).mean())


def test_it_shows_the_frames_at_the_keyframes_of_every_view():
    png = picture()
    assert share(png, BLUE) == pytest.approx(2 * share(png, RED), rel=0.1) and share(png, RED) > 0.01
    assert share(picture(views=("front",)), RED) > 0.01
    assert share(picture(keyframes=(0, 3, 20)), RED) > 1.5 * share(png, RED)


def test_the_same_data_give_the_same_file_and_other_keyframes_another():
    assert picture() == picture() != picture(keyframes=(0, 9, 20))
    assert picture(true=(7,)) != picture()


def test_without_views_there_is_only_the_curve():
    png = picture(views=())
    assert share(png, RED) == 0 and Image.open(io.BytesIO(png)).size[0] == Image.open(io.BytesIO(picture())).size[0]


def test_many_keyframes_do_not_widen_it():
    assert len(range(0, 21)) > SHOWN
    wide, narrow = (Image.open(io.BytesIO(picture(keyframes=keys))) for keys in (range(21), (0, 20)))
    assert wide.size == narrow.size


@pytest.mark.parametrize("keyframes", [(), (0, 21), (-1, 5)])
def test_keyframes_outside_the_episode_are_refused(keyframes):
    with pytest.raises(ValueError, match=r"outside the episode: expected at least one, within \[0, 20\]"):
        picture(keyframes=keyframes)
