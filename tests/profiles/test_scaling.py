"""Where more compute stops paying, where it does harm, and how sure that is."""

from __future__ import annotations

import csv
import itertools
import json
import math
from math import comb

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from small_worlds import WORKLOAD, observation

from app.cli.profile import profile
from profiles.aggregate import Aggregate
from profiles.errors import InputError, UnknownValueError
from profiles.query import Query
from profiles.scaling.families import families, ladder
from profiles.scaling.fitting import shapes
from profiles.scaling.levels import Unit
from profiles.scaling.paired import fieller, holm, worse_p_value, worse_p_value_unpaired
from profiles.scaling.query_means import MEASURES, QueryMeans, query_means
from profiles.scaling.saturation import Curves, fit
from profiles.store.store import Store

LEVELS = (1, 2, 4, 8, 16, 32)
RISING = Curves(*(np.array([value]) for value in (0.8, 1.2, 0.9, 0.0)))


def means(scores, **more) -> QueryMeans:
    column = np.asarray(scores, dtype=float)
    ids = np.array([f"q{i:05}" for i in range(column.size)], dtype=object)
    unknown = {name: np.full(column.size, math.nan) for name in MEASURES}
    given_more = {name: np.asarray(value, dtype=float) for name, value in more.items()}
    return QueryMeans(ids, unknown | {"score": column} | given_more)


def world(accuracies, queries=400, levels=LEVELS, seed=0, name="n"):
    """Queries of graded difficulty: each level solves those below its accuracy, and some luck."""
    rng = np.random.default_rng(seed)
    difficulty = rng.permutation((np.arange(queries) + 0.5) / queries)
    return {
        ("all", f"m/best_of_n({name}={level})"): means(
            np.clip(difficulty + rng.normal(0, 0.05, queries), 0, 1) < accuracy
        )
        for level, accuracy in zip(levels, accuracies, strict=True)
    }


def one(observed=None, published=(), **options):
    (found,) = shapes(observed or {}, published, **{"resamples": 200, **options})
    return found


def test_families_differ_in_one_parameter_alone():
    found = families(
        [
            "m/best_of_n(n=2,verifier=v)",
            "m/best_of_n(n=8,verifier=v)",
            "m/best_of_n(n=8,verifier=w)",
            "o/best_of_n(n=2,verifier=v)",
            "m/single",
            "m/single(temperature=0.5)",
        ]
    )
    assert [family.name for family in found] == ["m/best_of_n(n=*,verifier=v)"]
    assert found[0].members == (
        ("m/best_of_n(n=2,verifier=v)", 2.0),
        ("m/best_of_n(n=8,verifier=v)", 8.0),
    )


def test_efforts_are_ordered_by_what_they_used():
    observed = {
        ("all", f"m/single(effort={word})"): means([1, 0, 1, 0], tokens=[amount] * 4)
        for word, amount in (("high", 900), ("low", 100), ("medium", 300))
    }
    found = one(observed)
    assert found.unit == "tokens"
    assert [level.compute for level in found.levels] == [100, 300, 900]


def test_efforts_whose_compute_nobody_measured_have_no_order():
    found = one({("all", f"m/single(effort={word})"): means([1, 0]) for word in ("high", "low")})
    assert found.levels == ()
    assert found.without_curve == "nothing measured says how much compute each level uses"


def test_compute_that_was_measured_as_none_is_said_to_be_none():
    observed = {("all", f"m/best_of_n(n={n})"): means([1, 0], cost_usd=[0.0, 0.0]) for n in (1, 2)}
    said = one(observed, unit=Unit.COST_USD).without_curve
    assert said == (
        "m/best_of_n(n=1), m/best_of_n(n=2) used 0 cost_usd: doublings of compute start above 0"
    )
    assert one(observed).unit == "n"
    assert "nothing measured" in one(observed, unit=Unit.TOKENS).without_curve


def test_a_ladder_is_read_by_the_grammar_of_strategies():
    found = ladder("m/single, m/refine(n=2,with=[a/single,b/single])")
    assert [text for text, _ in found.members] == [
        "m/single",
        "m/refine(n=2,with=[a/single,b/single])",
    ]
    with pytest.raises(InputError, match="not a strategy"):
        ladder("m/single,,")


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(0.05, 0.95), min_size=5, max_size=5),
    st.booleans(),
)
def test_the_fit_is_as_good_as_a_general_optimiser_finds(accuracies, turning):
    doublings, weights = np.arange(5.0), np.array([1.0, 4, 2, 1, 3])
    seen = np.array([accuracies])
    curve = fit(doublings, seen, weights, turning=turning)

    def unclipped(parameters):
        ceiling, gap, rate, loss = parameters
        return ceiling * np.exp(-gap * np.exp(-rate * doublings)) - loss * doublings

    def error(parameters):
        return float((weights * (unclipped(parameters) - seen[0]) ** 2).sum())

    bounds = [(0, 1), (0, 12), (0.05, 4), (0, 1 if turning else 0)]
    best = min(
        optimize.minimize(error, start, bounds=bounds).fun
        for start in ([0.5, 1, 1, 0], [0.9, 0.1, 0.3, 0], [0.9, 3, 2, 0], [0.7, 8, 0.5, 0])
    )
    found = error([curve.ceiling[0], curve.gap[0], curve.rate[0], curve.loss[0]])
    assert found <= 1.05 * best + 2e-4  # weighted squares: a deviation of 0.004 at each level


def test_a_curve_that_fits_exactly_is_found_again():
    doublings = np.arange(6.0)
    curve = fit(doublings, RISING.at(doublings), np.ones(6), turning=False)
    assert curve.at(doublings) == pytest.approx(RISING.at(doublings), abs=0.002)
    assert curve.knees(5.0, 0.02)[0] == pytest.approx(RISING.knees(5.0, 0.02)[0], abs=0.15)


def test_no_doubling_after_the_knee_gains_the_points():
    knee = RISING.knees(5.0, 0.02)[0]
    after = np.linspace(knee, 4.0, 50)
    assert (RISING.at(after + 1) - RISING.at(after) <= 0.02 + 1e-9).all()
    before = np.array([knee - 0.05])
    assert RISING.at(before + 1) - RISING.at(before) > 0.02


def test_the_knee_does_not_depend_on_the_unit_of_compute():
    accuracies = RISING.at(np.log2(LEVELS))[0]
    few = one(world(accuracies), points=0.02)
    many = one(world(accuracies, levels=[100 * n for n in LEVELS]), points=0.02)
    assert many.knee.compute == pytest.approx(100 * few.knee.compute)
    assert few.knee.low <= few.knee.compute
    assert few.paired


def test_a_curve_that_still_rises_has_no_knee():
    steep = Curves(*(np.array([value]) for value in (0.95, 3.0, 0.35, 0.0)))
    found = one(world(steep.at(np.log2(LEVELS))[0]), points=0.02)
    assert found.knee.compute is None
    assert found.knee.high is None


def test_the_same_seed_gives_the_same_interval():
    observed = world(RISING.at(np.log2(LEVELS))[0])
    assert one(observed, seed=3).knee == one(observed, seed=3).knee


def test_two_levels_have_no_curve_but_a_test():
    found = one(world([0.9, 0.5], levels=(1, 2)))
    assert found.without_curve == "2 levels of compute, a curve needs 3"
    assert found.knee is None
    assert found.downturns[0].change == pytest.approx(-0.4, abs=0.03)


def test_overthinking_is_found_and_the_curve_turns_down():
    found = one(world([0.5, 0.7, 0.8, 0.75, 0.65, 0.55]))
    lost = {(one.before, one.after) for one in found.downturns}
    assert ("m/best_of_n(n=4)", "m/best_of_n(n=32)") in lost
    assert found.curve.loss[0] > 0
    assert found.at(32).accuracy < found.at(4).accuracy


def test_noise_alone_does_not_turn_the_curve():
    rng = np.random.default_rng(5)
    observed = {("all", f"m/best_of_n(n={n})"): means(rng.random(300) < 0.7) for n in LEVELS}
    found = one(observed)
    assert found.downturns == ()
    assert found.curve.loss[0] == 0


def test_one_doubling_beyond_what_was_measured_is_flagged_and_more_is_refused():
    found = one(world(RISING.at(np.log2(LEVELS))[0]))
    inside, outside = found.at(32), found.at(64)
    assert not inside.extrapolated
    assert outside.extrapolated
    assert outside.high - outside.low >= inside.high - inside.low
    for amount in (65, 0.49):
        with pytest.raises(UnknownValueError, match="one doubling outside"):
            found.at(amount)


def test_a_step_that_no_curve_of_this_form_follows_has_no_curve_and_no_knee():
    found = one(world([0.1, 0.1, 0.9, 0.9, 0.9], levels=(1, 2, 4, 8, 16)))
    assert found.without_curve == "the curve does not fit the measured levels"
    assert found.misfit_p_value <= 0.05
    assert found.knee is None
    assert len(found.levels) == 5
    with pytest.raises(UnknownValueError, match="no curve"):
        found.at(4)


def test_a_form_that_is_true_is_seldom_taken_for_a_misfit():
    """100 worlds of independent levels; standard error 0.022."""
    rng, withheld = np.random.default_rng(4), 0
    accuracies = RISING.at(np.log2(LEVELS))[0]
    for _ in range(100):
        observed = {
            ("all", f"m/best_of_n(n={n})"): means(rng.random(60) < accuracy)
            for n, accuracy in zip(LEVELS, accuracies, strict=True)
        }
        withheld += one(observed, resamples=100).without_curve is not None
    assert withheld <= 11


def test_fewer_than_twenty_queries_have_no_curve():
    found = one(world([0.3, 0.5, 0.7], queries=19, levels=(1, 2, 4)))
    assert found.without_curve == "a level has 19 queries, a curve needs 20"
    cells = [Aggregate("w", "all", f"m/best_of_n(n={n})", 1, 1.0) for n in (1, 2, 4)]
    assert "a level has 1 queries" in one(published=cells).without_curve


@pytest.mark.parametrize("score", [0.0, 0.6, 1.0])
def test_levels_that_all_score_the_same_are_no_certainty(score):
    cost = {"cost_usd": np.full(30, 0.1)}
    observed = {
        ("all", f"m/best_of_n(n={n})"): means(np.full(30, score), **cost) for n in (1, 2, 4)
    }
    found = one(observed, unit=Unit.LEVER)
    for amount in (1, 2, 4):
        answer = found.at(amount)
        assert answer.high - answer.low > 0.02
        assert answer.low <= score <= answer.high + 1e-6
    cells = [Aggregate("w", "all", f"m/best_of_n(n={n})", 30, score) for n in (1, 2, 4)]
    answer = one(published=cells).at(2)
    assert answer.high - answer.low > 0.02
    with_costs = one(observed, unit=Unit.LEVER).levels[0]
    assert with_costs.accuracy_per_unit_interval[0] < with_costs.accuracy_per_unit_interval[1]


@pytest.mark.parametrize(("queries", "chance"), [(20, 0.97), (20, 0.5), (50, 0.98)])
def test_intervals_of_a_flat_curve_cover_it(queries, chance):
    """100 repetitions of three independent levels; standard error 0.022 at 95 %."""
    rng, held, answered = np.random.default_rng(5), 0, 0
    for _ in range(100):
        observed = {
            ("all", f"m/best_of_n(n={n})"): means(rng.random(queries) < chance) for n in (2, 4, 8)
        }
        found = one(observed, resamples=150)
        if found.curve is not None:
            answered, answer = answered + 1, found.at(4)
            held += answer.low <= chance <= answer.high
    assert answered >= 85
    assert held / answered >= 0.95 - 3 * 0.022


def test_a_shape_without_a_curve_answers_nothing():
    with pytest.raises(UnknownValueError, match="no curve"):
        one(world([0.5, 0.6], levels=(1, 2))).at(1)


def test_published_cells_without_a_sample_size_have_no_curve():
    cells = [
        Aggregate("w", "all", f"m/best_of_n(n={n})", None if n == 4 else 500, 0.5) for n in LEVELS
    ]
    found = one(published=cells)
    assert "nobody says how many queries" in found.without_curve


def test_levels_that_span_less_than_a_doubling_have_no_curve():
    observed = world([0.5, 0.6, 0.7], levels=(10, 12, 15))
    assert one(observed).without_curve == "the levels span less than one doubling of compute"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_the_test_of_zeros_and_ones_counts_all_ways_of_flipping(pairs):
    before, after = np.array(pairs, dtype=float).T
    difference = after - before
    flips = [
        float((np.abs(difference) * signs).sum())
        for signs in itertools.product((-1, 1), repeat=len(pairs))
    ]
    expected = np.mean([total <= difference.sum() for total in flips])
    assert worse_p_value(before, after) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1, 1).map(lambda value: round(value, 2)), min_size=1, max_size=30))
def test_the_test_of_scores_between_is_the_chance_that_weighted_differences_are_positive(found):
    difference = np.array(found)
    rng = np.random.default_rng(0)
    weights = rng.exponential(size=(40_000, difference.size + 1))
    expected = float((weights @ np.append(difference, 1.0) >= 0).mean())
    zero = np.zeros(difference.size)
    assert worse_p_value(zero, difference) == pytest.approx(expected, abs=0.012)


def test_a_gain_too_rare_to_be_drawn_is_no_loss():
    """2000 pairs of no true change whose differences are nearly always the same small loss."""
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(2000):
        before = rng.uniform(0.4, 0.6, 15)
        after = before + np.where(rng.random(15) < 0.05, 0.38, -0.02)
        alarms += worse_p_value(before, after) <= 0.05
    assert alarms / 2000 <= 0.05 + math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("gain", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("queries", [10, 40])
def test_two_point_differences_without_a_true_change_raise_few_alarms(gain, queries):
    """3000 repetitions per loss; the mean of the differences is 0 exactly."""
    rng = np.random.default_rng(2)
    for loss in (0.02, 0.2, 0.8):
        chance = loss / (gain + loss)
        alarms = 0
        tested = {}
        for gains in rng.binomial(queries, chance, 3000):
            if gains not in tested:
                after = np.repeat([gain, -loss], [gains, queries - gains])
                tested[gains] = worse_p_value(np.zeros(queries), after)
            alarms += tested[gains] <= 0.05
        assert alarms / 3000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 3000)


def test_a_p_value_is_never_zero():
    for queries in (15, 5000):
        before = np.full(queries, 0.9)
        assert 0 < worse_p_value(before, np.zeros(queries)) < 0.001
    assert worse_p_value_unpaired(1.0, 10**6, 0.0, 10**6) > 0


def test_a_loss_shared_by_many_graded_queries_is_found():
    rng = np.random.default_rng(3)
    before = rng.uniform(0.3, 0.9, 200)
    assert worse_p_value(before, before - rng.uniform(0, 0.2, 200)) < 0.001


def test_losses_that_add_up_to_less_than_one_answer_show_nothing():
    before = np.full(50, 0.6)
    assert worse_p_value(before, before - 0.015) > 0.2


def test_published_shares_are_compared_by_a_pooled_test():
    assert worse_p_value_unpaired(0.8, 500, 0.7, 500) == pytest.approx(0.000132, rel=0.02)
    assert worse_p_value_unpaired(1.0, 5, 1.0, 5) == 1.0


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_value_nor_passes_bonferroni(p_values):
    for raw, adjusted in zip(p_values, holm(p_values), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(p_values)) or adjusted == max(holm(p_values))


def test_fieller_agrees_with_the_delta_method_where_the_denominator_is_well_known():
    low, high = fieller(
        0.1, 0.5, variance_over=1e-6, variance_under=1e-5, covariance=0.0, quantile=1.96
    )
    error = 0.2 * math.sqrt(1e-6 / 0.01 + 1e-5 / 0.25)
    assert (low, high) == pytest.approx((0.2 - 1.96 * error, 0.2 + 1.96 * error), rel=0.01)


def test_a_ratio_over_what_may_be_zero_has_no_upper_end():
    low, high = fieller(
        0.1, 0.01, variance_over=1e-6, variance_under=1e-3, covariance=0.0, quantile=1.96
    )
    assert high is None
    assert 0 < low < 10


def test_cost_per_correct_covers_its_truth():
    rng, held = np.random.default_rng(2), 0
    for _ in range(400):
        right = rng.random(80) < 0.4
        cost = rng.lognormal(-5, 0.5, 80) * (1 + right)
        found = one(
            {
                ("all", "m/best_of_n(n=1)"): means(right, cost_usd=cost),
                ("all", "m/best_of_n(n=2)"): means(right, cost_usd=cost),
            }
        )
        low, high = found.levels[0].cost_per_correct_interval
        held += low <= math.exp(-5 + 0.125) * 1.4 / 0.4 <= high
    assert 0.92 <= held / 400 <= 0.98  # standard error 0.011


def test_levels_that_never_succeed_have_no_cost_per_correct_answer():
    observed = {
        ("all", f"m/best_of_n(n={n})"): means(np.zeros(20), cost_usd=np.full(20, 0.5))
        for n in (1, 2)
    }
    level = one(observed).levels[0]
    assert level.cost_per_correct_usd is None
    assert level.cost_per_correct_interval[1] is None


def run(*words: object):
    result = CliRunner().invoke(profile, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def store_path(tmp_path):
    path = tmp_path / "s.duckdb"
    accuracies = RISING.at(np.log2(LEVELS))[0]
    with Store.open(path) as store:
        for (_, strategy), cell in world(accuracies, queries=120).items():
            n = int(strategy.split("=")[1].rstrip(")"))
            store.add(
                observation(
                    query, strategy, score=float(score), tokens_in=100 * n, tokens_out=50 * n
                )
                for query, score in zip(cell.query_id, cell.measures["score"], strict=True)
            )
    return path


def test_the_command_line_shows_levels_knee_and_flags(store_path):
    words = ("shape", "--profiles", store_path, "--workload", WORKLOAD, "--points", "2")
    text = run(*words, "--at", "64")
    assert "all: m/best_of_n(n=*)" in text
    assert "knee n " in text
    assert "EXTRAPOLATED" in text
    assert "no loss beyond noise in 15 comparisons" in text
    assert "accuracy not answered: this is more than one doubling" in run(*words, "--at", "500")


def test_the_command_line_refuses_a_seed_below_zero(store_path):
    words = ["shape", "--profiles", str(store_path), "--workload", WORKLOAD, "--seed", "-1"]
    result = CliRunner().invoke(profile, words)
    assert result.exit_code == 2
    assert "'--seed'" in result.output


def test_the_command_line_prices_and_ladders(store_path, tmp_path):
    card = tmp_path / "card.yaml"
    card.write_text("models:\n  m: {input: 1, output: 2}\n")
    rungs = ",".join(f"m/best_of_n(n={n})" for n in (1, 4, 16))
    words = ("shape", "--profiles", store_path, "--workload", WORKLOAD, "--format", "json")
    found = json.loads(run(*words, "--prices", card, "--ladder", rungs, "--compute", "cost_usd"))
    (shape,) = found["shapes"]
    assert [level["compute"] for level in shape["levels"]] == pytest.approx([2e-4, 8e-4, 32e-4])
    assert shape["knee"] is not None
    assert shape["levels"][0]["cost_per_correct_interval"][0] > 0


@pytest.mark.data
def test_refining_mbpp_python_is_worse_but_not_beyond_noise(data_dir):
    with (data_dir / "reflexion_programming/outcomes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "mbpp-py"]
    names = {"single": "gpt-4/single", "reflexion_max5": "gpt-4/reflexion(max=5)"}
    with Store.open(":memory:") as store:
        store.add(
            observation(
                row["query_id"],
                names[row["strategy"]],
                score=float(row["correct"]),
                calls=int(row["attempts"]),
            )
            for row in rows
        )
        store.add_queries(WORKLOAD, [Query(row["query_id"], None, "mbpp-py") for row in rows[:397]])
        observed = query_means(store, WORKLOAD)
    found = one(observed, chosen=[ladder("gpt-4/single,gpt-4/reflexion(max=5)")])
    assert [round(100 * level.accuracy, 1) for level in found.levels] == [80.1, 77.1]
    # 29 answers became wrong, 17 right: the exact one-sided test says 5.2 %
    assert found.smallest_p_value == pytest.approx(0.0519, abs=1e-4)
    assert found.downturns == ()


@pytest.mark.data
def test_best_of_k_on_game_of_24_still_pays_at_a_hundred_samples(data_dir):
    with (data_dir / "tot_game24/samples.csv").open() as file:
        right = {}
        for row in csv.DictReader(file):
            if row["strategy"] == "cot":
                right[row["query_id"]] = right.get(row["query_id"], 0) + int(row["correct"])
    observed = {
        ("all", f"gpt-4/best_of_n(n={k})"): means(
            [1 - comb(100 - count, k) / comb(100, k) for _, count in sorted(right.items())]
        )
        for k in (1, 2, 5, 10, 20, 50, 100)
    }
    found = one(observed)
    assert found.levels[-1].accuracy == pytest.approx(0.49)
    assert found.knee.compute is None
    assert found.downturns == ()
    assert found.at(150).extrapolated


@pytest.mark.data
def test_votes_on_math_500_gain_up_to_ten_samples(data_dir):
    with (data_dir / "math500_strategies_gpu_time/strategy_results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "qwen3-0.6b-base"]
    cells = [
        Aggregate(
            "w",
            "all",
            f"base/{row['strategy']}(k={row['samples']})",
            500,
            float(row["accuracy_pct"]) / 100,
            gpu_s=float(row["gpu_seconds_mean"]),
        )
        for row in rows
        if row["strategy"] in {"cot_sampled", "cot_self_consistency"}
    ]
    rungs = ladder(",".join(cell.strategy for cell in cells))
    found = one(published=cells, chosen=[rungs], unit=Unit.GPU_S)
    assert [round(100 * level.accuracy, 1) for level in found.levels] == [33.4, 42.2, 48.0, 52.0]
    assert not found.paired
    assert found.downturns == ()
    assert found.knee.compute is None


@pytest.mark.data
def test_longer_methods_harm_a_weak_model_on_the_open_agent_leaderboard(data_dir):
    with (data_dir / "open_agent_leaderboard/strategy_results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["accuracy_pct"]]
    models = ("gpt-4o", "Qwen2-0.5B-Instruct")
    methods = {"IO": "single", "CoT": "chain_of_thought", "SC-CoT": "vote"}
    cells = [
        Aggregate(
            "w",
            row["dataset"],
            f"{row['model']}/{methods[row['strategy']]}",
            int(row["n_queries"]),
            float(row["accuracy_pct"]) / 100,
            tokens_in=float(row["input_tokens_mean"]),
            tokens_out=float(row["output_tokens_mean"]),
        )
        for row in rows
        if row["strategy"] in methods and row["model"] in models
    ]
    found = {
        (shape.class_name, shape.levels[0].strategy.split("/")[0]): shape
        for model in models
        for shape in shapes(
            {},
            cells,
            chosen=[ladder(f"{model}/single,{model}/chain_of_thought,{model}/vote")],
            resamples=200,
        )
    }
    assert len(found) == 6
    weak = found["gsm8k", "Qwen2-0.5B-Instruct"]
    assert [round(100 * level.accuracy, 1) for level in weak.levels] == [14.7, 35.9, 4.2]
    assert {one.after for one in weak.downturns} == {"Qwen2-0.5B-Instruct/vote"}
    assert found["gsm8k", "gpt-4o"].downturns == ()
    # on AQuA gpt-4o used fewer tokens with its reasoning than without
    assert found["AQuA", "gpt-4o"].levels[0].strategy == "gpt-4o/chain_of_thought"
