import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.importing.suspicious import SMALLEST_CLASS, note_suspicions, suspicions
from profiles.notes import Notes


def world(seed, classes=10, strategies=8, n=200, interaction=0.5):
    """Cells of a two-way world in log-odds, with real differences between classes and models."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 1, (classes, 1)) + rng.normal(0, 1, strategies)
    odds = odds + rng.normal(0, interaction, odds.shape)
    means = rng.binomial(n, 1 / (1 + np.exp(-odds))) / n
    return {(f"c{i}", f"s{j}"): (n, float(mean)) for (i, j), mean in np.ndenumerate(means)}


def test_one_broken_cell_among_two_strategies_is_named_with_what_was_expected():
    cells = {}
    for index in range(12):
        base = 0.4 + 0.03 * index
        cells[f"c{index}", "weak"] = (100, base)
        cells[f"c{index}", "strong"] = (100, base + 0.15)
    cells["c4", "strong"] = (135, 0.022)
    (found,) = suspicions(cells, {})
    assert (found.class_name, found.strategy, found.queries) == ("c4", "strong", 135)
    assert 0.6 < found.expected < 0.75
    assert str(found).startswith("c4, strong: mean 0.022, n=135, far below the rest (0.6")


def test_a_hard_class_and_a_weak_strategy_are_no_failures():
    levels = {"easy": 0.9, "medium": 0.5, "hard": 0.02}
    cells = {
        (name, f"s{j}"): (200, level * part)
        for name, level in levels.items()
        for j, part in enumerate((1.0, 0.95, 0.9, 0.05))
    }
    assert suspicions(cells, {}) == []


def test_false_alarms_are_rare_where_nothing_is_broken():
    """4,000 worlds' cells of 80 each at interactions as large as in nine models on 14 tasks."""
    alarms = [len(suspicions(world(seed), {})) for seed in range(50)]
    assert sum(alarms) <= 0.005 * 50 * 80
    assert sum(len(suspicions(world(seed, interaction=0.0), {})) for seed in range(50)) == 0


def test_a_broken_cell_is_found_wherever_enough_was_expected():
    found = missed = 0
    for seed in range(50):
        cells = world(seed)
        cells["c0", "s0"] = (200, 0.005)
        names = {(s.class_name, s.strategy) for s in suspicions(cells, {})}
        others = [mean for (name, s), (_, mean) in cells.items() if name == "c0" and s != "s0"]
        own = [mean for (name, s), (_, mean) in cells.items() if s == "s0" and name != "c0"]
        if np.median(others) > 0.3 and np.median(own) > 0.3:
            found += ("c0", "s0") in names
            missed += ("c0", "s0") not in names
    assert found > 10
    assert missed == 0


def test_guessing_is_judged_only_where_the_source_says_what_guessing_scores():
    cells = {("mc", "good"): (500, 0.8), ("mc", "lost"): (500, 0.26), ("mc", "mute"): (500, 0.1)}
    assert suspicions(cells, {}) == []
    found = {s.strategy: s.rule for s in suspicions(cells, {"mc": 0.25})}
    assert found == {"lost": "no better than guessing", "mute": "below guessing"}
    weak = {("mc", "one"): (500, 0.27), ("mc", "other"): (500, 0.3)}
    assert suspicions(weak, {"mc": 0.25}) == []


def test_cells_of_unknown_size_are_suspicious_only_at_zero():
    cells = {(c, s): (None, 0.5) for c in ("a", "b", "c") for s in ("x", "y", "z")}
    cells["a", "x"] = (None, 0.01)
    assert suspicions(cells, {}) == []
    cells["a", "x"] = (None, 0.0)
    assert [str(s) for s in suspicions(cells, {})] == [
        "a, x: mean 0.000, n unknown, far below the rest (0.500)"
    ]


def test_small_classes_are_named_and_never_judged():
    notes = Notes()
    cells = {
        ("tiny", "s"): (3, 0.0),
        ("tiny", "t"): (3, 1.0),
        ("large", "s"): (SMALLEST_CLASS, 1.0),
    }
    note_suspicions(cells, {}, notes)
    (note,) = notes.all()
    assert (note.text, note.examples) == (
        "class too small to promise anything",
        ("tiny has 3 queries",),
    )


cell = st.tuples(st.none() | st.integers(1, 10_000), st.floats(0, 1))
names = st.tuples(st.sampled_from("abcd"), st.sampled_from("stuv"))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names, cell), st.dictionaries(st.sampled_from("abcd"), st.floats(0, 0.99)))
def test_any_cells_are_judged_without_an_error(cells, chance):
    for found in suspicions(cells, chance):
        assert cells[found.class_name, found.strategy] == (found.queries, found.mean)
        assert found.queries is None or found.queries >= SMALLEST_CLASS
