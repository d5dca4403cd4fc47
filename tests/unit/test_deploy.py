"""What goes to the robot's computer says what the trained networks say, step by step, and refuses what it cannot."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from robo_reward.config import AgentConfig, load_config  # noqa: E402
from robo_reward.deploy.policy import ExportedPolicy  # noqa: E402
from robo_reward.deploy.reward import ExportedRewardModel  # noqa: E402
from robo_reward.deploy.step import policy_step  # noqa: E402
from robo_reward.deploy.write import write_lerobot, write_policy, write_reward  # noqa: E402
from robo_reward.learning.agents import AGENTS  # noqa: E402
from robo_reward.learning.networks import mlp  # noqa: E402
from robo_reward.policies.cloning import ClonedPolicy  # noqa: E402
from robo_reward.policies.simple import SearchingPolicy, ZeroPolicy  # noqa: E402
from robo_reward.progress.models.compact import CompactModel  # noqa: E402
from robo_reward.progress.models.compact_net import CompactNet, CompactSettings  # noqa: E402
from robo_reward.progress.references import Reference, References  # noqa: E402
from robo_reward.progress.reward_model import RewardModel  # noqa: E402
from robo_reward.progress.tracker import ProgressTracker, TrackerSettings  # noqa: E402
from robo_reward.runtime.acting import ResidualRollout  # noqa: E402
from robo_reward.runtime.exporting import export  # noqa: E402
from robo_reward.shaping import SCHEMES  # noqa: E402

torch.set_num_threads(1)
P, E, A, CHUNK = 4, 3, 2, 3
COLUMNS = (0, 2, 3, 5)


def cloned(ensemble=None):
    torch.manual_seed(1)
    mean, std = np.full(len(COLUMNS), 0.3, np.float32), np.full(len(COLUMNS), 0.7, np.float32)
    return ClonedPolicy(mlp(len(COLUMNS), 16, CHUNK * A), mean, std, CHUNK, A, COLUMNS, ensemble)


def agent(base, kind="residual_td3", **changes):
    settings = dataclasses.replace(AgentConfig(heads=2, hidden=16, batch=8, residual_scale=0.4), kind=kind, **changes)
    mean, std = np.full(len(COLUMNS), 0.1, np.float32), np.full(len(COLUMNS), 1.3, np.float32)
    phase = base.phase(base.initial_state(1)).shape[1]
    made = AGENTS[kind](mean, std, A, settings, SCHEMES["none"], 1.0, 0, COLUMNS, phase)
    generator = torch.Generator().manual_seed(7)
    for tensor in made.actor_average.state_dict().values():  # as if it had learned something
        tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    made.actor.load_state_dict(made.actor_average.state_dict())
    return made


def observations(count):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, P)).astype(np.float32), rng.normal(size=(count, E)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("residual_td3", {}), ("residual_td3", {"layer_norm": False}), ("residual_td3", {"reach": "learned"}),
        ("residual_sac", {}), ("residual_ppo", {}),
    ],
)  # fmt: skip
def test_the_exported_policy_acts_as_the_deployed_one_through_chunks(tmp_path, kind, changes):
    base = cloned()
    made = agent(base, kind, **changes)
    write_policy(policy_step(base, made, P, E), tmp_path, {"env": "toy"})
    policy, rollout = ExportedPolicy(tmp_path), ResidualRollout(base, made, deployed=True)
    script = torch.jit.load(tmp_path / "policy.ts")
    state, memory = policy.initial_state(1), (torch.full((1, CHUNK, A), 9.0), torch.zeros(1, dtype=torch.int64))
    moved = 0.0
    for agent_pos, estimate in zip(*observations(2 * CHUNK + 1), strict=True):
        wanted, base_row = rollout(agent_pos, estimate)
        action, state = policy.act(agent_pos[None], estimate[None], state)
        np.testing.assert_allclose(action[0], wanted, atol=1e-5)
        scripted, _, *memory = script(torch.from_numpy(agent_pos)[None], torch.from_numpy(estimate)[None], *memory)
        np.testing.assert_allclose(scripted[0], wanted, atol=1e-5)
        moved = max(moved, float(np.abs(wanted - base_row[:A]).max()))
    assert moved > 0.05, "the residual did nothing here, so nothing was compared"


def test_a_batch_of_episodes_at_different_steps_of_their_chunks(tmp_path):
    base = cloned()
    write_policy(policy_step(base, agent(base), P, E), tmp_path, {})
    policy = ExportedPolicy(tmp_path)
    agent_pos, estimate = observations(3)
    _, late = policy.act(agent_pos[:1], estimate[:1], policy.initial_state(1))
    both, after = policy.act(agent_pos[1:], estimate[1:], [late[0], policy.initial_state(1)[0]])
    alone, _ = policy.act(agent_pos[1:2], estimate[1:2], late)
    fresh, _ = policy.act(agent_pos[2:], estimate[2:], policy.initial_state(1))
    np.testing.assert_allclose(both, np.concatenate([alone, fresh]), atol=1e-6)
    assert [step for _, step in after] == [2, 1] and policy.phase(after).argmax(1).tolist() == [2, 1]


def test_without_a_base_the_residual_is_the_action(tmp_path):
    base = ZeroPolicy(A)
    made = agent(base)
    write_policy(policy_step(base, made, P, E), tmp_path, {})
    policy, rollout = ExportedPolicy(tmp_path), ResidualRollout(base, made, deployed=True)
    agent_pos, estimate = observations(1)
    action, _ = policy.act(agent_pos, estimate, policy.initial_state(1))
    np.testing.assert_allclose(action[0], rollout(agent_pos[0], estimate[0])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("base", "kind", "hint"),
    [
        (SearchingPolicy(cloned()), "residual_td3", "export takes base=cloning"),
        (cloned(ensemble=0.01), "residual_td3", "set it to null"),
        (cloned(), "ibrl", "export takes the other learners"),
    ],
)
def test_what_is_not_one_network_is_refused(base, kind, hint):
    with pytest.raises(ValueError, match=hint):
        policy_step(base, agent(base, kind), P, E)


def test_bad_input_ends_in_one_line(tmp_path):
    base = cloned()
    write_policy(policy_step(base, agent(base), P, E), tmp_path, {})
    policy = ExportedPolicy(tmp_path)
    agent_pos, estimate = observations(1)
    with pytest.raises(ValueError, match=r"agent_pos has shape \(1, 3\).*takes \(1, 4\)"):
        policy.act(agent_pos[:, :3], estimate, policy.initial_state(1))
    agent_pos[0, 2] = np.nan
    with pytest.raises(ValueError, match=r"agent_pos\[2\] is nan"):
        policy.act(agent_pos, estimate, policy.initial_state(1))
    with pytest.raises(FileNotFoundError, match="run `robo-reward export"):
        ExportedPolicy(tmp_path / "nowhere")
    with (tmp_path / "policy.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match="export again"):
        ExportedPolicy(tmp_path)
    description = json.loads((tmp_path / "policy.json").read_text())
    (tmp_path / "policy.json").write_text(json.dumps({**description, "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        ExportedPolicy(tmp_path)


def reward_model(target="hop"):
    torch.manual_seed(3)
    settings = CompactSettings(("top", "wrist"), 32, 2, (8, 16), (4, 3), (4, 1), 32, 32, 64, target=target)
    rng = np.random.default_rng(5)

    def pictures(count):
        return {view: rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for view in settings.views}

    references = References({name: Reference(pictures(2), pictures(2)) for name in ("to the left", "to the right")})
    return RewardModel(CompactModel(CompactNet(settings)), references, TrackerSettings(every=1)), pictures


@pytest.mark.parametrize("cameras", [("top", "wrist"), ("wrist",)])
def test_the_exported_reward_model_follows_an_episode_as_the_trained_one(tmp_path, cameras):
    reward, pictures = reward_model()
    assert write_reward(reward, tmp_path) < 1e-4
    exported = ExportedRewardModel(tmp_path)
    assert exported.model_id == reward.model.model_id and exported.tracker == reward.tracker
    clip = pictures(5)
    clip["wrist"][3] = 17  # a covered lens
    trackers = [
        ProgressTracker(reward.references, "to the left", reward.tracker),
        ProgressTracker(exported.references, "to the left", exported.tracker),
    ]
    for n in range(5):
        frames = {view: clip[view][n] for view in cameras}
        first, second = (tracker.query(frames) for tracker in trackers)
        wanted, found = reward.model.hop(first), exported.hop(second)
        np.testing.assert_array_equal(found.valid_B, wanted.valid_B)
        np.testing.assert_allclose(found.hop_B, wanted.hop_B, atol=1e-5)
        np.testing.assert_allclose(found.confidence_B, wanted.confidence_B, atol=1e-4)
        assert trackers[1].apply(found).phi == pytest.approx(trackers[0].apply(wanted).phi, abs=1e-4)
        assert wanted.valid_B.all() == (cameras != ("wrist",) or n not in (3, 4))


def test_pairs_under_two_instructions_and_without_references(tmp_path):
    from robo_reward.types import HopQuery

    reward, pictures = reward_model()
    write_reward(reward, tmp_path)
    rows = [np.array(column) for column in ([0, 1, 2], [1, 1, 0], [-1, 0, 2], [2, -1, -1])]
    query = HopQuery(pictures(3), *rows, ("to the left", "to the right", "to the left"))
    wanted, found = reward.model.hop(query), ExportedRewardModel(tmp_path).hop(query)
    np.testing.assert_allclose(found.hop_B, wanted.hop_B, atol=1e-5)
    assert found.hop_B[1] == 0.0  # a frame and itself
    other = HopQuery(pictures(3), *rows, ("upwards",) * 3)
    with pytest.raises(ValueError, match="'upwards'.*knows"):
        ExportedRewardModel(tmp_path).hop(other)


def test_the_control_that_is_no_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not exported"):
        write_reward(reward_model("absolute")[0], tmp_path)


def test_only_a_new_folder_or_an_earlier_export_is_written_to(tmp_path, monkeypatch):
    reward, _ = reward_model()
    monkeypatch.setattr("robo_reward.progress.reward_model.load_reward", lambda folder: reward)
    settings = ["reward_model=any", f"run.root={tmp_path / 'runs'}", "quiet=true"]

    def exported(to):
        return export(load_config([*settings, f"to={to}"], command="export"))

    exported(tmp_path / "robot")
    exported(tmp_path / "robot")
    (tmp_path / "robot" / "reward_model.json").unlink()  # it is written last: interrupted before that
    (tmp_path / "robot" / "lerobot").mkdir()
    exported(tmp_path / "robot")
    (tmp_path / "dataset" / "meta").mkdir(parents=True)
    with pytest.raises(ValueError, match="dataset holds .* and is no earlier export: .*to="):
        exported(tmp_path / "dataset")
    (tmp_path / "file").touch()
    for unwritable in (tmp_path / "file", "/proc/nope"):
        with pytest.raises(ValueError, match="cannot write in .*choose another folder with to="):
            exported(unwritable)
    monkeypatch.setattr("robo_reward.runtime.collecting.dataset_stage", lambda config: pytest.fail("a stage began"))
    for more in ([], ["format=grm"]):
        with pytest.raises(ValueError, match="cannot write in"):
            export(load_config([*settings[1:], *more, "to=/proc/nope"], command="export"))


def test_the_readers_load_no_torch():
    program = (
        "import sys, robo_reward.deploy.policy, robo_reward.deploy.reward\n"
        "assert not {'torch', 'hydra'} & {name.split('.')[0] for name in sys.modules}"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_lerobot_loads_the_policy_by_its_own_means(tmp_path):
    pytest.importorskip("lerobot")
    import robo_reward.lerobot_plugin  # noqa: F401 - what discover_packages_path does

    from lerobot.configs.policies import PreTrainedConfig  # isort: skip
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors  # isort: skip

    base = cloned()
    made = agent(base)
    folder = tmp_path / "lerobot"
    write_lerobot(policy_step(base, made, P, E), folder)
    config = PreTrainedConfig.from_pretrained(folder)
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    before, after = make_pre_post_processors(config, str(folder))
    rollout = ResidualRollout(base, made, deployed=True)
    policy.reset()
    for agent_pos, estimate in zip(*observations(CHUNK + 2), strict=True):
        shown = {"state": torch.from_numpy(agent_pos), "environment_state": torch.from_numpy(estimate)}
        batch = before({f"observation.{name}": value for name, value in shown.items()})
        action = after(policy.select_action(batch))
        np.testing.assert_allclose(action[0], rollout(agent_pos, estimate)[0], atol=1e-5)
