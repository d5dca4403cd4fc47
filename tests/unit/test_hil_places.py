"""Return-and-explore: where a policy got stuck, how a simulator comes back there, and who drives from there when."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest

from robo_reward.config import Config, HilConfig
from robo_reward.hil.places import Place, Returning, find_trouble, load_places, propose, save_place
from robo_reward.hil.schedule import Past, schedule
from robo_reward.settings import build
from robo_reward.testing.episodes import make_episode


@pytest.mark.parametrize(
    ("phi", "found"),
    [
        ([0, 0.2, 0.4, 0.4, 0.4, 0.41, 0.4], (2, "stalls")),
        ([0, 0.2, 0.6, 0.5, 0.4, 0.4, 0.4], (2, "falls")),
        ([0, 0.6, 0.3, 0.7, 0.7, 0.7, 0.7], (1, "falls")),
        ([0.1] * 7, (0, "stalls")),
        ([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None),  # time ran out on the way
        ([0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03], None),  # slow, but it gets on
    ],
)
def test_trouble_is_where_the_potential_stalls_or_falls(phi, found):
    assert find_trouble(np.array(phi, np.float32), least=3) == found


class World(gymnasium.Env):
    """Sums what it is told, with noise that depends on the seed and the step."""

    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.sum = self.np_random.normal(size=2)
        return {"sum": self.sum.copy()}, {}

    def step(self, action):
        self.sum = self.sum + action + self.np_random.normal(size=2)
        return {"sum": self.sum.copy()}, 0.0, bool(np.abs(self.sum).max() > 1e6), False, {}


def episode(steps, success=False, pictures=()):
    ones = np.ones(steps + 1, np.float32)
    frames = {"front": np.arange(len(pictures), dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)}
    return make_episode(
        steps, success=success, terminated=False, instruction="do", seed=7, agent_pos=ones[:, None],
        estimate=ones[:, None], action=np.zeros((steps, 2), np.float32), reward=ones[1:], oracle=ones,
        frame_steps=np.array(pictures, np.int64), frames=frames if pictures else {},
    )  # fmt: skip


def drive(env, actions):
    return [env.step(action)[0]["sum"] for action in actions]


def test_a_simulator_comes_back_to_the_very_state_and_from_there_to_another():
    rng, env = np.random.default_rng(0), Returning(World())
    actions = rng.uniform(-1, 1, (9, 2)).astype(np.float32)
    stalls = np.array([0, 0.2, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4], np.float32)
    env.reset(seed=7)
    went = drive(env, actions)
    place = propose(env, 3, episode(9), stalls, least=3)
    assert (place.number, place.seed, place.step, place.reason) == (3, 7, 2, "stalls")
    assert place == Place(**{**json.loads(json.dumps(vars(place))), "actions": place.actions})
    env.begin = {50: place}
    assert np.array_equal(env.reset(seed=50)[0]["sum"], went[1])
    assert np.array_equal(drive(env, actions[2:]), went[2:])
    second = propose(env, 4, episode(7), stalls[:8], least=3)  # on the way from there it got stuck again
    env.begin = {51: second}
    assert second.seed == 7 and np.array_equal(env.reset(seed=51)[0]["sum"], went[3])
    assert not np.array_equal(env.reset(seed=52)[0]["sum"], went[1])


def test_pegs_and_sockets_come_back_exactly():
    pytest.importorskip("mujoco")
    import robo_reward.envs  # noqa: F401

    env = Returning(gymnasium.make("robo_reward/PegInsert-v0", horizon=40))
    rng = np.random.default_rng(0)
    env.reset(seed=3)
    actions = [np.append(rng.uniform(-0.5, 0.5, 2), [-1, 0.1]).astype(np.float32) for _ in range(30)]
    went = [env.step(action)[0] for action in actions]
    env.begin = {9: Place(0, 3, tuple(tuple(map(float, action)) for action in actions[:20]), 20, 0.5, "stalls")}
    again = [env.reset(seed=9)[0], *(env.step(action)[0] for action in actions[20:])]
    for wanted, found in zip(went[19:], again, strict=True):
        for key in wanted:
            np.testing.assert_array_equal(wanted[key], found[key])


def test_a_success_and_an_episode_that_got_on_propose_nothing_and_pictures_decide_the_step():
    env = Returning(World())
    env.reset(seed=7)
    drive(env, np.zeros((6, 2), np.float32))
    stalls = np.array([0, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4], np.float32)
    assert propose(env, 0, episode(6, success=True), stalls, 3) is None
    assert propose(env, 0, episode(6), np.linspace(0, 0.6, 7, dtype=np.float32), 3) is None
    pictured = propose(env, 0, episode(6, pictures=(0, 2, 6)), stalls, 3)
    assert (pictured.step, len(pictured.actions), pictured.phi) == (2, 2, 0.3)


def test_places_are_kept_with_their_pictures(tmp_path):
    pil = pytest.importorskip("PIL.Image")
    place = Place(4, 7, ((0.25, -1.0),), 2, 0.3, "falls")
    save_place(tmp_path / "places", place, episode(6, pictures=(0, 2, 6)))
    save_place(tmp_path / "places", Place(9, 7, (), 0, 0.0, "stalls"), episode(6))
    assert load_places(tmp_path / "places", 9) == [place]
    assert np.asarray(pil.open(tmp_path / "places" / "00004.png"))[0, 0, 0] == 1  # the second picture
    (tmp_path / "places" / "00004.json").write_text("{}")
    with pytest.raises(ValueError, match=r"00004.json is no place of this program: delete it"):
        load_places(tmp_path / "places", 9)


def test_a_place_whose_episode_ends_on_the_way_is_refused():
    env = Returning(World())
    env.begin = {1: Place(0, 7, ((1e7, 0.0),), 1, 0.0, "stalls")}
    with pytest.raises(ValueError, match="place 0: its episode ends on the way there"):
        env.reset(seed=1)


GRADED = HilConfig(kind="simulated", protocol="graded", demonstrations=2, returns=2)
PLACES = [Place(number, 0, (), 0, 0.0, "stalls") for number in (2, 4)]


def run(past, places=PLACES, minutes=1.0, settings=GRADED):
    grade, place = schedule(settings, [Past(*row) for row in past], places, minutes)
    return grade, place and place.number


def test_demonstrations_come_first_and_need_minutes():
    assert run([], []) == run([("demonstrate", -1, True)], []) == ("demonstrate", None)
    assert run([("demonstrate", -1, True)] * 2, []) == ("free", None)
    assert run([], [], minutes=0.0) == ("free", None)
    only = HilConfig(kind="simulated", protocol="demonstrations", demonstrations=1)
    assert run([("demonstrate", -1, True), ("free", -1, False)], settings=only) == ("free", None)


SHOWN = [("demonstrate", -1, True)] * 2
FREE, LOST = ("free", -1, False), ("return", 4, False)


def test_the_policy_tries_a_place_before_the_operator_shows_it_and_tries_again_after():
    assert run([*SHOWN, FREE]) == ("return", 4)  # the newest
    assert run([*SHOWN, FREE, LOST]) == ("free", None)  # every second one is free
    assert run([*SHOWN, FREE, LOST, FREE]) == ("return", 2)  # fewest tries
    one = PLACES[1:]
    assert run([*SHOWN, FREE, LOST, FREE, LOST, FREE], one) == ("guide", 4)
    assert run([*SHOWN, FREE, LOST, FREE, LOST, FREE], one, minutes=0.0) == ("return", 4)
    assert run([*SHOWN, FREE, LOST, FREE, LOST, FREE, ("guide", 4, True), FREE], one) == ("return", 4)
    assert run([*SHOWN, FREE, ("return", 4, True), FREE], one) == ("free", None)  # mastered


def test_help_is_asked_for_until_the_policy_succeeds_often_enough():
    won = ("free", -1, True)
    assert run([*SHOWN, *[won] * 9]) == ("return", 4)
    assert run([*SHOWN, *[won] * 9, FREE]) == ("free", None)
    assert run([*SHOWN, *[won] * 8, FREE, FREE]) == ("return", 4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hil": {"protocol": "graded"}}, "hil.protocol=graded is an operator's: add hil=simulated"),
        ({"hil": {"kind": "simulated", "protocol": "graded"}, "shaping": {"kind": "none"}}, "give a shaping other"),
        ({"hil": {"kind": "simulated", "protocol": "graded"}, "robot": {"file": "sim_arm"}}, "no robot may do that"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        build(Config, settings)
