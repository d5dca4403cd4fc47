"""Models that answer in words: their published questions, what becomes of answers, and both ways to ask."""

import base64
import hashlib
import io
import json

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("aiohttp")

from PIL import Image

from robo_reward.interfaces import Unanswered
from robo_reward.progress import calls
from robo_reward.progress.calls import CallSettings
from robo_reward.progress.hop import hop_from_potentials
from robo_reward.progress.models import gvl, lrm, vlac_vlm
from robo_reward.progress.models.sibling import Clip, Pair, SiblingModel, SiblingSettings, load_sibling
from robo_reward.progress.models.talk import Turn, local_talker
from robo_reward.progress.models.vlm_files import load_vlm
from robo_reward.testing.reward_server import BadServer
from robo_reward.testing.tiny_vlm import build_vlm
from robo_reward.types import HopQuery

TASK = "push the red block"
GVL_DIGEST, VLAC_DIGEST, LRM_DIGEST = "90d758c6331d1bb8", "9503dc68fb3b35d6", "db2c21862d1c449e"
"""Of what the questions say: weights answer these and no others."""
CALLS = CallSettings(deadline_s=5, attempts=2, cool_down_s=0)
START, EARLY, LATE = (np.full((32, 32, 3), n, np.uint8) for n in (0, 50, 190))
for picture in (START, EARLY, LATE):
    picture[:16] += 25  # a picture in one colour shows nothing


class Talk:
    """Answers as `say` does, and remembers what it was asked."""

    def __init__(self, say):
        self.say, self.asked = say, []

    def __call__(self, turns, longest, temperature):
        self.asked += [(turn, temperature) for turn in turns]
        return [self.say(turn) for turn in turns]


def words(turn):
    return "".join(part if isinstance(part, str) else "[IMG]" for part in turn.parts)


def pictures(turn):
    return [part for part in turn.parts if not isinstance(part, str)]


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# ---- GVL ----


def truthful(turn):
    """The brightness in percent, of each frame but the first."""
    return "\n".join(
        f"Frame {n}: Frame Description: a block. Task Completion Percentages:{round(p.mean() / 2.55)}%"
        for n, p in enumerate(pictures(turn)[1:], 1)
    )


def test_gvl_asks_the_papers_question():
    text = words(gvl.turn_of(START, [EARLY, LATE], TASK))
    assert f"percentages for frames of a robot for the task of {TASK}. The task completion percentages are" in text
    assert "Initial robot scene: [IMG]\nIn the initial robot scene, the task completion percentage is 0.\n" in text
    assert "Frame {i}: Frame Description: {}, Task Completion Percentages:{}%\nFrame 1: [IMG]\nFrame 2: [IMG]\n" in text
    assert digest(gvl.INTRODUCTION + gvl.QUESTION) == GVL_DIGEST


def test_gvl_shows_frames_in_an_order_that_does_not_tell_time():
    talk = Talk(truthful)
    there = gvl.Gvl(talk).pairs([Pair(START, EARLY, LATE, TASK)])
    back = gvl.Gvl(talk).pairs([Pair(START, LATE, EARLY, TASK)])
    assert (talk.asked[0][0].key == talk.asked[1][0].key) and len(talk.asked) == 2
    assert there[0].tolist() == [0.25, 0.79, 0.5] and back[0].tolist() == [0.79, 0.25, 0.5]
    rng = np.random.default_rng(0)
    kept = []
    for _ in range(40):
        before, after = rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
        gvl.Gvl(talk).pairs([Pair(START, before, after, TASK)])
        kept.append(np.array_equal(pictures(talk.asked[-1][0])[1], before))
    assert 8 < sum(kept) < 32


def test_gvls_reference_start_is_nothing_without_being_asked():
    talk = Talk(truthful)
    found = gvl.Gvl(talk).pairs([Pair(START, START, LATE, TASK), Pair(START, START, START, TASK)])
    assert found[:, :2].tolist() == [[0, 0.79], [0, 0]] and len(talk.asked) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Frame 1: Frame Description: a, Task Completion Percentages:10%\nFrame 2: Frame Description: 3 cm, "
         "Task Completion Percentages:55.5%", (0.1, 0.555)),
        ("**Frame 2:** Frame Description: b. Task Completion Percentage: 5 %\n**Frame 1:** Frame Description: Frame of "
         "wood\nTask Completion Percentages: **100%**", (1.0, 0.05)),
        ("Frame 1: Frame Description: a\nFrame 2: Frame Description: b, Task Completion Percentages:55%", None),
        ("Frame 1: Frame Description: a, Task Completion Percentages:10%", None),
        ("Frame 1: x, Task Completion Percentages:10%\nFrame 2: y, Task Completion Percentages:101%", None),
        ("", None),
    ],
)  # fmt: skip
def test_gvls_answer_has_a_percentage_for_every_frame(text, said):
    assert gvl.percentages(text, 2) == (said if said is None else pytest.approx(said))


def test_what_does_not_parse_is_asked_for_once_more_and_then_missing():
    talk = Talk(lambda turn: "I cannot tell")
    asker = gvl.Gvl(talk)
    assert np.isnan(asker.pairs([Pair(START, EARLY, LATE, TASK)])).all()
    assert [temperature for _, temperature in talk.asked] == [0.0, 0.1]
    talk.say = truthful
    assert asker.pairs([Pair(START, EARLY, LATE, TASK)] * 2)[:, 1].tolist() == [0.79] * 2
    asker.pairs([Pair(START, EARLY, LATE, TASK)])
    assert len(talk.asked) == 3, "an answer is asked for once"


# ---- VLAC ----


def critic(turn):
    if "<done>" in words(turn):
        return "1" if pictures(turn)[0].mean() > 190 else "0"
    return f"{round((pictures(turn)[1].mean() - pictures(turn)[0].mean()) / 2.55)}"


def test_vlac_asks_about_the_pair_and_whether_it_is_done():
    clip = Clip(np.stack([START, LATE]), TASK)
    pair, done = vlac_vlm.pair_turn(clip), vlac_vlm.done_turn(clip)
    assert words(pair).startswith("Image-1: [IMG]\nImage-2: [IMG]\nCompare two images")
    assert words(pair).endswith(f"The target task is: <task> {TASK} </task> <score>")
    assert words(done) == (
        f"[IMG]The 1 means yes, the 0 means no. Check if the robot has completed its task: <task> {TASK} </task> <done>"
    )
    assert {p.shape for turn in (pair, done) for p in pictures(turn)} == {(448, 448, 3)}
    assert digest(vlac_vlm.SYSTEM + vlac_vlm.PAIR) == VLAC_DIGEST and pair.system == done.system == vlac_vlm.SYSTEM


def test_vlacs_value_is_the_mean_of_progress_and_done():
    score = vlac_vlm.scorer({"": Talk(critic)})
    clips = [Clip(np.stack([a, b]), TASK) for a, b in ((START, EARLY), (START, LATE), (LATE, EARLY), (LATE, LATE))]
    assert score(clips).tolist() == [0.1, 0.87, 0, 0.5]
    assert np.isnan(vlac_vlm.scorer({"": Talk(lambda turn: "better")})(clips[:1])).all()


@pytest.mark.parametrize(
    ("text", "said"), [("35", 0.35), (" -20", -0.2), ("+7.5%", 0.075), ("120", None), ("x3", None)]
)
def test_vlacs_score_is_a_signed_percentage(text, said):
    assert vlac_vlm.parse_score(text) == said


# ---- LRM ----


def reasoning(turn):
    if "more_complete_image" in words(turn):
        first, second = (p.mean() for p in pictures(turn))
        return f'The block ... {{ "more_complete_image": "Image{"B" if second > first else "A"}" }}'
    if "task_completed" in words(turn):
        return f'{{ "task_completed": "{"yes" if pictures(turn)[0].mean() > 190 else "no"}" }}'
    return f'{{ "completion_progress": {pictures(turn)[0].mean() / 255:.1f} }}'


def test_lrm_asks_each_of_its_models_its_own_question():
    talkers = {signal: Talk(reasoning) for signal in lrm.SIGNALS}
    lrm.Lrm(talkers).pairs([Pair(START, EARLY, LATE, TASK)])
    asked = {signal: [words(turn) for turn, _ in talk.asked] for signal, talk in talkers.items()}
    assert [len(asked[signal]) for signal in lrm.SIGNALS] == [2, 2, 1]
    assert f"progress.\nThe task is: {TASK}\nYou are given:\n- Current observation: [IMG]\n\n" in asked["progress"][0]
    assert asked["completion"][0].endswith('{ "task_completed": "yes" or "no" }')
    assert "(Image A): [IMG]\n- Later observation (Image B): [IMG]\n\nQuestion: Which" in asked["contrastive"][0]
    assert digest("".join((*lrm.PROGRESS, *lrm.COMPLETION, *lrm.CONTRASTIVE))) == LRM_DIGEST


def test_lrms_values_come_from_two_signals_and_the_third_says_how_sure_they_are():
    pairs = [Pair(START, EARLY, LATE, TASK), Pair(START, LATE, EARLY, TASK), Pair(START, LATE, LATE, TASK)]
    found = lrm.Lrm(dict.fromkeys(lrm.SIGNALS, Talk(reasoning))).pairs(pairs)
    assert found == pytest.approx(np.array([[0.1, 0.9, 1], [0.9, 0.1, 1], [0.9, 0.9, 0.5]]))
    wrong = {
        **dict.fromkeys(lrm.SIGNALS, Talk(reasoning)),
        "contrastive": Talk(lambda t: '"more_complete_image": "ImageA"'),
    }
    assert lrm.Lrm(wrong).pairs(pairs)[:, 2].tolist() == [0, 1, 0.5]
    silent = {**wrong, "contrastive": Talk(lambda turn: "hard to tell")}
    assert lrm.Lrm(silent).pairs(pairs)[:, 2].tolist() == [0.5] * 3
    mute = {**wrong, "completion": Talk(lambda turn: "maybe")}
    assert np.isnan(lrm.Lrm(mute).pairs(pairs)[:, :2]).all()


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (lrm.parse_progress, '{ "completion_progress": 0.3 }', 0.3),
        (lrm.parse_progress, '{"completion_progress": "NA"}', 0.0),
        (lrm.parse_progress, '{"completion_progress": 7}', None),
        (lrm.parse_progress, "0.3", None),
        (lrm.parse_completion, '{"task_completed": "Yes"}', 1.0),
        (lrm.parse_completion, "yes or no", None),
        (lrm.parse_contrastive, '"more_complete_image": "ImageA" ... { "more_complete_image": "ImageB" }', 1),
        (lrm.parse_contrastive, "ImageB", None),
    ],
)
def test_lrms_answers_are_json(parse, text, said):
    assert parse(text) == said


# ---- both ways to ask ----


def query():
    frames = np.stack([START, LATE, START, EARLY, LATE])
    before, after, zero = np.array([2, 3, 4, 2]), np.array([3, 4, 3, 2]), np.zeros(4, np.int64)
    return HopQuery({"front": frames}, before, after, zero, zero + 1, (TASK,) * 4)


def turn_from(asked):
    """What a chat request says, as a `Turn`."""
    [*system, user] = asked["messages"]
    parts = [
        part["text"] if part["type"] == "text"
        else np.asarray(Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1]))))
        for part in user["content"]
    ]  # fmt: skip
    return Turn(tuple(parts), system[0]["content"][0]["text"] if system else "")


@pytest.mark.parametrize(("kind", "say"), [("gvl", truthful), ("vlac_vlm", critic), ("lrm", reasoning)])
def test_a_chat_server_answers_hops_and_is_known_by_the_name_that_it_gives_itself(kind, say, tmp_path, monkeypatch):
    monkeypatch.setattr(calls, "PAUSE_S", 0.0)
    asked, values = [], {"gvl": (0.25, 0.79), "vlac_vlm": (0.1, 0.87), "lrm": (0.1, 0.9)}[kind]

    def chat(request):
        asked.append(request)
        said = say(turn_from(request)) if request["max_tokens"] > 1 else "Hi"
        return {"message": {"role": "assistant", "content": said}}

    with BadServer(chat=chat) as server:
        settings = SiblingSettings(kind, "big", device="cpu", url=server.url, calls=CALLS)
        model = load_sibling(settings)
        names = [f"big/{signal}" for signal in lrm.SIGNALS] if kind == "lrm" else ["big"]
        assert model.weights == names and {each["model"] for each in asked} == set(names)
        found = model.hop(query())
        steps = [(0, values[0]), values, values[::-1], (0, 0)]
        assert found.valid_B.all()
        assert found.hop_B == pytest.approx(np.array([hop_from_potentials(*step) for step in steps]), abs=1e-6)
        model.save(tmp_path)
        again, before = SiblingModel.load(tmp_path), len(asked)
        assert again.model_id == model.model_id and len(asked) == before, "nobody is asked when it is read again"
        assert again.hop(query()).hop_B.tobytes() == found.hop_B.tobytes()
        for way in ("other", "html", "short", "crash"):
            server.way = way
            with pytest.raises(Unanswered):
                SiblingModel.load(tmp_path).hop(query())
    with pytest.raises(Unanswered):
        load_sibling(settings)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return build_vlm(tmp_path_factory.mktemp("vlm"), "qwen3_vl")


@pytest.mark.parametrize("kind", ["gvl", "vlac_vlm", "lrm"])
def test_a_local_model_that_does_not_know_the_form_has_no_answer(kind, vlm, tmp_path, monkeypatch):
    """Random weights say nothing in the published form; nothing is made of that."""
    for module in (gvl, vlac_vlm):
        monkeypatch.setattr(module, "LONGEST", 8)
    monkeypatch.setattr(lrm, "LONGEST", dict.fromkeys(lrm.SIGNALS, 8))
    if kind == "lrm":
        for signal in lrm.SIGNALS:
            (tmp_path / signal).symlink_to(vlm, target_is_directory=True)
    model = load_sibling(SiblingSettings(kind, str(tmp_path if kind == "lrm" else vlm), device="cpu"))
    assert len(model.weights) == (3 if kind == "lrm" else 1)
    without_asking = kind == "gvl"  # whose start is nothing
    assert model.hop(query()).valid_B.tolist() == [False, False, False, without_asking]


def test_a_local_model_says_the_same_alone_and_in_a_batch(vlm):
    talk = local_talker(load_vlm(str(vlm), device="cpu"), batch=3)
    turns = [
        Turn(("what is it? ", LATE)),
        Turn((START, "and", EARLY, "which is it, and why?"), "be brief"),
        Turn((EARLY, "?")),
    ]
    together = talk(turns, 6, 0.0)
    assert together == [talk([turn], 6, 0.0)[0] for turn in turns]
    assert len(set(together)) > 1
    assert talk(turns, 6, 0.7) == talk(turns, 6, 0.7)


def test_a_question_beyond_the_context_is_refused(vlm):
    talk = local_talker(load_vlm(str(vlm), device="cpu"), batch=1)
    with pytest.raises(ValueError, match="tokens, the model's context 4096: shorten the instruction"):
        talk([Turn((EARLY, "what " * 5000))], 8, 0.0)


def test_a_token_does_not_travel_in_the_clear(monkeypatch):
    monkeypatch.setenv("ROBO_REWARD_TOKEN", "secret")
    with pytest.raises(ValueError, match="does not travel over plain http beyond this machine"):
        load_sibling(SiblingSettings("gvl", "big", url="http://192.0.2.1:8000", calls=CALLS))


def test_lrms_adapters_are_refused_without_the_model_that_they_are_for(tmp_path):
    for signal in lrm.SIGNALS:
        (tmp_path / signal).mkdir()
        (tmp_path / signal / "adapter_config.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="merge them into it"):
        load_sibling(SiblingSettings("lrm", str(tmp_path), device="cpu"))
    with pytest.raises(ValueError, match="no such folder; reward=lrm needs progress, completion, contrastive"):
        load_sibling(SiblingSettings("lrm", str(tmp_path / "progress"), device="cpu"))
