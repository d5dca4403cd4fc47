"""Videos: what is written is read back, and a damaged file is told in one line."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest

av = pytest.importorskip("av")

from robo_reward.data import video as video_module  # noqa: E402
from robo_reward.data.video import read_video, resize, write_video  # noqa: E402


def moving_square(count: int, height: int = 84, width: int = 84) -> np.ndarray:
    frames = np.full((count, height, width, 3), (90, 110, 130), np.uint8)
    for i in range(count):
        frames[i, 20 : 20 + 12, 3 + i : 15 + i] = (220, 60, 40)
    return frames


def test_a_video_reads_back(tmp_path):
    frames = moving_square(30)
    write_video(tmp_path / "new" / "a.mp4", frames, 20)
    video = read_video(tmp_path / "new" / "a.mp4")
    assert video.frames.shape == frames.shape and video.fps == 20 and video.length == 30
    assert np.abs(video.frames.astype(int) - frames).mean() < 2
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


def test_a_written_video_plays_in_browsers(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(8, height=85, width=63), 12.5)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec.canonical_name == "h264" and stream.pix_fmt == "yuv420p"
        assert (stream.height, stream.width) == (86, 64)  # 4:2:0 has no odd sizes
        assert float(stream.average_rate) == 12.5
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # starts before it is loaded completely


def test_stride_and_size(tmp_path):
    frames = moving_square(31, height=60, width=80)
    write_video(tmp_path / "a.mp4", frames, 30)
    video = read_video(tmp_path / "a.mp4", stride=4, size=(30, 40))
    assert video.frame_numbers.tolist() == list(range(0, 31, 4)) and video.length == 31
    assert video.frames.shape == (8, 30, 40, 3)
    smaller = frames[::4].reshape(8, 30, 2, 40, 2, 3).mean((2, 4))
    assert np.abs(video.frames - smaller).mean() < 3
    assert read_video(tmp_path / "a.mp4", size=16).frames.shape == (31, 16, 16, 3)


@pytest.mark.parametrize("keep", [0.0, 0.05, 0.5, 0.9])
def test_a_cut_off_video_is_told(tmp_path, keep):
    rng = np.random.default_rng(0)
    path = tmp_path / "cut.mp4"
    write_video(path, rng.integers(0, 255, (40, 64, 64, 3), np.uint8), 20)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(ValueError, match=r"cut\.mp4.*(cut off|does not decode)") as caught:
        read_video(path)
    assert "\n" not in str(caught.value)


def trim(path, first, count):
    """What trimming without encoding again leaves: an edit list that shows `count` frames from `first` on."""
    data = bytearray(path.read_bytes())
    at = data.find(b"elst") + 12
    _, delay = struct.unpack_from(">Ii", data, at)  # the frames are reordered, so the first does not start at 0
    struct.pack_into(">Ii", data, at, count * 50, delay + first * 512)  # [ms], and ticks of 1/10240 s, at 20 a second
    path.write_bytes(data)


def test_a_trimmed_video_is_read_as_it_plays(tmp_path):
    frames = moving_square(60)
    write_video(tmp_path / "a.mp4", frames, 20)
    trim(tmp_path / "a.mp4", 7, 12)
    video = read_video(tmp_path / "a.mp4")
    assert video.length == 12 and np.abs(video.frames.astype(int) - frames[7:19]).mean() < 2


def test_a_trimmed_video_that_lacks_frames_is_told(tmp_path, monkeypatch):
    """Also where only frames are missing that it does not show: nobody knows what else was lost."""
    path = tmp_path / "cut.mp4"
    write_video(path, moving_square(40), 20)
    trim(path, 3, 10)
    assert read_video(path).length == 10
    monkeypatch.setattr(video_module, "_untrimmed_length", lambda path: 12)
    with pytest.raises(ValueError, match=r"cut\.mp4 is cut off: it holds 12 of \d+ frames"):
        read_video(path)


def test_garbage_and_missing_files_are_told(tmp_path):
    (tmp_path / "garbage.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ValueError, match=r"garbage\.mp4 does not decode"):
        read_video(tmp_path / "garbage.mp4")
    with pytest.raises(FileNotFoundError, match=r"none\.mp4 does not exist"):
        read_video(tmp_path / "none.mp4")


@pytest.mark.parametrize("arguments", [{"stride": 0}, {"size": 0}, {"size": (10, -1)}])
def test_impossible_reading_is_refused(tmp_path, arguments):
    write_video(tmp_path / "a.mp4", moving_square(3), 20)
    with pytest.raises(ValueError, match="must be at least 1"):
        read_video(tmp_path / "a.mp4", **arguments)


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), 20),
        (np.zeros((4, 8, 8), np.uint8), 20),
        (np.zeros((4, 8, 8, 3), np.float32), 20),
        (np.zeros((4, 8, 8, 3), np.uint8), 0),
    ],
)
def test_impossible_writing_is_refused_and_leaves_no_file(tmp_path, frames, fps):
    with pytest.raises(ValueError):
        write_video(tmp_path / "a.mp4", frames, fps)
    assert not list(tmp_path.iterdir())


def test_a_real_recording(shared_data):
    path = shared_data / "clear_table" / "episode_001" / "cam_high.mp4"
    if not path.is_file():
        pytest.skip("this recording is not here")
    video = read_video(path, stride=60, size=84)
    assert video.length == 1277 and video.fps == 30 and video.frames.shape == (22, 84, 84, 3)
    assert video.frames.std() > 20


def test_frames_that_the_decoder_had_to_make_up_are_told(tmp_path):
    rng = np.random.default_rng(0)
    write_video(tmp_path / "whole.mp4", moving_square(60), 20)
    whole = (tmp_path / "whole.mp4").read_bytes()
    answers = []
    for share in np.linspace(0.2, 0.9, 12):  # some damage stops the decoder, most only makes it guess
        data, start = bytearray(whole), whole.find(b"mdat") + 800  # behind the encoder's own notes
        at = int(start + share * (len(whole) - start))
        data[at : at + 20] = rng.integers(0, 255, 20, np.uint8).tobytes()
        (tmp_path / "damaged.mp4").write_bytes(data)
        try:
            read_video(tmp_path / "damaged.mp4")
        except ValueError as error:
            answers.append(str(error))
    told = [answer for answer in answers if re.search(r"damaged\.mp4 is damaged: frame \d+ does not decode", answer)]
    assert len(told) >= 3 and not any("\n" in answer for answer in answers)


def test_frames_are_scaled_as_the_reader_scales_them(tmp_path):
    write_video(tmp_path / "a.mp4", moving_square(3, height=60, width=80), 30)
    whole, small = read_video(tmp_path / "a.mp4"), read_video(tmp_path / "a.mp4", size=32)
    assert whole.file_size == small.file_size == (60, 80)
    assert np.abs(resize(whole.frames, 32).astype(int) - small.frames).mean() < 2  # colours are scaled in RGB here
    assert resize(small.frames, 32) is small.frames
