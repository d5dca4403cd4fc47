"""Perturbed worlds: paired initial states, one axis changed, nothing left behind."""

import gymnasium
import numpy as np
import pytest

import robo_reward.envs  # noqa: F401 - registers the ids
from robo_reward.envs.perturbation import AXES, VISUAL, Perturbed, Randomised, paraphrase
from robo_reward.envs.seeing import Seeing

pytest.importorskip("mujoco")


@pytest.fixture(scope="module")
def world():
    env = gymnasium.make("robo_reward/PegInsert-v0")
    yield env
    env.close()


@pytest.fixture
def perturbed(world):
    """axis, severity -> the world perturbed; nominal again afterwards."""
    made = []

    def make(axis, severity=2):
        made.append(Perturbed(world, axis, severity))
        return made[-1]

    yield make
    for env in reversed(made):
        env.restore()


def rollout(env, steps=12, seed=3):
    observation, _ = env.reset(seed=seed)
    rng, seen = np.random.default_rng(0), [observation]
    for _ in range(steps):
        seen.append(env.step(rng.uniform(-1, 1, 4).astype(np.float32))[0])
    return np.stack([o["agent_pos"] for o in seen]), np.stack([o["estimate"] for o in seen])


@pytest.mark.parametrize("axis", [a for a in AXES if a not in ("layout", "perception", "observation_latency")])
def test_the_initial_state_is_that_of_the_seed(world, perturbed, axis):
    plain = world.reset(seed=3)[0]
    other = perturbed(axis).reset(seed=3)[0]
    np.testing.assert_allclose(other["environment_state"][:6], plain["environment_state"][:6], atol=1e-6)


@pytest.mark.parametrize("axis", AXES)
def test_only_what_moves_is_moved_by_a_physical_axis(world, perturbed, axis):
    plain, other = rollout(world), rollout(perturbed(axis, 3))
    same = all(np.array_equal(a, b) for a, b in zip(plain, other, strict=True))
    contact_free = (
        "object",
        "friction",
        "mass",
        "size",
    )  # nothing is touched up there
    assert same == (axis in VISUAL) or axis in contact_free


@pytest.mark.parametrize("axis", ["lighting", "background", "camera_pose", "camera_noise", "camera_dropped"])
def test_a_visual_axis_changes_the_pictures_and_the_world_is_as_before_afterwards(world, perturbed, axis):
    world.reset(seed=3)
    plain = world.unwrapped.render_views()
    env = perturbed(axis)
    env.reset(seed=3)
    views = env.render_views()
    assert any(not np.array_equal(views[v], plain[v]) for v in plain)
    env.restore()
    world.reset(seed=3)
    assert all(np.array_equal(f, plain[v]) for v, f in world.unwrapped.render_views().items())


def test_severities_grow(world, perturbed):
    base = world.unwrapped
    widths = []
    for severity in (1, 2, 3):
        perturbed("size", severity).reset(seed=0)
        widths.append(base.model.geom("peg").size[0])
    assert 0.010 < widths[0] < widths[1] < widths[2] < 0.011


def touches(model, aside):
    """Whether the peg touches its socket's walls, standing upright in it and so far aside [m]."""
    import mujoco

    data, socket, peg = mujoco.MjData(model), model.body("socket_blue"), model.body("peg")
    data.qpos[:] = model.qpos0
    data.qpos[:7] = [0.0, 0.3, 0.0, -1.5, 0.0, 1.8, 0.8]  # the arm, out of the way
    address = model.jnt_qposadr[peg.jntadr[0]]
    mujoco.mj_forward(model, data)
    turned = data.xmat[socket.id].reshape(3, 3)
    data.qpos[address : address + 3] = data.xpos[socket.id] + turned @ [aside, 0, 0.08]
    data.qpos[address + 3 : address + 7] = data.xquat[socket.id]
    mujoco.mj_forward(model, data)
    walls = {geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == socket.id}
    return any({int(c.geom1), int(c.geom2)} & walls for c in data.contact[: data.ncon])


def test_a_larger_peg_touches_its_socket_earlier(world, perturbed):
    """Also in the search for contacts, which prunes by bounds that the compiler made."""
    model = world.unwrapped.model
    world.reset(seed=3)
    assert [touches(model, aside) for aside in (0.0008, 0.0011)] == [False, True]
    for severity, clearance in ((1, 0.00085), (2, 0.0007), (3, 0.00055)):
        env = perturbed("size", severity)
        env.reset(seed=3)
        assert [touches(model, clearance + more) for more in (-0.0001, 0.0001)] == [False, True]
        env.restore()


def test_without_seeds_every_episode_is_another(world):
    env = Randomised(world, ["mass", "control_noise", "layout"])
    env.reset(seed=5)
    drawn = [tuple(env.severities.values())]
    for _ in range(12):
        env.reset()
        drawn.append(tuple(env.severities.values()))
    env.restore()
    assert len(set(drawn)) > 6


def test_what_a_policy_sees_is_as_late_as_what_it_is_told(world, perturbed):
    class Told(gymnasium.Wrapper):
        """Its pictures show how many steps were made."""

        def render_views(self):
            return {"front": np.full((2, 2, 3), self.unwrapped._steps, np.uint8)}

    env = Seeing(Perturbed(Told(world), "observation_latency", 2), None, show=True)
    shown = [env.reset(seed=3)[1]["views"]["front"][0, 0, 0]]
    shown += [env.step(np.zeros(4, np.float32))[4]["views"]["front"][0, 0, 0] for _ in range(5)]
    env.env.restore()
    assert shown == [0, 0, 0, 1, 2, 3]


def test_latency_delivers_what_was_seen_and_asked_for_earlier(world, perturbed):
    plain, late = rollout(world), rollout(perturbed("observation_latency", 2))
    np.testing.assert_array_equal(late[0][3:], plain[0][1:-2])
    env = perturbed("action_latency", 2)
    env.reset(seed=0)
    asked = [np.full(4, x, np.float32) for x in (0.1, 0.2, 0.3, 0.4)]
    done = [env.step(a)[4]["executed_action"] for a in asked]
    np.testing.assert_allclose(done[0], 0, atol=1e-6)
    np.testing.assert_allclose(done[3], asked[1], atol=1e-5)


def test_the_same_seed_draws_the_same_perturbation(perturbed):
    first, second = rollout(perturbed("control_noise")), rollout(perturbed("control_noise"))
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[0], rollout(perturbed("control_noise"), seed=4)[0])


def test_unknown_axes_and_severities_are_one_line(world):
    with pytest.raises(ValueError, match="did you mean 'friction'"):
        Perturbed(world, "frictoin", 1)
    with pytest.raises(ValueError, match="severity 4 of axis 'mass' is unknown: choose 1, 2 or 3"):
        Perturbed(world, "mass", 4)


@pytest.mark.parametrize(("severity", "expected"), [
    (1, "put the peg into the blue socket"), (2, "put the pin into the blue hole"),
    (3, "please go ahead and put the pin into the blue hole now"),
])  # fmt: skip
def test_instructions_are_put_in_other_words_and_the_goal_stays(perturbed, severity, expected):
    assert paraphrase("insert the peg into the blue socket", severity) == expected
    env = perturbed("instruction", severity)
    said = env.reset(seed=3)[1]["instruction"]
    assert said == paraphrase(env.unwrapped.instruction, severity) != env.unwrapped.instruction
    assert env.step(np.zeros(4, np.float32))[4]["instruction"] == said


def test_another_object_differs_in_colour_size_and_weight_and_is_gone_afterwards(world, perturbed):
    model = world.unwrapped.model
    peg = model.geom("peg").id
    before = model.geom_size[peg].copy(), model.geom_rgba[peg].copy(), model.body_mass.copy()
    env = perturbed("object", 2)
    env.reset(seed=0)
    after = model.geom_size[peg].copy(), model.geom_rgba[peg].copy(), model.body_mass.copy()
    assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    np.testing.assert_allclose(after[0], before[0], rtol=0.021)
    env.restore()
    assert np.array_equal(model.geom_size[peg], before[0]) and np.array_equal(model.geom_rgba[peg], before[1])


def test_a_randomised_world_is_drawn_anew_from_every_seed_and_has_all_severities(world):
    env = Randomised(world, ["mass", "control_noise", "layout"])
    drawn = []
    for seed in range(40):
        env.reset(seed=seed)
        drawn.append(dict(env.severities))
    assert {d["mass"] for d in drawn} == {d["layout"] for d in drawn} == {0, 1, 2, 3}
    assert len({tuple(d.values()) for d in drawn}) > 15
    first = rollout(env, seed=5)
    np.testing.assert_array_equal(rollout(env, seed=5)[0], first[0])
    env.restore()
    assert world.unwrapped.spread == 1.0


def test_an_unknown_axis_to_train_under_names_the_nearest(world):
    with pytest.raises(ValueError, match="unknown perturbation axis 'mas': did you mean 'mass'"):
        Randomised(world, ["mas"])


def test_robosuites_objects_are_spread_but_not_into_walls(monkeypatch):
    pytest.importorskip("robosuite")
    lift = gymnasium.make("robo_reward/NutAssemblySquare-v0")
    sideways = {}
    for severity in (None, 3):
        env = lift if severity is None else Perturbed(lift, "layout", severity)
        places = [env.reset(seed=seed)[0]["environment_state"][1] for seed in range(8)]
        sideways[severity] = np.array(places)
    np.testing.assert_allclose(np.ptp(sideways[3]), 1.6 * np.ptp(sideways[None]), rtol=0.02)
    Perturbed(lift, "size", 2).reset(seed=0)  # the nut is made of boxes
    lift.close()
    door = gymnasium.make("robo_reward/Door-v0")
    for axis in ("mass", "object"):
        with pytest.raises(ValueError, match=f"axis '{axis}' changes free objects, and this world has none"):
            Perturbed(door, axis, 1)
    door.close()
    can = gymnasium.make("robo_reward/PickPlaceCan-v0")
    with pytest.raises(ValueError, match="axis 'layout' is not defined for PickPlaceCanEnv: leave it out"):
        Perturbed(can, "layout", 1)
    can.close()
