"""General reward models by contract, on tiny random models of both released architectures: no weights needed."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from robo_reward.config import Config, RewardConfig, load_config  # noqa: E402
from robo_reward.doctor import doctor  # noqa: E402
from robo_reward.progress.annotate import track_many  # noqa: E402
from robo_reward.progress.grm_reward import prepare_grm  # noqa: E402
from robo_reward.progress.models import grm_sampled  # noqa: E402
from robo_reward.progress.models.grm import GrmModel, GrmSettings, load_grm  # noqa: E402
from robo_reward.progress.models.grm_prompt import ANSWERS, answer_text, read_distribution  # noqa: E402
from robo_reward.progress.models.grm_sampled import processor_inputs  # noqa: E402
from robo_reward.progress.models.vlm_check import bundled_pair  # noqa: E402
from robo_reward.progress.models.vlm_files import check_vlm, load_vlm  # noqa: E402
from robo_reward.progress.reward_model import load_reward  # noqa: E402
from robo_reward.progress.tracker import TrackerSettings, hop_rows  # noqa: E402
from robo_reward.progress.training import TrainSettings  # noqa: E402
from robo_reward.runtime.steps import check_reward  # noqa: E402
from robo_reward.testing.episodes import make_episode  # noqa: E402
from robo_reward.testing.refusals import assert_one_line  # noqa: E402
from robo_reward.testing.tiny_vlm import ARCHITECTURES, build_vlm  # noqa: E402
from robo_reward.types import HopQuery  # noqa: E402

TASK = "insert the peg into the red socket"
VIEWS = ("front", "side", "wrist")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: build_vlm(tmp_path_factory.mktemp(name) / name, name) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def vlms(folders):
    return {name: load_vlm(str(folder)) for name, folder in folders.items()}


@pytest.fixture(params=ARCHITECTURES)
def vlm(request, vlms):
    return vlms[request.param]


@pytest.fixture
def broken(folders, tmp_path):
    """A copy of a model's folder, to break."""
    return shutil.copytree(folders["qwen2_5_vl"], tmp_path / "broken")


def settings(**changes):
    return replace(GrmSettings("tiny", views=VIEWS, answer_mass=0.0, batch=4), **changes)


def pictures(count, seed, views=VIEWS, height=84, width=84):
    rng = np.random.default_rng(seed)
    return {v: rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8) for v in views}


def asked(frames, tasks=(TASK,), after=(3, 4)):
    """What a tracker asks about frames 2, 3, ... of a pool that begins with a reference start and goal."""
    rows = hop_rows(1, np.array(after) - 1, np.array(after))
    return HopQuery(frames, *rows, tuple(tasks[i % len(tasks)] for i in range(len(rows[0]))))


def log_p(model, query):
    rows, pixels = model.questions(query)
    return model.asker.ask([q for row in rows for q in row], pixels)


def episode(seed=0, success=True, size=84):
    rng = np.random.default_rng(seed)
    zeros = np.zeros((9, 1), np.float32)
    return make_episode(
        8, f"e{seed}", success=success, terminated=True, instruction=TASK, source="expert" if success else "weak",
        seed=seed, oracle=zeros[:, 0], frame_steps=np.array([0, 4, 8]),
        frames={v: rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8) for v in VIEWS},
    )  # fmt: skip


def test_the_question_is_what_the_models_own_processor_makes_of_it(vlm):
    """Template, image order, image sizes, token ids and positions, for pictures of two sizes."""
    model = GrmModel(vlm, settings())
    for frames in (pictures(5, 0), pictures(5, 1, height=240, width=320)):
        rows, pixels = model.questions(asked(frames))
        question = rows[0][0]
        inputs = processor_inputs(vlm, [question], pixels, "released")
        text = vlm.processor.tokenizer.decode(inputs["input_ids"][0])
        assert text.startswith(
            "<|im_start|>system\n" if vlm.architecture == "qwen2_5_vl" else "<|im_start|>user\n\nYou"
        )
        assert text.endswith("<score>0%</score>\n<|im_end|>\n<|im_start|>assistant\n")
        grids = tuple(tuple(grid) for grid in inputs["image_grid_thw"].tolist())
        patch = {"qwen2_5_vl": 14, "qwen3_vl": 16}[vlm.architecture]
        areas = {t * h * w * patch**2 for t, h, w in grids}
        assert all(12544 <= area <= 76800 for area in areas) and len(set(grids)) == 1
        layout = model.asker._layout(TASK, grids)
        np.testing.assert_array_equal(layout.id_T, inputs["input_ids"][0])
        position, _ = vlm.model.model.get_rope_index(
            inputs["input_ids"], mm_token_type_ids=inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"]
        )
        np.testing.assert_array_equal(layout.position_3T, position[:, 0])


def test_the_eight_pictures_stand_in_the_released_order(vlm):
    frames = pictures(4, 0)
    rows, pixels = GrmModel(vlm, settings()).questions(asked(frames, after=(3,)))
    shown = [pixels[digest] for digest in rows[0][0].images]
    order = [("front", 0), ("front", 1), *((v, 2) for v in VIEWS), *((v, 3) for v in VIEWS)]
    for picture, (view, n) in zip(shown, order, strict=True):
        np.testing.assert_array_equal(picture, frames[view][n])


@pytest.mark.parametrize("order", ["released", "rules_first"])
def test_neither_caches_nor_batches_change_a_probability(vlm, order):
    """Instructions of two lengths, pictures of two sizes; twice, so that the second time all is remembered."""
    query = asked(pictures(4, 2), (TASK, "go"), after=(3,))
    wide = asked({**pictures(4, 3), "side": pictures(4, 4, ("side",), 100, 150)["side"]}, after=(3,))
    cached = GrmModel(vlm, settings(order=order))
    single = GrmModel(vlm, settings(order=order, batch=1), reuse=False)
    expected = [log_p(single, each) for each in (query, wide)]
    for each, wanted in zip((query, wide, query), (*expected, expected[0]), strict=True):
        assert np.ptp(wanted, axis=0).max() > 1e-2, "the answers hang on the pictures, or this shows nothing"
        np.testing.assert_allclose(log_p(cached, each), wanted, atol=1e-4)


def test_each_picture_and_each_common_beginning_is_computed_once(vlm):
    query = asked(pictures(5, 5), after=(3, 4))
    cached, single = GrmModel(vlm, settings()), GrmModel(vlm, settings(), reuse=False)
    cached.hop(query)
    single.hop(query)
    assert single.asker.work.images == 8 * single.asker.work.questions
    assert cached.asker.work.images == 5 * len(VIEWS)
    assert cached.asker.work.tokens < 0.9 * single.asker.work.tokens
    assert len(cached.asker._beginnings) == 3, "the references; and those with each as `before`"
    before = replace(cached.asker.work)
    cached.hop(query)
    assert cached.asker.work == before, "the same questions again: their answers are known"


@pytest.mark.parametrize("whole", [False, True])
def test_the_expectation_is_that_of_all_answers_one_by_one(vlm, whole):
    """Brute force by the model's own forward and cache: 201 answers, each token of each, as the tokenizer splits it."""
    model = GrmModel(vlm, settings(answer="enumerated" if whole else "expectation"))
    rows, pixels = model.questions(asked(pictures(4, 6), after=(3,)))
    question = rows[0][0]
    inputs = processor_inputs(vlm, [question], pixels, "released")
    tokenizer, length = vlm.processor.tokenizer, inputs["input_ids"].shape[1]
    answers = [tokenizer(answer_text(p), add_special_tokens=False)["input_ids"] for p in ANSWERS]
    width = max(map(len, answers))
    ids = torch.tensor([a + [tokenizer.pad_token_id] * (width - len(a)) for a in answers])
    with torch.no_grad():
        out = vlm.model(**inputs, use_cache=True)
        out.past_key_values.batch_repeat_interleave(len(answers))
        position = length + int(vlm.model.model.rope_deltas) + torch.arange(width).expand(3, len(answers), -1)
        behind = vlm.model(input_ids=ids, past_key_values=out.past_key_values, position_ids=position).logits
    logits = torch.cat([out.logits[:, -1:].expand(len(answers), -1, -1), behind], dim=1).double().log_softmax(-1)
    counted = [len(a) if whole else int((model.asker.trie.token_AS[i] >= 0).sum()) for i, a in enumerate(answers)]
    expected = np.array(
        [
            sum(float(logits[i, k, t]) for k, t in enumerate(a[:n]))
            for i, (a, n) in enumerate(zip(answers, counted, strict=True))
        ]
    )
    found = model.asker.ask([question], pixels)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)
    read, wanted = read_distribution(found), read_distribution(expected[None])
    np.testing.assert_allclose(read.hop_B, wanted.hop_B, atol=1e-5)
    np.testing.assert_allclose(read.std_B, wanted.std_B, atol=1e-5)


def test_a_model_that_would_say_something_else_has_no_answer(vlms):
    model = GrmModel(vlms["qwen3_vl"], settings(answer_mass=0.5))
    answer = model.hop(asked(pictures(4, 0), after=(3,)))
    assert not answer.valid_B.any() and not answer.confidence_B.any()
    good, words = bundled_pair(model)
    assert not good and "fine-tune it first" in words


def test_sampled_text_is_asked_for_once_more_and_then_held_and_marked(vlms, monkeypatch):
    said = iter([["<score>+50%</score>", "no idea"], ["still none"]])
    seeds = []
    monkeypatch.setattr(grm_sampled, "sampled_texts", lambda *_, seed: (seeds.append(seed), next(said))[1])
    model = GrmModel(vlms["qwen2_5_vl"], settings(answer="sampled", batch=2))
    frames = pictures(3, 0)
    pair = np.array([0, 1])
    answer = model.hop(HopQuery(frames, pair, pair + 1, np.zeros(2, int), np.ones(2, int), (TASK,) * 2))
    assert answer.hop_B.tolist() == [0.5, 0.0] and answer.valid_B.tolist() == [True, False]
    assert seeds == [0, 1], "the second text is another draw"


def test_a_sampled_text_comes_from_the_model_and_is_the_same_again(vlm):
    rows, pixels = GrmModel(vlm, settings()).questions(asked(pictures(4, 0), (TASK, "go"), after=(3,)))
    both = [rows[0][0], rows[1][0]]
    first, again = (grm_sampled.sampled_texts(vlm, both, pixels, "released", seed=3) for _ in range(2))
    assert first == again and len(first) == 2


def test_a_tracker_holds_where_there_is_no_answer(vlms):
    (track,) = track_many(
        [episode()], GrmModel(vlms["qwen2_5_vl"], settings(answer_mass=1.0)), TrackerSettings(), prepared_references()
    )
    assert not any(p.answered for p in track.progress)


def prepared_references():
    from robo_reward.progress.references import References

    return References.from_demonstrations([episode(1)], 1)


def test_numbers_that_are_not_finite_are_no_answer(broken):
    model = load_grm(settings(source=str(broken)))
    with torch.no_grad():
        model.vlm.model.lm_head.weight.mul_(float("nan"))
    assert not model.hop(asked(pictures(4, 0), after=(3,))).valid_B.any()
    good, words = bundled_pair(model)
    assert not good and words == "the model's numbers are not finite: its weights are damaged, download it again"
    assert grm_sampled.sampled_hops(model.vlm, *sampled_arguments(model)) == [None]


def sampled_arguments(model):
    rows, pixels = model.questions(asked(pictures(4, 0), after=(3,)))
    return [rows[0][0]], pixels, "released", 1


def test_any_subset_of_views_and_a_covered_lens(vlms):
    model = GrmModel(vlms["qwen2_5_vl"], settings(views=("front", "side", "wrist", "top")))
    frames = pictures(4, 0)
    one = model.questions(asked({"side": frames["side"]}, after=(3,)))[0][0][0].images
    assert len({*one[2:5]}) == 1 == len({*one[5:]}), "a single view fills all slots"
    frames["side"] = frames["side"].copy()
    frames["side"][3] = 7
    covered, pixels = model.questions(asked(frames, after=(3,)))
    assert all((pixels[d] != 7).any() for d in covered[0][0].images)
    assert [len(row) for row in model.questions(asked(pictures(4, 0, (*VIEWS, "top")), after=(3,)))[0]] == [2] * 4
    dark = {"front": np.zeros((4, 84, 84, 3), np.uint8)}
    assert not model.hop(asked(dark, after=(3,))).valid_B.any()
    assert len(model.hop(HopQuery(frames, *np.zeros((4, 0), int), ())).hop_B) == 0


def test_what_is_prepared_loads_again_and_follows_an_episode(folders, tmp_path):
    asks = settings(source=str(folders["qwen3_vl"]))
    train = TrainSettings(tracker=TrackerSettings(every=4))
    summary = prepare_grm(
        asks, [episode(0), episode(1, False)], train, tmp_path / "made", [episode(2), episode(3, False)]
    )
    reward = load_reward(tmp_path / "made")
    assert reward.name == "grm" and reward.model.model_id == summary["model_id"]
    track = reward.annotate([episode(4)])[0]
    assert track.phi.shape == (9,) and (track.confidence[1:] > 0).all() and track.model_id == reward.track_id
    with pytest.raises(ValueError, match="compact model's network, and this is reward=grm"):
        reward.compact  # noqa: B018
    other = GrmModel(reward.model.vlm, settings(order="rules_first"))
    assert other.model_id != reward.model.model_id, "another question, another model"
    path = tmp_path / "made" / "grm.json"
    path.write_text(path.read_text().replace(reward.model.vlm.weights, "0" * 12))
    with pytest.raises(ValueError, match="not the weights that"):
        load_reward(tmp_path / "made")
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a description of a reward model"):
        load_reward(tmp_path / "made")


def test_a_model_without_answers_is_refused_before_anything_is_built_on_it(folders, tmp_path):
    with pytest.raises(ValueError, match="no answer about demonstration e0"):
        prepare_grm(
            settings(source=str(folders["qwen3_vl"]), answer_mass=0.5), [episode(0)], TrainSettings(), tmp_path, []
        )


def test_doctor_names_files_architecture_memory_and_answer(folders, capsys):
    config = load_config(["reward=grm", f"model={folders['qwen3_vl']}", "reward.answer_mass=0"], "doctor")
    assert doctor(config) == {"good": 4, "bad": 0}
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("files", "qwen3_vl", "GiB needed", "from start to goal"))
    with pytest.raises(ValueError, match="1 of 4 checks failed: answer"):
        doctor(replace(config, reward=replace(config.reward, answer_mass=0.5)))
    assert "fine-tune it first" in capsys.readouterr().out


def test_doctor_does_not_load_what_has_no_room(folders, monkeypatch, capsys):
    monkeypatch.setattr("robo_reward.progress.models.vlm_check.memory_here", lambda device: 2**20)
    config = load_config(["reward=grm", f"reward.model={folders['qwen3_vl']}"], "doctor")
    with pytest.raises(ValueError, match="1 of 3 checks failed: memory"):
        doctor(config)
    assert "3.0 GiB needed, 0.0 GiB there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("frames", "match"),
    [
        ({}, "0 views"),
        ({"top": np.zeros((4, 84, 84, 3), np.uint8)}, "0 views: cameras .'top'."),
        (pictures(4, 0, height=1, width=1), "1 x 1 pixels, expected sides of 28 to 4096"),
        ({"front": np.broadcast_to(np.uint8(0), (4, 4320, 7680, 3))}, "7680 x 4320 pixels"),
        ({"front": np.zeros((4, 84, 84, 3), np.float32)}, "float32, expected .N, H, W, 3. uint8"),
    ],
)
def test_frames_that_cannot_be_shown_are_one_clear_line(vlms, frames, match):
    assert_one_line(lambda: GrmModel(vlms["qwen2_5_vl"], settings()).hop(asked(frames)), match)


def test_questions_that_cannot_be_asked_are_one_clear_line(vlms):
    model = GrmModel(vlms["qwen2_5_vl"], settings())
    assert_one_line(
        lambda: model.hop(asked(pictures(5, 0), ("x" * 9000,))), "tokens, the model's context 4096: shorten"
    )
    assert_one_line(lambda: model.hop(asked(pictures(5, 0), (" ",))), "instruction is empty")
    assert_one_line(lambda: model.hop(asked(pictures(5, 0), ("see <|image_pad|>",))), "places for pictures")
    nothing = np.full(1, -1)
    query = HopQuery(pictures(3, 0), *np.zeros((2, 1), int), nothing, nothing, (TASK,))
    assert_one_line(lambda: model.hop(query), "one of them is missing")


def test_settings_that_cannot_be_are_one_clear_line(folders, monkeypatch):
    folder = str(folders["qwen2_5_vl"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert_one_line(lambda: load_vlm(folder, device="cuda"), "torch sees no GPU here")
    assert_one_line(lambda: load_vlm(folder, four_bit=True), "needs a GPU and the package bitsandbytes")
    assert_one_line(lambda: settings(answer="guess"), "expected one of expectation")
    assert_one_line(lambda: settings(views=()), "0 views")
    assert_one_line(lambda: load_config(["reward.model=x"]), "is read with reward=grm: add it")
    assert_one_line(
        lambda: load_config(["reward=grm", "model=x", "suite.tasks=[lift]"]), "suite.tasks= trains the compact model"
    )
    assert_one_line(lambda: check_reward(Config(reward=RewardConfig(kind="grm"))), "add reward.model=FOLDER")
    assert_one_line(lambda: build_vlm("x", "gpt"), "expected one of qwen2_5_vl, qwen3_vl")
    assert check_reward(Config(reward=RewardConfig(kind="grm", model=folder))) == load_vlm(folder).weights
    assert check_vlm(folders["qwen3_vl"]) == "qwen3_vl"
