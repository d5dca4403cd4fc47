"""An episode video plays in a browser and shows the curve up to, not beyond, the current frame."""

import numpy as np
import pytest

pytest.importorskip("PIL")
av = pytest.importorskip("av")

from robo_reward.evaluation.video import write_episode_video  # noqa: E402

N, FPS = 12, 5


@pytest.fixture
def frames():
    """Grey pictures: every strong blue pixel belongs to the progress curve."""
    return {view: np.full((N, 84, 84, 3), 120, np.uint8) for view in ("front", "side", "wrist")}


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        properties = (stream.codec_context.name, stream.codec_context.pix_fmt, float(stream.average_rate))
        return properties, np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def curve(frame):
    """Rows and columns of the chart (left of the legend) that hold a pixel of the blue progress curve."""
    chart = frame[300:, : frame.shape[1] - 180].astype(int)
    return np.nonzero(chart[..., 2] - chart[..., 0] > 70)


def test_the_file_is_h264_in_the_pixel_format_browsers_play(frames, tmp_path):
    path = write_episode_video(tmp_path / "new" / "ep.mp4", frames, np.linspace(0, 1, N), fps=FPS, title="t")
    (codec, pixels, rate), video = decode(path)
    assert (codec, pixels, rate) == ("h264", "yuv420p", FPS)
    assert len(video) > N  # the last frame is held
    raw = path.read_bytes()
    assert raw.find(b"moov") < raw.find(b"mdat")  # plays before it is loaded to the end


def test_the_curve_grows_with_the_frames_and_never_shows_the_future(frames, tmp_path):
    _, video = decode(write_episode_video(tmp_path / "a.mp4", frames, np.linspace(0, 1, N), fps=FPS))
    reach = [curve(frame)[1].max() for frame in video[:N]]
    assert np.all(np.diff(reach) > 0)
    assert reach[0] < 0.15 * reach[-1]


def test_higher_progress_is_drawn_higher(frames, tmp_path):
    rows = []
    for name, phi in (("low", 0.1), ("high", 0.9)):
        _, video = decode(write_episode_video(tmp_path / f"{name}.mp4", frames, np.full(N, phi), fps=FPS))
        rows.append(curve(video[-1])[0].mean())
    assert rows[1] < rows[0] - 50


def test_the_outcome_appears_on_the_last_frame_only(frames, tmp_path):
    _, video = decode(write_episode_video(tmp_path / "a.mp4", frames, np.linspace(0, 1, N), fps=FPS, success=True))
    header = video[:, 1:3].astype(int).mean(axis=(1, 2))
    assert np.all(header[: N - 1] > 250)
    assert np.all(header[N - 1 :, 1] > header[N - 1 :, 0] + 60)  # green


def test_one_view_of_an_odd_size_and_perspectives_and_a_long_title_fit(tmp_path):
    view = {"head": np.zeros((3, 71, 97, 3), np.uint8)}
    curves = {name: np.array([0.0, 0.5, 1.2]) for name in ("incremental", "forward", "backward")}
    path = write_episode_video(tmp_path / "a.mp4", view, [0, 0.5, 1], fps=20, perspectives=curves, title="word " * 99)
    (_, _, _), video = decode(path)
    assert video.shape[1] % 2 == 0 and video.shape[2] % 2 == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"phi_N": np.zeros(N - 1)}, "progress"),
        ({"phi_N": np.full(N, np.nan)}, "finite"),
        ({"fps": 0}, "fps is 0"),
        ({"frames": {}}, "at least one view"),
        ({"frames": {"front": np.zeros((N, 8, 8, 3))}}, "view front"),
        ({"perspectives": {"forward": np.zeros(3)}}, "forward"),
    ],
)
def test_wrong_input_is_named_in_a_value_error_and_leaves_no_file(frames, tmp_path, change, words):
    arguments = {"frames": frames, "phi_N": np.zeros(N), "fps": FPS} | change
    with pytest.raises(ValueError, match=words):
        write_episode_video(tmp_path / "a.mp4", arguments.pop("frames"), arguments.pop("phi_N"), **arguments)
    assert not list(tmp_path.iterdir())
