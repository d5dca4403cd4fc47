"""LeRobot's success classifier and its SARM, saved by LeRobot itself, as reward models here."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lerobot")

import torch

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.models.clip_embedding import load_clip
from robo_reward.progress.models.sibling import SiblingModel, SiblingSettings, load_sibling
from robo_reward.testing.tiny_clip import build_clip
from robo_reward.types import HopQuery

import_lerobot()
from lerobot.configs.types import FeatureType, PolicyFeature  # noqa: E402
from lerobot.policies.sac.reward_model.configuration_classifier import RewardClassifierConfig  # noqa: E402
from lerobot.policies.sac.reward_model.modeling_classifier import Classifier  # noqa: E402
from lerobot.policies.sac.reward_model.processor_classifier import make_classifier_processor  # noqa: E402
from lerobot.policies.sarm.configuration_sarm import SARMConfig  # noqa: E402
from lerobot.policies.sarm.modeling_sarm import SARMRewardModel  # noqa: E402

TASK, KEY = "push the red block", "observation.images.front"
FRAMES = np.random.default_rng(0).integers(0, 255, (5, 48, 48, 3), dtype=np.uint8)


def query():
    """From 2 to 3, back again, and from 2 to itself; 0 is the start and 1 the goal."""
    before, after, zero = np.array([2, 3, 2]), np.array([3, 2, 2]), np.zeros(3, np.int64)
    return HopQuery({"front": FRAMES}, before, after, zero, zero + 1, (TASK,) * 3)


def expected(values):
    return pytest.approx(hop_from_potentials(values[[0, 1, 0]], values[[1, 0, 0]]), abs=1e-5)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """Folder, LeRobot's own model, and what it makes of frames 2 and 3."""
    from PIL import Image
    from transformers import ResNetConfig, ResNetModel

    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    shape = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], layer_type="basic")
    ResNetModel(shape).save_pretrained(folder / "encoder")
    image = {KEY: PolicyFeature(type=FeatureType.VISUAL, shape=(3, 128, 128))}
    config = RewardClassifierConfig(
        model_name=str(folder / "encoder"), num_cameras=1, input_features=image, output_features={}, hidden_dim=16,
        latent_dim=16, device="cpu",
    )  # fmt: skip
    model = Classifier(config).eval()
    with torch.no_grad():
        model.classifier_head[-1].weight *= 20
    model.save_pretrained(folder)
    stats = {KEY: {"mean": torch.full((3, 1, 1), 0.4), "std": torch.full((3, 1, 1), 0.2)}}
    make_classifier_processor(config, stats)[0].save_pretrained(folder)
    (folder / "encoder" / "model.safetensors").unlink()  # its weights lie with the classifier's
    shown = np.stack([np.asarray(Image.fromarray(f).resize((128, 128))) for f in FRAMES[[2, 3]]])
    with torch.no_grad():
        pixels = (torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 255 - 0.4) / 0.2
        return folder, model.predict([pixels]).probabilities.numpy()


def test_lerobots_classifier_judges_moments_as_lerobot_does(classifier, tmp_path):
    folder, values = classifier
    model = load_sibling(SiblingSettings("lerobot_classifier", str(folder), device="cpu"))
    found = model.hop(query())
    assert abs(values[0] - values[1]) > 1e-3 and found.valid_B.all()
    assert found.hop_B == expected(values)
    model.save(tmp_path)
    assert SiblingModel.load(tmp_path).hop(query()).hop_B.tobytes() == found.hop_B.tobytes()


def edited(folder, to, **changes):
    """The same folder with other settings."""
    to.mkdir(exist_ok=True)
    for file in folder.iterdir():
        if file.is_file():
            (to / file.name).write_bytes(file.read_bytes())
    found = json.loads((folder / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({**found, **changes}))
    return to


def test_what_is_no_classifier_of_one_camera_is_told_in_one_line(classifier, tmp_path):
    folder, _ = classifier

    def load(to):
        with pytest.raises(ValueError) as refused:
            load_sibling(SiblingSettings("lerobot_classifier", str(to), device="cpu"))
        assert "\n" not in str(refused.value)
        return str(refused.value)

    features = json.loads((folder / "config.json").read_text())["input_features"]
    two = edited(folder, tmp_path / "two", input_features={**features, "observation.images.wrist": features[KEY]})
    assert "looks at 2 cameras" in load(two)
    assert "type 'act', expected 'reward_classifier'" in load(edited(folder, tmp_path / "act", type="act"))
    away = edited(folder, tmp_path / "away", model_name="helper2424/resnet10")
    assert "its encoder is helper2424/resnet10, which is not here" in load(away)
    (away / "encoder").mkdir()
    code = {"model_type": "resnet10", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (away / "encoder" / "config.json").write_text(json.dumps(code))
    (away / "encoder" / "code.py").write_text("raise SystemExit('code of others was run')")
    assert "contains custom code which must be executed" in load(away)
    shape = json.loads((folder / "encoder" / "config.json").read_text())
    (away / "encoder" / "config.json").write_text(json.dumps({**shape, "depths": [1, 1, 1, 2]}))
    assert "of its weights are those of another encoder" in load(away)
    foreign = edited(folder, tmp_path / "foreign")
    (foreign / "classifier_preprocessor.json").write_text(json.dumps({"steps": [{"class": "os.system"}]}))
    assert "names the class os.system" in load(foreign)


@pytest.fixture(scope="module")
def sarm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sarm")
    torch.manual_seed(0)
    config = SARMConfig(
        annotation_mode="dual", hidden_dim=16, num_heads=2, num_layers=1, image_dim=16, text_dim=16, max_state_dim=4,
        num_sparse_stages=3, sparse_subtask_names=["a", "b", "c"], sparse_temporal_proportions=[0.5, 0.3, 0.2],
        num_dense_stages=2, dense_subtask_names=["d", "e"], dense_temporal_proportions=[0.5, 0.5], device="cpu",
    )  # fmt: skip
    model = SARMRewardModel(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p *= 3
    model.save_pretrained(folder)
    build_clip(folder / "clip")
    return folder, model


def test_lerobots_sarm_says_the_progress_that_it_says_in_lerobot(sarm):
    folder, own = sarm
    clip = load_clip(str(folder / "clip"), device="cpu")
    seen = torch.from_numpy(clip.pictures(list(FRAMES), unit=False)).float()
    text = torch.from_numpy(clip.texts([TASK], unit=False)).float()
    values = np.array([
        own.calculate_rewards(text, seen[None, [0] * 4 + [n] * 5], frame_index=4)[0] for n in (2, 3)
    ])  # fmt: skip
    model = load_sibling(SiblingSettings("lerobot_sarm", str(folder), device="cpu"))
    assert abs(values[0] - values[1]) > 1e-4
    assert model.hop(query()).hop_B == expected(values)


def test_sarm_without_its_clip_is_told_so(sarm, tmp_path):
    folder, _ = sarm
    bare = edited(folder, tmp_path / "bare")
    with pytest.raises(ValueError, match="SARM looks through CLIP, put its files there"):
        load_sibling(SiblingSettings("lerobot_sarm", str(bare), device="cpu"))
    wide = edited(folder, tmp_path / "wide", image_dim=512, text_dim=512)
    build_clip(wide / "clip")
    with pytest.raises(ValueError, match="embeddings of 16 numbers, and SARM takes 512"):
        load_sibling(SiblingSettings("lerobot_sarm", str(wide), device="cpu"))
