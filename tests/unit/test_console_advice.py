"""What the graded protocol asks of a person next, from what became of the episodes so far."""

from __future__ import annotations

from robo_reward.config import HilConfig
from robo_reward.console.advice import advise, what_happened
from robo_reward.hil.places import Place
from robo_reward.hil.schedule import Past

HIL = HilConfig(kind="console", protocol="graded", demonstrations=1, returns=1, budget_minutes=2)
PLACE = Place(3, 0, (), 10, 0.4, "stalls")


def kept(driven=0, place=-1):
    return {"steps": 100, "driven": driven, "place": place}


def next_of(labels, *rows, places=(PLACE,)):
    advice, past = advise(HIL, 20, labels, dict(enumerate(rows)), places)
    return advice["grade"], advice["place"], past


def test_whoever_drove_most_of_it_showed_it_and_a_success_with_help_is_not_the_policys():
    assert what_happened("success", kept(80)) == Past("demonstrate", -1, True)
    assert what_happened("success", kept(80, place=3)) == Past("guide", 3, True)
    assert what_happened("success", kept(20, place=3)) == Past("return", 3, False)
    assert what_happened("success", kept()) == Past("free", -1, True)
    assert what_happened("partial", {}) == Past("free", -1, False)


def test_a_demonstration_is_asked_for_then_the_policy_then_a_place_then_the_way_from_there():
    assert next_of([])[:2] == ("demonstrate", -1)
    assert next_of(["success"], kept(100))[:2] == ("free", -1)
    assert next_of(["success", "failure"], kept(100), kept())[:2] == ("return", 3)
    tried = next_of(["success", "failure", "failure", "failure"], kept(100), kept(), kept(place=3), kept())
    assert tried[:2] == ("guide", 3)
    assert tried[2] == [
        ["demonstrate", -1, True, 100],
        ["free", -1, False, 0],
        ["return", 3, False, 0],
        ["free", -1, False, 0],
    ]


def test_discarded_episodes_are_no_rollouts_but_their_minutes_count():
    assert next_of(["discard", "re_record"], kept(100), kept(100))[:2] == ("demonstrate", -1)
    assert next_of(["discard"], kept(20 * 60 * 2))[:2] == ("free", -1)  # the operator's minutes are spent
