"""What label and train-reward show on a terminal."""

from __future__ import annotations

from robo_reward.progress.pairs import KINDS
from robo_reward.runtime.tables import PAIRS, bars, print_labels, print_pairs


def test_the_table_of_pairs_shows_shares_and_bars(capsys):
    counts = {f"pairs_{key}": 0 for key in PAIRS} | {"pairs_total": 200, "pairs_reversed": 50}
    print_pairs({**counts, "pairs_hop_histogram": [0, 5, 10], "pairs_gap_histogram": [3, 3]}, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    [rewound] = [line for line in lines if "rewound" in line]
    assert rewound.endswith(" 25.0%") and lines[0].split() == ["training", "pairs", "200"]
    assert lines[-2].endswith("▁▅█") and lines[-1].endswith("██")
    assert set(KINDS) <= set(PAIRS)
    print_pairs({}, quiet=False)  # a model that no pairs trained
    print_pairs({**counts, "pairs_hop_histogram": [], "pairs_gap_histogram": []}, quiet=True)
    assert not capsys.readouterr().out


def test_nothing_drawn_is_an_empty_bar():
    assert bars([0, 0]) == "▁▁" and bars([]) == ""


def test_the_table_of_labels_leaves_out_what_nobody_knows(capsys):
    print_labels({"label_source": "events", "labelled_episodes": 80, "exact_share": 0.5}, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "labels from events" and lines[2].endswith(" 50%") and len(lines) == 3
