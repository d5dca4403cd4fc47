"""LeRobot's success classifier (HIL-SERL, arXiv 2410.21845) from the folder that LeRobot saved.

The value is its probability of success at the moment; LeRobot takes 1 above one half. Its own class is loaded, but not
its own way to get the encoder, which would run code of others: the architecture is read from `encoder/config.json`
beside the weights, or from the folder that the classifier was made with; the weights lie with those of the classifier.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from robo_reward.data.lerobot_package import import_lerobot
from robo_reward.progress.models.sibling import Clip, Scorer, SiblingSettings
from robo_reward.progress.models.vlm_files import find_vlm

IMAGE, STEPS, ENCODER = "observation.images.", "classifier_preprocessor.json", "encoder"
BESIDE = (ENCODER,)


def load(settings: SiblingSettings) -> Scorer:
    """The scorer in these settings' folder.

    Raises ValueError for another model, one that looks at several cameras, and what cannot be loaded without code.
    """
    import torch
    from PIL import Image

    folder = find_vlm(settings.source, settings.revision)
    found = read_config(folder, "reward_classifier")
    images = [key for key in found.get("input_features") or {} if key.startswith(IMAGE)]
    classes = found.get("num_classes", 2)
    if len(images) != 1 or classes != 2:
        raise ValueError(
            f"{folder}: looks at {len(images)} cameras and tells {classes} classes apart; usable is a classifier of "
            "success by one camera"
        )
    _, height, width = found["input_features"][images[0]]["shape"]
    import_lerobot()
    with loading(folder), _encoder_of(folder, str(found.get("model_name"))):
        from lerobot.configs.policies import PreTrainedConfig
        from lerobot.policies.sac.reward_model.modeling_classifier import Classifier
        from lerobot.processor import PolicyProcessorPipeline

        config: Any = PreTrainedConfig.from_pretrained(str(folder))
        config.device = "cpu"
        model: Any = Classifier.from_pretrained(str(folder), config=config).eval()
        _check_whole(model, folder)
        prepare: Any = lambda batch: batch  # noqa: E731
        if (folder / STEPS).is_file():
            refuse_foreign_steps(folder / STEPS)
            prepare = PolicyProcessorPipeline.from_pretrained(str(folder), config_filename=STEPS)

    @torch.inference_mode()
    def score(clips: Sequence[Clip]) -> Float64[np.ndarray, "B"]:
        frames = [np.asarray(Image.fromarray(clip.frames[-1]).resize((width, height))) for clip in clips]
        batch = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
        said: np.ndarray = model.predict([prepare({images[0]: batch})[images[0]]]).probabilities.double().numpy()
        return said

    return score


def _check_whole(model: Any, folder: Path) -> None:
    """Raises ValueError where weights are missing or too many; the encoder's stand in the file under one of two names,
    which LeRobot's own strict loading does not take."""
    from safetensors.torch import load_file

    own, there = model.state_dict(), load_file(folder / "model.safetensors")
    filled = {own[key].data_ptr() for key in there if key in own}
    counters = "num_batches_tracked"
    wrong = [key for key in there if key not in own]
    wrong += [k for k, value in own.items() if value.data_ptr() not in filled and not k.endswith(counters)]
    if wrong:
        raise ValueError(f"{folder}: {len(wrong)} of its weights are those of another encoder, such as {wrong[0]}")


def read_config(folder: Path, kind: str) -> dict[str, Any]:
    """LeRobot's config.json of this kind of model. Raises ValueError for anything else."""
    path = folder / "config.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        told = found.get("type")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: not readable ({error}); give the folder that LeRobot's save_pretrained wrote"
        ) from None
    if told != kind:
        raise ValueError(
            f"{path}: type {told!r}, expected {kind!r}; give the folder that LeRobot's save_pretrained wrote"
        )
    return found


def refuse_foreign_steps(path: Path) -> None:
    """A step that is not in LeRobot's registry is a class to be imported by the name in the file: not from here."""
    for step in json.loads(path.read_text(encoding="utf-8")).get("steps", []):
        if "registry_name" not in step:
            raise ValueError(f"{path} names the class {step.get('class')}: only LeRobot's own steps are loaded")


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """LeRobot's errors in one line, and what it tells of every load left out."""
    try:
        with redirect_stdout(StringIO()):
            yield
    except ValueError as error:
        raise ValueError(_line(folder, error)) from error
    except (OSError, KeyError, TypeError, RuntimeError, ImportError, AttributeError) as error:
        raise ValueError(_line(folder, error)) from error


def _line(folder: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return reason if str(folder) in reason else f"{folder}: does not load as LeRobot's model: {reason}"


@contextmanager
def _encoder_of(folder: Path, name: str) -> Iterator[None]:
    """LeRobot's call for a pretrained encoder gives one of transformers' own, without weights."""
    from transformers import AutoConfig, AutoModel

    source = folder / ENCODER if (folder / ENCODER / "config.json").is_file() else Path(name)
    if not (source / "config.json").is_file():
        raise ValueError(
            f"{folder}: its encoder is {name}, which is not here: put its config.json into {folder / ENCODER}; "
            "encoders that are code in their own folder cannot be used"
        )

    def build(*_: Any, **__: Any) -> Any:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=True)
        return AutoModel.from_config(config, trust_remote_code=False)

    own = AutoModel.__dict__.get("from_pretrained")
    AutoModel.from_pretrained = build  # type: ignore[method-assign]
    try:
        yield
    finally:
        if own is None:
            del AutoModel.from_pretrained
        else:
            AutoModel.from_pretrained = own  # type: ignore[method-assign]
