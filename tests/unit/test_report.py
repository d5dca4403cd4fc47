"""report.html is opened from a disk without a network, shows what was measured, and runs nothing it was given."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest

from robo_reward.evaluation import report
from robo_reward.evaluation.report import SuccessRow, VideoItem, write_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


class Page(HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.hidden = [], "", False
        self.feed(Path(path).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag == "style"

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        self.text += "" if self.hidden else data


def everything(folder, words="plain"):
    """One section of every kind, with `words` wherever a string goes in."""
    video = folder / "videos" / f"ep 1 #{len(words)}.mp4"
    video.parent.mkdir(parents=True, exist_ok=True)
    video.write_bytes(b"")
    return [
        report.headline([(words, words, words)]),
        report.figure(words, "<svg xmlns='http://www.w3.org/2000/svg'/>", words, words),
        report.table(words, [words, "VOC"], [[words, 0.98], ["counter", None]], emphasis=0, note=words),
        report.success_table(words, [SuccessRow(words, 31, 100, note=words)], difference=(0.6, 0.5, 0.7), note=words),
        report.videos(words, [VideoItem(video, words, True)], folder, words),
        report.settings(words, words, {words: words}, words),
    ]


def test_the_page_loads_nothing_from_outside_and_its_videos_by_relative_links(tmp_path):
    page = Page(write_report(tmp_path / "run" / "report.html", everything(tmp_path / "run")))
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    videos = [link for link in links if not link.startswith(("data:", "#"))]
    assert len(videos) == 1 and not urlsplit(videos[0]).scheme
    assert (tmp_path / "run" / unquote(urlsplit(videos[0]).path)).is_file()
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "url(" not in (tmp_path / "run" / "report.html").read_text()


def test_no_string_can_bring_markup_into_the_page(tmp_path):
    path = write_report(tmp_path / "r.html", everything(tmp_path, HOSTILE), title=HOSTILE, subtitle=HOSTILE)
    plain = write_report(tmp_path / "p.html", everything(tmp_path, "plain"), title="plain", subtitle="plain")
    hostile_page, plain_page = Page(path), Page(plain)
    assert [tag for tag, _ in hostile_page.tags] == [tag for tag, _ in plain_page.tags]
    assert not any(name.startswith("on") for _, attrs in hostile_page.tags for name in attrs)
    assert hostile_page.text.count(HOSTILE) == plain_page.text.count("plain")


def test_the_success_table_shows_counts_rate_and_interval_of_every_policy(tmp_path):
    rows = [SuccessRow("base", 31, 100), SuccessRow("trained", 92, 100, emphasis=True)]
    section = report.success_table("Success", rows, difference=(0.61, 0.50, 0.70))
    text = Page(write_report(tmp_path / "r.html", [section])).text
    for shown in ("31 / 100", "31%", "23% to 41%", "92 / 100", "85% to 96%", "+61 points", "+50 to +70", "above zero"):
        assert shown in text


@pytest.mark.parametrize(
    ("difference", "words"),
    [((0.05, -0.02, 0.12), "no difference shown"), ((-0.2, -0.3, -0.1), "below zero"), ((0.2, 0.1, 0.3), "above zero")],
)
def test_the_verdict_follows_the_interval_not_the_estimate(tmp_path, difference, words):
    section = report.success_table("s", [SuccessRow("base", 1, 2)], difference=difference)
    assert words in Page(write_report(tmp_path / "r.html", [section])).text


def test_a_missing_measurement_is_a_dash_and_not_a_zero(tmp_path):
    section = report.table("Reward", ["model", "VOC", "AUC"], [["oracle", 1.0, None], ["compact", 0.98, 0.5]])
    text = Page(write_report(tmp_path / "r.html", [section])).text
    assert "–" in text and "0.980" in text


def test_the_headline_shows_what_the_summary_has(tmp_path):
    summary = {"base_success": 0.31, "final_success": 0.92, "rollouts": 150, "rollouts_to_0_8_success": None}
    text = Page(write_report(tmp_path / "r.html", [report.summary_headline(summary)])).text
    assert "31% → 92%" in text and "150" in text and "never" in text and "wall time" not in text


def test_a_row_of_the_wrong_length_and_a_missing_video_are_errors(tmp_path):
    with pytest.raises(ValueError, match="row 0 has 1 cells; expected 2"):
        report.table("t", ["a", "b"], [["only one"]])
    with pytest.raises(FileNotFoundError, match=r"none\.mp4"):
        report.videos("v", [VideoItem(tmp_path / "none.mp4", "")], tmp_path)


# ---- plots ----


@pytest.fixture
def plots():
    pytest.importorskip("matplotlib")
    from robo_reward.evaluation import plots

    return plots


def test_the_learning_curve_is_a_drawing_with_base_controls_and_target_named(plots):
    options = {"base": 0.31, "target": 0.95, "controls": {"sparse": ([0, 10], [0.3, 0.6])}}
    svg = plots.learning_curve([0, 10, 20], [31, 60, 92], 100, **options)
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    for words in ("base policy, 31%", "trained policy", "sparse", "target 95%", "online rollouts"):
        assert words in svg  # matplotlib leaves the words of a drawn text in a comment
    assert svg == plots.learning_curve([0, 10, 20], [31, 60, 92], 100, **options)


def test_progress_curves_take_episodes_of_different_lengths_and_one_sided_outcomes(plots):
    svg = plots.progress_curves([[0.0, 0.5, 1.0], [0.0, 1.0]], [[0.0, 0.1]], seconds_per_step=0.05)
    assert "successes, median of 2" in svg and "failures, median of 1" in svg
    assert "failures" not in plots.progress_curves([[0.0, 1.0]], [], seconds_per_step=0.05)


def test_plots_of_nothing_are_errors(plots):
    with pytest.raises(ValueError, match="equal numbers"):
        plots.learning_curve([0, 10], [3], 100)
    with pytest.raises(ValueError, match="no episodes"):
        plots.progress_curves([], [], seconds_per_step=0.05)
