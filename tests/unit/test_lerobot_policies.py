"""ACT and diffusion through LeRobot: they learn, act the same after loading, and a folder that does not fit is refused.

LeRobot's own import takes most of the time.
"""

import dataclasses
import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lerobot")

from robo_reward.policies.cloning import CloningSettings  # noqa: E402
from robo_reward.policies.lerobot import load_lerobot  # noqa: E402
from robo_reward.policies.lerobot_training import train_lerobot  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402

pytestmark = pytest.mark.slow
SETTINGS = CloningSettings(chunk=4, hidden=32, steps=400, batch=32, learning_rate=3e-3)


def smooth_episode(number, steps=25):
    """The demonstrator's action is a smooth function of what is seen: tanh of agent_pos plus a share of estimate."""
    rng = np.random.default_rng(number)
    agent_pos = (rng.uniform(-1, 1, 3) + 0.02 * np.cumsum(rng.normal(size=(steps + 1, 3)), 0)).astype(np.float32)
    estimate = np.tile(rng.uniform(-1, 1, 2), (steps + 1, 1)).astype(np.float32)
    return make_episode(
        steps, f"demo-{number}", source="expert", seed=number, agent_pos=agent_pos, estimate=estimate,
        action=np.tanh(agent_pos[:-1, [0, 2]] + 0.5 * estimate[:-1]),
    )  # fmt: skip


DEMOS = [smooth_episode(number) for number in range(20)]
COLUMNS = (0, 2, 3, 4)


@pytest.fixture(scope="module", params=["act", "diffusion"])
def trained(request, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, train_lerobot(request.param, DEMOS, SETTINGS, COLUMNS, folder)


def rollout(policy, episode, batch=1):
    """The policy's actions at the episode's observations (T, A)."""
    state, actions = policy.initial_state(batch), []
    for agent_pos, estimate in zip(episode.agent_pos[:-1], episode.perceived[:-1], strict=True):
        action, state = policy.act(np.tile(agent_pos, (batch, 1)), np.tile(estimate, (batch, 1)), state)
        actions.append(action[-1])
    return np.array(actions)


def test_it_learns_what_was_demonstrated(trained):
    _, folder, summary = trained
    policy = load_lerobot(folder, COLUMNS)
    error = np.mean([np.abs(rollout(policy, demo) - demo.action).mean() for demo in DEMOS[:3]])
    average = np.mean([demo.action.mean(0) for demo in DEMOS], axis=0)
    ignorant = np.mean([np.abs(demo.action - average).mean() for demo in DEMOS[:3]])
    assert error < 0.5 * ignorant
    assert summary["demonstrations"] == 20 and summary["frames"] == sum(map(len, DEMOS))


def test_it_answers_alike_whenever_it_is_asked_alike(trained):
    """Twice from one folder, and as the third of a batch: diffusion's noise is part of the policy."""
    _, folder, _ = trained
    first, second = load_lerobot(folder, COLUMNS), load_lerobot(folder, COLUMNS)
    actions = rollout(first, DEMOS[0])
    assert first.policy_id == second.policy_id
    torch.rand(5)
    np.testing.assert_array_equal(rollout(second, DEMOS[0]), actions)
    np.testing.assert_allclose(rollout(first, DEMOS[0], batch=3), actions, atol=1e-4)


def test_what_it_was_not_given_at_training_does_not_matter(trained):
    _, folder, _ = trained
    policy = load_lerobot(folder, COLUMNS)
    changed = dataclasses.replace(DEMOS[0], agent_pos=DEMOS[0].agent_pos + np.float32([0, 1, 0]))
    np.testing.assert_array_equal(rollout(policy, changed), rollout(policy, DEMOS[0]))


def test_diffusion_sees_the_observation_before(trained):
    kind, folder, _ = trained
    policy = load_lerobot(folder, COLUMNS)
    moved = DEMOS[0].agent_pos.copy()
    moved[SETTINGS.chunk - 1] += 0.5  # the one before the second chunk's first
    changed = rollout(policy, dataclasses.replace(DEMOS[0], agent_pos=moved))
    same = np.array_equal(changed[SETTINGS.chunk], rollout(policy, DEMOS[0])[SETTINGS.chunk])
    assert same == (kind == "act")


def test_ensembling_asks_at_every_step(trained):
    _, folder, _ = trained
    policy, plain = load_lerobot(folder, COLUMNS, ensemble=0.01), load_lerobot(folder, COLUMNS)
    assert policy.policy_id != plain.policy_id
    moved = DEMOS[0].estimate.copy()
    moved[1:] += 0.5
    changed = dataclasses.replace(DEMOS[0], estimate=moved)
    assert not np.array_equal(rollout(policy, changed)[1], rollout(policy, DEMOS[0])[1])
    np.testing.assert_array_equal(rollout(plain, changed)[1], rollout(plain, DEMOS[0])[1])


def edited(folder, target, name, change):
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    text = json.loads((target / name).read_text())
    change(text)
    (target / name).write_text(json.dumps(text))
    return target


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("config.json", lambda c: c.update(type="smolvla"), "holds a 'smolvla' policy"),
        ("config.json", lambda c: c["input_features"]["observation.state"].update(shape=[9]), "does not load"),
        ("policy_preprocessor.json", lambda c: c["steps"].append({"class": "os.system"}), "names the class os.system"),
    ],
)
def test_a_folder_that_does_not_fit_is_refused_in_one_line(trained, tmp_path, name, change, says):
    with pytest.raises(ValueError, match=says) as error:
        load_lerobot(edited(trained[1], tmp_path, name, change), COLUMNS)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_damaged_weights_are_named(trained, tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_lerobot(tmp_path, COLUMNS)
    edited(trained[1], tmp_path, "config.json", lambda c: None)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="does not load") as error:
        load_lerobot(tmp_path, COLUMNS)
    assert "\n" not in str(error.value)


def test_actions_of_another_scale_are_refused_and_a_factor_mends_them(tmp_path):
    torch.set_num_threads(1)
    metres = [dataclasses.replace(demo, action=demo.action * 25) for demo in DEMOS]
    train_lerobot("act", metres, dataclasses.replace(SETTINGS, steps=60), COLUMNS, tmp_path)
    with pytest.raises(ValueError, match=r"trained on actions from -\d.*base\.action_scale"):
        load_lerobot(tmp_path, COLUMNS)
    policy = load_lerobot(tmp_path, COLUMNS, scale=(0.04, 0.04))
    assert np.abs(rollout(policy, DEMOS[0])).max() <= 1


def test_another_robots_policy_is_refused(trained):
    policy = load_lerobot(trained[1], COLUMNS)
    with pytest.raises(ValueError, match=r"takes 2 numbers as observation\.state, but agent_pos has 7"):
        policy.act(np.zeros((1, 7), np.float32), np.zeros((1, 2), np.float32), policy.initial_state(1))


def test_a_policy_with_cameras_gets_their_frames(tmp_path):
    """As LeRobot trains them on a dataset: an image, the whole state, and normalisation of both."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    from lerobot.policies.factory import make_pre_post_processors

    image = PolicyFeature(FeatureType.VISUAL, (3, 32, 32))
    config = ACTConfig(
        input_features={"observation.state": PolicyFeature(FeatureType.STATE, (3,)), "observation.images.front": image},
        output_features={"action": PolicyFeature(FeatureType.ACTION, (2,))}, chunk_size=4, n_action_steps=4,
        dim_model=32, n_heads=2, dim_feedforward=32, n_encoder_layers=1, n_vae_encoder_layers=1, device="cpu",
        pretrained_backbone_weights=None,
    )  # fmt: skip
    torch.manual_seed(0)
    policy = ACTPolicy(config)
    torch.nn.init.normal_(policy.model.action_head.weight, std=0.01)
    ones = {"mean": torch.zeros(1), "std": torch.ones(1), "min": -torch.ones(1), "max": torch.ones(1)}
    stats = {key: ones for key in ("observation.state", "observation.images.front", "action")}
    policy.save_pretrained(tmp_path)
    for processor in make_pre_post_processors(config, dataset_stats=stats):
        processor.save_pretrained(tmp_path)
    base = load_lerobot(tmp_path, None)
    assert base.views == ("front",)

    def act(frame):
        info = {"views": {"front": frame, "side": frame}, "instruction": "insert"}
        state = base.look(base.initial_state(1), info)
        return base.act(np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32), state)[0]

    black, white = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)
    assert not np.array_equal(act(black), act(white))
    with pytest.raises(ValueError, match="set env.image_size"):
        act(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="camera 'front', which is not there"):
        base.look(base.initial_state(1), {"views": {"side": black}, "instruction": "insert"})
