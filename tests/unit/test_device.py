"""The learner on another device. No such device is needed: torch's meta device computes nothing, and refuses to mix."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from robo_reward.cli import main  # noqa: E402
from robo_reward.config import load_config  # noqa: E402
from robo_reward.learning import adam, residual_td3  # noqa: E402
from robo_reward.learning.agents import AGENTS  # noqa: E402
from robo_reward.learning.device import device_named  # noqa: E402
from robo_reward.learning.pixels import Eyes  # noqa: E402
from robo_reward.learning.replay import EpisodeReplay  # noqa: E402
from robo_reward.runtime.updates import learn  # noqa: E402
from robo_reward.shaping import SCHEMES  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.types import PhiTrack  # noqa: E402

S, A, K, T = 5, 3, 4, 12
LEARNERS = (
    ["agent=residual_td3"], ["agent.reach=growing", "agent.value_bins=21"], ["agent.prior=0.2", "agent.q_filter=true"],
    ["agent.priority=0.6", "agent.precision=bfloat16"], ["agent=residual_sac"], ["agent=ibrl"],
    ["agent=filtered_cloning"], ["agent=residual_ppo"], ["agent=residual_td3", "observation=pixels"],
    ["agent=residual_sac", "observation=pixels"],
)  # fmt: skip
FRAMES = np.zeros((T + 1, 1, 32, 32, 3), np.uint8)


@pytest.fixture
def elsewhere(monkeypatch):
    """Learners that are made from now on live on the meta device; what comes back from there are zeros."""
    assert torch.ones(2, device="meta").device.type == "meta"
    with pytest.raises(RuntimeError, match="device"):
        torch.ones(2, device="meta") + torch.ones(2)

    def mixed(parameters, gradients, first, second, largest, steps, **how):  # torch's fused step knows no such device
        for parameter, *others in zip(parameters, gradients, first, second, steps, strict=True):
            for other in others:
                parameter += other

    monkeypatch.setattr(residual_td3, "device_named", lambda name: torch.device("meta"))
    monkeypatch.setattr(adam, "adam", mixed)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: 1.0)
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: True)
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape))


def episode():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(T + 1, S)).astype(np.float32)
    action = np.tanh(rows[:, :A])
    return make_episode(
        T, "shown", instruction="", source="expert", agent_pos=rows, estimate=rows[:, :0], action=action[:T],
        base_action=action, base_phase=rows[:, :K],
    )  # fmt: skip


def made(words):
    config = load_config([*words, "agent.hidden=8", "agent.batch=8", "agent.heads=4", "agent.epochs=1"])
    settings, zeros = config.agent, np.zeros(S, np.float32)
    eyes = Eyes(("front",), 32) if config.observation == "pixels" else None
    return AGENTS[settings.kind](zeros, zeros + 1, A, settings, SCHEMES["potential"], 1.0, 0, phase_size=K, eyes=eyes)


@pytest.mark.parametrize("words", LEARNERS, ids=lambda words: words[-1])
def test_everything_of_an_update_and_of_acting_is_where_the_learner_is(words, elsewhere):
    """Devices that are mixed raise. Actions are arrays again."""
    agent, shown, track = made(words), episode(), PhiTrack("m", np.zeros(T + 1, np.float32), np.ones(T + 1, np.float32))
    settings, rng = agent.settings, np.random.default_rng(0)
    replay = EpisodeReplay(100, S, A, settings.n_step, settings.gamma, K, settings.priority)
    frames = FRAMES if agent.eyes else None
    replay.append(shown, shown.agent_pos, track, demonstration=True, frames_TVHWC=frames)
    if not agent.eyes:
        agent.clone([agent.windows(replay.sample(8, rng))])
    if settings.kind == "residual_ppo":
        agent.learn_from([(shown, track, shown.agent_pos)])
    else:
        learn(agent, SimpleNamespace(demonstrations=replay, warmup=replay, online=replay), 2, settings, rng)
    for deployed in (False, True):
        look = FRAMES[0] if agent.eyes else None
        action = agent.act(shown.agent_pos[0], np.zeros(A + K, np.float32), look, deployed=deployed, rng=rng)
        assert isinstance(action, np.ndarray) and action.shape == (A,)
    where = {name: tensor.device.type for name, tensor in agent.state_dict().items()}
    assert where.pop("generator") == "cpu"  # chance is the same on every device
    assert all(device == "meta" or name.endswith(".step") for name, device in where.items())


def test_a_checkpoint_of_one_device_is_taken_up_on_another(request):
    agent, shown = made([]), episode()
    replay = EpisodeReplay(100, S, A, agent.settings.n_step, agent.settings.gamma, K)
    replay.append(shown, shown.agent_pos, PhiTrack("m", np.zeros(T + 1, np.float32), np.ones(T + 1, np.float32)),
                  demonstration=True)  # fmt: skip
    agent.update_critics(agent.windows(replay.sample(8, np.random.default_rng(0))))
    saved = agent.state_dict()
    request.getfixturevalue("elsewhere")
    other = made([])
    other.load_state_dict(saved)
    moments = other.critic_optimiser.state_dict()
    assert moments["0.exp_avg"].device.type == "meta" and float(moments["0.step"]) == 1
    assert other.critic.mlp.flat.device.type == "meta"
    assert torch.equal(other.generator.get_state(), saved["generator"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there_is_one_line_before_anything_is_computed(tmp_path, capsys):
    with pytest.raises(ValueError, match="agent.device=cuda: torch .* finds no CUDA device on this machine; set"):
        device_named("cuda")
    with pytest.raises(SystemExit) as ended:
        main(["train", "agent.device=cuda", f"run.root={tmp_path}"])
    assert ended.value.code == 2
    assert "agent.device=cuda" in capsys.readouterr().err and not (tmp_path / "stages").exists()
