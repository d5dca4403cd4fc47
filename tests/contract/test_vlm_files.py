"""A vision-language model's files, local or from the hub: what is missing or damaged is named in one clear line."""

from __future__ import annotations

import json
import shutil

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from robo_reward.progress.models.vlm_check import memory_needed  # noqa: E402
from robo_reward.progress.models.vlm_files import find_vlm, load_vlm  # noqa: E402
from robo_reward.testing.refusals import assert_one_line  # noqa: E402
from robo_reward.testing.tiny_vlm import build_vlm  # noqa: E402


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_vlm(tmp_path_factory.mktemp("tiny") / "qwen2_5_vl", "qwen2_5_vl")


@pytest.fixture
def broken(tiny, tmp_path):
    """A copy of the model's folder, to break."""
    return shutil.copytree(tiny, tmp_path / "broken")


def test_memory_is_read_off_the_weights_headers(tiny):
    small = memory_needed(tiny, "cpu")
    numbers = sum(p.numel() for p in load_vlm(str(tiny)).model.parameters())
    assert small - memory_needed(tiny, "cuda") == 2 * numbers


def no(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def described(**values):
    def write(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return write


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("harm", "match"),
    [
        (no("config.json"), "no config.json"),
        (described(model_type="llava"), "architecture 'llava'; reward=grm knows qwen2_5_vl and qwen3_vl"),
        (lambda folder: (folder / "config.json").write_text("<html>"), "not a model's description"),
        (no("tokenizer.json"), "no tokenizer"),
        (no("processor_config.json"), "no image processor"),
        (no("model.safetensors"), "no weights"),
        (pickled, "weights are pickles .pytorch_model.bin., which run code"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), "cannot be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "cannot be loaded"),
        (
            lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "b.safe"}}'),
            "1 of 1 weight files missing, such as b.safe",
        ),
    ],
)  # fmt: skip
def test_files_that_make_no_model_are_one_clear_line(broken, harm, match):
    harm(broken)
    assert_one_line(lambda: load_vlm(str(broken)), match)


def test_a_cut_weights_file_is_named_before_it_is_loaded(broken):
    (broken / "model.safetensors").write_bytes(b"x" * 99)
    assert_one_line(lambda: memory_needed(broken, "cpu"), "no safetensors file")


@pytest.mark.parametrize(
    ("source", "revision", "match"),
    [
        ("no/such/folder", None, "no such folder, and no hub id"),
        ("owner/name", None, "needs a pinned revision"),
        ("owner/name", "main", "needs a pinned revision"),
        (".", "0" * 40, "leave it out"),
    ],
)
def test_a_hub_model_needs_a_pinned_revision(source, revision, match):
    assert_one_line(lambda: find_vlm(source, revision), match)


def test_a_hub_that_does_not_answer_is_one_clear_line(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_, **__):
        raise LocalEntryNotFoundError("offline\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    assert_one_line(lambda: find_vlm("owner/name", "0" * 40), "cannot be downloaded .offline.; give a local folder")
