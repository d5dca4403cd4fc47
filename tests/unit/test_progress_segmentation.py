"""Keyframes from pixels and signals: the boundaries of synthetic episodes are found, those of shuffled ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from robo_reward.progress.agreement import agreement, even_keyframes, matched
from robo_reward.progress.segmentation import (
    EventSignal,
    event_keyframes,
    pixel_embedding,
    uvd_keyframes,
    variance_keyframes,
)

SIZE = 48


def film(path: np.ndarray, views: tuple[str, ...] = ("front", "side")) -> dict[str, np.ndarray]:
    """A bright square whose centre follows `path`, (N, 2) in [0, 1], under camera noise."""
    rng = np.random.default_rng(0)
    row, column = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    near = np.exp(-((row - path[:, :1, None]) ** 2 + (column - path[:, 1:, None]) ** 2) / 0.02)
    noisy = 60 + 150 * near[..., None] + rng.normal(0, 2, (len(path), SIZE, SIZE, 3))
    return dict.fromkeys(views, noisy.clip(0, 255).astype(np.uint8))


def corners(*ends: tuple[float, float], steps: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """A path from corner to corner, and the frames in which it turns."""
    parts = [np.linspace(a, b, n, endpoint=False) for a, b, n in zip(ends, ends[1:], steps, strict=False)]
    return np.concatenate([*parts, np.array([ends[-1]])]), tuple(int(t) for t in np.cumsum(steps)[:-1])


def zigzag() -> tuple[np.ndarray, tuple[int, ...]]:
    """Away from the goal, past it and back: each leg starts where the goal of the next one was furthest."""
    return corners((0.5, 0.3), (0.5, 0.85), (0.5, 0.1), (0.5, 0.7), steps=(22, 30, 25))


def near(found: tuple[int, ...], true: tuple[int, ...], steps: int = 3) -> bool:
    return len(found) == len(true) and all(abs(a - b) <= steps for a, b in zip(found, true, strict=True))


def shuffled(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(count)


def stops(*lengths: int, seed: int = 0) -> tuple[np.ndarray, tuple[int, ...]]:
    """Rows that stay near one place a segment, and the first row of each new one."""
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(99).normal(size=(len(lengths), 6)) * 3
    rows = np.concatenate([np.tile(place, (n, 1)) for place, n in zip(places, lengths, strict=True)])
    return rows + rng.normal(0, 0.2, rows.shape), tuple(int(t) for t in np.cumsum(lengths)[:-1])


def test_uvd_finds_where_a_film_turns():
    path, turns = zigzag()
    assert near(uvd_keyframes(pixel_embedding(film(path))), turns)


def test_uvd_of_a_straight_way_is_one_segment():
    path, _ = corners((0.5, 0.1), (0.5, 0.9), steps=(40,))
    assert uvd_keyframes(pixel_embedding(film(path))) == ()


def test_uvd_does_not_find_turns_in_shuffled_frames():
    path, turns = zigzag()
    embedding = pixel_embedding(film(path))
    found = [uvd_keyframes(embedding[shuffled(len(embedding), seed)]) for seed in range(10)]
    assert sum(near(keys, turns) for keys in found) == 0


def test_uvd_keeps_segments_apart():
    path, turns = zigzag()
    assert near(uvd_keyframes(pixel_embedding(film(path)), apart=20), turns)
    keys = uvd_keyframes(pixel_embedding(film(path)), apart=28)  # the last leg is shorter than this
    assert all(b - a >= 28 for a, b in zip((0, *keys), (*keys, len(path) - 1), strict=True))


def test_variance_finds_the_stops_of_every_demonstration():
    rows, cuts = zip(*(stops(*lengths, seed=i) for i, lengths in enumerate([(9, 14, 6), (12, 5, 20)])), strict=True)
    assert variance_keyframes(rows, 3) == list(cuts)
    assert [len(keys) for keys in variance_keyframes(rows, 2)] == [1, 1]
    assert variance_keyframes(rows, 1) == [(), ()]


def test_variance_does_not_find_the_stops_of_shuffled_frames():
    rows, cuts = stops(9, 14, 6)
    mixed = [rows[shuffled(len(rows), seed)] for seed in range(10)]
    assert sum(near(keys, cuts, 1) for keys in variance_keyframes(mixed, 3)) <= 1


def test_variance_is_the_least_of_all_divisions():
    rows = np.random.default_rng(3).normal(size=(14, 2)).cumsum(0)

    def inside(*cuts: int) -> float:
        edges = (0, *cuts, len(rows))
        return sum(
            float(((p := rows[a:b]) - p.mean(0)).__pow__(2).sum()) for a, b in zip(edges, edges[1:], strict=False)
        )

    every = [(a, b) for a in range(2, 13) for b in range(a + 2, 13)]
    assert variance_keyframes([rows], 3, apart=2) == [min(every, key=lambda cuts: inside(*cuts))]


def signal(*levels: tuple[float, int], noise: float = 0.0) -> np.ndarray:
    values = np.concatenate([np.full(n, level) for level, n in levels])
    return (values + np.random.default_rng(1).normal(0, noise, len(values)))[:, None]


TOUCH, GRIPPER = EventSignal(0, "contact", 4.0, slack=2.0), EventSignal(0, "gripper", 0.05, slack=0.01)


def test_a_contact_begins_and_ends_whatever_its_sign_and_the_sensor_offset():
    for sign in (1, -1):
        assert event_keyframes(sign * signal((0.0, 20), (8.0, 9), (0.0, 8), noise=0.2), [TOUCH]) == (20, 29)
    assert event_keyframes(signal((12.0, 20), (20.0, 9), noise=0.2), [TOUCH]) == (20,)


def test_a_short_contact_ends_too_but_what_follows_at_once_is_no_new_one():
    bounces = signal((0.0, 20), (8.0, 3), (0.0, 3), (8.0, 3), (0.0, 20), (8.0, 9))
    assert event_keyframes(bounces, [TOUCH]) == (20, 23, 49)
    assert event_keyframes(bounces, [TOUCH], apart=1) == (20, 23, 26, 29, 49)


def test_closing_and_opening_are_both_events():
    assert event_keyframes(signal((0.08, 10), (0.03, 20), (0.08, 9)), [GRIPPER]) == (10, 30)


def test_events_are_debounced():
    chatter = signal((0.0, 20), (8.0, 1), (0.0, 10), (8.0, 6), (0.0, 1), (8.0, 6))
    assert event_keyframes(chatter, [TOUCH]) == (31,)
    assert event_keyframes(chatter, [TOUCH], hold=1) == (20, 21, 31, 37)
    wavering = signal((0.0, 10), (4.5, 3), (3.0, 3), (4.5, 3), (0.0, 9))  # within the hysteresis
    assert event_keyframes(wavering, [TOUCH], apart=1) == (10, 19)


def test_events_of_several_columns_that_come_together_are_one():
    both = np.concatenate([signal((0.0, 20), (8.0, 20)), signal((0.08, 22), (0.03, 18))], axis=1)
    signals = [TOUCH, EventSignal(1, "gripper", 0.05)]
    assert event_keyframes(both, signals) == (20,)
    assert event_keyframes(both, signals, apart=1) == (20, 22)


def test_a_shuffled_signal_has_no_event_at_the_true_place_alone():
    rows = signal((0.0, 20), (8.0, 15), noise=0.2)
    found = [event_keyframes(rows[shuffled(len(rows), seed)], [TOUCH]) for seed in range(10)]
    assert (20,) not in found


@pytest.mark.parametrize("frames", [1, 2, 40])
def test_nothing_that_moves_means_no_keyframes(frames):
    still = {"front": np.full((frames, SIZE, SIZE, 3), 90, np.uint8)}
    embedding = pixel_embedding(still)
    assert np.array_equal(embedding, np.zeros_like(embedding)) and len(embedding) == frames
    assert uvd_keyframes(embedding) == ()
    assert variance_keyframes([embedding, embedding], 3) == [(), ()]
    assert event_keyframes(np.full((frames, 3), 0.07), [TOUCH, GRIPPER]) == ()


def test_an_episode_too_short_for_the_segments_has_none():
    rows = np.arange(9.0)[:, None]
    assert variance_keyframes([rows, rows[:8]], 3, apart=3) == [(3, 6), ()]


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_the_shortest_episodes_have_none(frames):
    rows = np.random.default_rng(0).normal(size=(frames, 4)) * 10
    assert uvd_keyframes(rows) == () and uvd_keyframes(rows, apart=1) == ()
    assert variance_keyframes([rows], 3) == [()]
    assert event_keyframes(rows, [TOUCH, GRIPPER], hold=1, apart=1) == ()


def test_keyframes_always_increase_inside_the_episode():
    rng = np.random.default_rng(5)
    for length in (3, 7, 30):
        rows = rng.normal(size=(length, 3)).cumsum(0) * 3
        for keys in (
            uvd_keyframes(rows, apart=1, smooth=0, rise=0),
            *variance_keyframes([rows], 3, apart=1),
            event_keyframes(rows, [EventSignal(1, "contact", 2.0)], hold=1, apart=1),
        ):
            assert all(0 < a < length - 1 for a in keys)
            assert all(a < b for a, b in zip(keys, keys[1:], strict=False))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pixel_embedding({}), "at least one camera view"),
        (lambda: uvd_keyframes(np.zeros(5)), r"shape \(5,\): expected \(frames, features\)"),
        (lambda: uvd_keyframes(np.full((5, 2), np.nan)), "not finite"),
        (lambda: uvd_keyframes(np.zeros((5, 2)), apart=0), "apart=0: must be >= 1"),
        (lambda: variance_keyframes([np.zeros((5, 2))], 0), "segments=0: must be >= 1"),
        (lambda: variance_keyframes([np.full((5, 2), np.inf)], 2), "not finite"),
        (lambda: event_keyframes(np.zeros((5, 2)), [EventSignal(2, "contact", 1.0)]), "column 2 .*expected 0 to 1"),
        (lambda: event_keyframes(np.zeros((5, 2)), [TOUCH], hold=0), "hold=0: must be >= 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_matching_is_one_to_one_in_order_and_the_nearest_on_the_whole():
    assert matched([10, 21], [9, 20, 40]) == [(10, 9), (21, 20)]
    assert matched([38], [9, 20, 40]) == [(38, 40)]
    assert matched([5, 19, 22, 60], [20, 50]) == [(19, 20), (60, 50)]
    assert matched([19, 21], [20, 90]) == [(19, 20), (21, 90)]  # one found keyframe serves one true one
    assert matched([], [3]) == [] and matched([3], []) == []


def test_agreement_counts_what_is_missing():
    numbers = agreement({"a": (10, 30)}, {"a": (12, 31, 50), "b": (5,)})
    assert numbers == {
        "episodes": 2, "found": 1.0, "true": 2.0, "median_error_steps": 1.5, "within_5_steps": 0.5,
    }  # fmt: skip
    assert agreement({}, {}) == {}
    assert "median_error_steps" not in agreement({}, {"a": (3,)})


def test_the_control_spreads_keyframes_evenly():
    assert even_keyframes(3, 40) == (10, 20, 30) and even_keyframes(0, 40) == ()
