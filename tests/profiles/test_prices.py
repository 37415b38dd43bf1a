"""Price cards by date, what an outcome costs, and what cannot be priced."""

from __future__ import annotations

import datetime as dt
import json
from decimal import ROUND_CEILING, Decimal

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD, observation

from app.cli.profile import profile
from profiles.aggregate import Aggregate
from profiles.errors import InputError
from profiles.money import Energy, Pool, PriceCard, TokenPrice, to_nano_usd
from profiles.pricing.prices import (
    add_card,
    carbon_g,
    card_in_force,
    cards,
    energy_cost_usd,
    rate_or_reason,
    rates_for,
    read_dated_card,
)
from profiles.pricing.pricing_check import check_prices
from profiles.pricing.rates import Rate, price
from profiles.scaling.query_means import query_means
from profiles.store.store import Store

DAY = dt.date(2026, 3, 1)
CARD = """
as_of: 2026-03-01
source: https://example.com/prices
models:
  small: {input: 0.1, output: 0.4, cached: 0.02, reasoning: 0.5}
  twin: {input: 0.1, output: 0.4, cached: 0.02, reasoning: 0.5}
  large: {input: 3, output: 12}
pools:
  h100: {usd_per_gpu_hour: 3.6, models: {own: 2, elsewhere: 1}}
  l4: {usd_per_gpu_hour: 0.7, models: {elsewhere: 1}}
energy: {usd_per_kwh: 0.12, carbon_g_per_kwh: 380}
"""
prices_usd = st.decimals(0, 100, places=4).map(float)
tokens = st.integers(0, 2_000_000)


@pytest.fixture
def card(tmp_path) -> PriceCard:
    path = tmp_path / "card.yaml"
    path.write_text(CARD)
    return read_dated_card(path)


def card_of(day: str, source: str = "a", **models: TokenPrice) -> PriceCard:
    return PriceCard(as_of=day, source=source, models=models)


def of(usd: float) -> TokenPrice:
    return TokenPrice(input=usd, output=usd)


def test_a_card_of_token_prices_alone_is_written_as_before_cards_had_dates():
    card = PriceCard(models={"m": TokenPrice(input=0.1, output=0.4)})
    assert card.model_dump_json() == '{"models":{"m":{"input":0.1,"output":0.4}}}'
    assert PriceCard().model_dump(mode="json") == {"models": {}}


def test_a_card_comes_back_as_it_was_written(card):
    assert PriceCard.model_validate(json.loads(card.model_dump_json())) == card


@given(prices_usd, prices_usd, prices_usd, prices_usd, tokens, tokens, st.data())
def test_the_runtime_never_understates_what_cached_and_reasoning_tokens_cost(
    usd_in, usd_out, usd_cached, usd_reasoning, tokens_in, tokens_out, data
):
    token_price = TokenPrice(
        input=usd_in, output=usd_out, cached=usd_cached, reasoning=usd_reasoning
    )
    cached = data.draw(st.integers(0, tokens_in))
    reasoning = data.draw(st.integers(0, tokens_out))
    rate = rates_for(PriceCard(models={"m": token_price}), ["m/single"])[0]
    row = observation(
        "q",
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=cached,
        tokens_reasoning=reasoning,
    )
    assert token_price.cost_nano_usd(tokens_in, tokens_out) >= to_nano_usd(price(row, rate))


@given(prices_usd, prices_usd, tokens, tokens)
def test_a_price_is_exact_to_the_nano_dollar(usd_in, usd_out, tokens_in, tokens_out):
    token_price = TokenPrice(input=usd_in, output=usd_out)
    rate = rates_for(PriceCard(models={"m": token_price}), ["m/single"])[0]
    row = observation("q", tokens_in=tokens_in, tokens_out=tokens_out)
    exact = Decimal(str(usd_in)) * tokens_in + Decimal(str(usd_out)) * tokens_out
    nano = int((exact * 1000).to_integral_value(ROUND_CEILING))
    assert to_nano_usd(price(row, rate)) == nano == token_price.cost_nano_usd(tokens_in, tokens_out)


@given(prices_usd, prices_usd, tokens, tokens, st.integers(0, 1000), st.integers(0, 1000))
def test_more_tokens_or_dearer_tokens_never_cost_less(
    usd_in, usd_out, tokens_in, tokens_out, more_in, more_out
):
    def cost(usd: float, more: tuple[int, int]) -> float:
        card = PriceCard(models={"m": TokenPrice(input=usd, output=usd_out)})
        row = observation("q", tokens_in=tokens_in + more[0], tokens_out=tokens_out + more[1])
        return price(row, rates_for(card, ["m/single"])[0])

    assert cost(usd_in, (more_in, more_out)) >= cost(usd_in, (0, 0))
    assert cost(usd_in + 1, (0, 0)) >= cost(usd_in, (0, 0))


maybe_tokens = st.none() | st.integers(0, 5000)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            maybe_tokens, maybe_tokens, maybe_tokens, maybe_tokens, st.none() | st.floats(0, 9)
        ),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["small/single", "large/single", "own/single", "nobody/single"]),
)
def test_sql_prices_rows_as_the_independent_function_does(tmp_path_factory, usages, strategy):
    card = PriceCard.model_validate(
        {
            "models": {
                "small": {"input": 0.1, "output": 0.4, "cached": 0.02, "reasoning": 0.5},
                "large": {"input": 3, "output": 12},
            },
            "pools": {"h100": {"usd_per_gpu_hour": 3.6, "models": {"own": 1}}},
        }
    )
    rows = [
        observation(
            f"q{i}",
            strategy,
            tokens_in=usage[0],
            tokens_out=usage[1],
            tokens_cached=usage[2],
            tokens_reasoning=usage[3],
            gpu_s=usage[4],
        )
        for i, usage in enumerate(usages)
        if (usage[2] or 0) <= (usage[0] or 0) and (usage[3] or 0) <= (usage[1] or 0)
    ]
    rates = rates_for(card, [strategy])
    with Store.open(":memory:") as store:
        store.add(rows)
        found = query_means(store, WORKLOAD, rates=rates)
    by_query = {
        query: None if cost != cost else cost
        for cell in found.values()
        for query, cost in zip(cell.query_id, cell.measures["cost_usd"], strict=True)
    }
    rate = rates[0] if rates else Rate(strategy)
    for row in rows:
        expected = price(row, rate)
        assert by_query[row.query_id] == (
            None if expected is None else pytest.approx(expected, rel=1e-12, abs=1e-15)
        )


def test_recorded_dollars_stand_whatever_the_card_says(card):
    row = observation("q", "small/single", cost_usd=7.0, tokens_in=1, tokens_out=1)
    assert price(row, rates_for(card, ["small/single"])[0]) == 7.0


def test_cached_and_reasoning_tokens_have_their_own_price(card):
    rate = rates_for(card, ["small/single"])[0]
    row = observation(
        "q", tokens_in=1_000_000, tokens_cached=400_000, tokens_out=100_000, tokens_reasoning=60_000
    )
    assert price(row, rate) == 0.06 + 0.008 + 0.016 + 0.03


def test_tokens_of_an_unknown_class_are_charged_at_the_dearer_price(card):
    rate = rates_for(card, ["small/single"])[0]
    assert price(observation("q", tokens_in=1_000_000, tokens_out=0), rate) == 0.1
    assert price(observation("q", tokens_in=0, tokens_out=1_000_000), rate) == 0.5


def test_more_cached_tokens_than_prompt_tokens_have_no_price(card):
    rate = rates_for(card, ["small/single"])[0]
    assert price(observation("q", tokens_in=1, tokens_out=1, tokens_cached=2), rate) is None


def test_half_known_tokens_have_no_price(card):
    rate = rates_for(card, ["large/single"])[0]
    assert price(observation("q", tokens_in=5), rate) is None
    assert price(observation("q", tokens_out=5), rate) is None


def test_a_model_on_a_pool_is_priced_by_gpu_seconds(card):
    rate = rates_for(card, ["own/best_of_n(n=4)"])[0]
    assert price(observation("q", gpu_s=10.0), rate) == 0.01
    assert price(observation("q", tokens_in=5, tokens_out=5), rate) is None


def test_published_means_are_priced_by_mean_tokens(card):
    cell = Aggregate("w", "all", "large/single", 10, 0.5, tokens_in=1000.5, tokens_out=100.0)
    assert price(cell, rates_for(card, ["large/single"])[0]) == 0.0042015


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ("nobody/single", "no price for nobody"),
        ("cascade(stages=[small/single,large/single],threshold=0.5)", "different prices"),
        ("cascade(stages=[small/single,own/single],threshold=0.5)", "different prices"),
        ("elsewhere/single", "pools of different prices"),
        ("vote", "names no model"),
    ],
)
def test_a_strategy_that_cannot_be_priced_has_no_rate_and_a_reason(card, strategy, reason):
    assert rates_for(card, [strategy]) == ()
    assert reason in rate_or_reason(card, strategy)


def test_a_cascade_of_models_with_one_price_has_a_rate(card):
    cascade = "cascade(stages=[small/single,twin/single],threshold=0.5)"
    assert rates_for(card, [cascade])[0].usd_per_token_in == 1e-7


def test_the_newest_card_that_is_not_later_than_the_day_holds_per_model():
    known = [
        card_of("2026-01-01", "first", a=of(1), b=of(1)),
        card_of("2026-02-01", "second", a=of(2)),
        card_of("2026-09-01", "later", a=of(9)),
    ]
    found = card_in_force(known, DAY)
    assert found.models == {"a": of(2), "b": of(1)}
    assert (found.as_of, found.source) == (dt.date(2026, 2, 1), "first; second")


def test_no_card_holds_before_the_first():
    with pytest.raises(InputError, match="no price card holds on this day"):
        card_in_force([card_of("2026-04-01", a=of(1))], DAY)


def test_two_cards_of_one_day_that_contradict_each_other_are_refused():
    known = [card_of("2026-02-01", "x", a=of(1)), card_of("2026-02-01", "y", a=of(2))]
    with pytest.raises(InputError, match=r"models\.a as of 2026-02-01"):
        card_in_force(known, DAY)


@given(st.permutations([("2026-01-01", 1), ("2026-02-01", 2), ("2026-03-01", 3)]))
def test_the_order_of_the_cards_does_not_matter(order):
    known = [card_of(day, str(usd), a=of(usd)) for day, usd in order]
    assert card_in_force(known, DAY).models == {"a": of(3)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("as_of: 2026-03-01\nmodels: {}\n", "source"),
        ("source: x\nmodels: {}\n", "as_of"),
        ("as_of: 2026-03-01\nsource: x\nmodels:\n  m: {input: -1, output: 1}\n", r"yaml:4"),
        ("as_of: 2026-03-01\nsource: x\nmodels:\n  m: {input: 1, outptu: 1}\n", "output"),
        (
            "as_of: 2026-03-01\nsource: x\npools:\n  g: {usd_per_gpu_hour: 1, models: {m: 0}}\n",
            "GPU",
        ),
        ("as_of: 2026-03-01\nsource: x\nenergy: {usd_per_kwh: .inf}\n", r"yaml:3"),
    ],
)
def test_a_card_that_is_wrong_is_refused_with_file_and_line(tmp_path, text, message):
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        read_dated_card(path)
    assert str(path) in str(refused.value)


def test_the_same_card_is_stored_once(card):
    with Store.open(":memory:") as store:
        assert add_card(store, card)
        assert not add_card(store, card)
        assert cards(store) == [card]


def test_a_card_that_contradicts_the_store_is_not_stored(card):
    other = PriceCard(as_of=DAY, source="other", models={"small": of(1)})
    with Store.open(":memory:") as store:
        add_card(store, card)
        with pytest.raises(InputError, match="different things"):
            add_card(store, other)
        assert cards(store) == [card]


def test_energy_has_a_price_and_a_footprint_where_both_are_known():
    energy = Energy(usd_per_kwh=0.2, carbon_g_per_kwh=400)
    assert energy_cost_usd(3_600_000, energy) == 0.2
    assert carbon_g(1_800_000, energy) == 200
    assert energy_cost_usd(None, energy) is None
    assert energy_cost_usd(1.0, Energy(carbon_g_per_kwh=1)) is None
    assert carbon_g(1.0, None) is None


def test_what_cannot_be_priced_is_listed_with_its_reason(card):
    with Store.open(":memory:") as store:
        store.add(
            [
                observation("a", "small/single", tokens_in=1000, tokens_out=0, energy_j=3600.0),
                observation("b", "small/single", tokens_in=1000),
                observation("a", "own/single", gpu_s=1.0),
                observation("b", "own/single"),
                observation("a", "nobody/single", cost_usd=1.0),
                observation("b", "nobody/single"),
            ]
        )
        store.add_aggregates([Aggregate(WORKLOAD, "all", "large/single", 9, 0.5)])
        found = {row.strategy: row for row in check_prices(store, WORKLOAD, card)}
    assert found["small/single"].unpriced == {"tokens_out not recorded": 1}
    assert (found["small/single"].computed, found["small/single"].cost_usd) == (1, None)
    assert found["own/single"].unpriced == {"GPU-seconds were not recorded": 1}
    assert found["nobody/single"].unpriced == {"the card has no price for nobody": 1}
    assert found["nobody/single"].recorded == 1
    assert found["large/single"].unpriced == {"tokens_in and tokens_out not recorded": 1}


def test_pools_need_at_least_one_gpu():
    with pytest.raises(ValueError, match="at least one GPU"):
        Pool(usd_per_gpu_hour=1, models={"m": 0})


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(profile, [str(word) for word in words])
    if isinstance(result.exception, InputError):
        raise result.exception
    return result.exit_code, result.output


def test_the_command_line_keeps_cards_and_says_what_they_cannot_price(tmp_path):
    path, store_path = tmp_path / "card.yaml", tmp_path / "s.duckdb"
    path.write_text(CARD)
    with Store.open(store_path) as store:
        store.add([observation("a", "small/single", tokens_in=1000, tokens_out=100, energy_j=36.0)])
        store.add([observation("a", "nobody/single", tokens_in=1, tokens_out=1)])
    assert (
        "3 models, 2 pools, energy as of 2026-03-01"
        in run("prices", "add", path, "--profiles", store_path)[1]
    )
    assert "known already" in run("prices", "add", path, "--profiles", store_path)[1]
    code, listed = run("prices", "list", "--profiles", store_path)
    assert code == 0
    assert "pool h100: 3.6 USD per GPU-hour; elsewhere on 1, own on 2" in listed
    check = ("prices", "check", "--profiles", store_path, "--workload", WORKLOAD)
    code, checked = run(*check, "--at", "2026-03-01")
    assert code == 1
    assert "nobody/single: 1 rows without a price: the card has no price for nobody" in checked
    with pytest.raises(InputError, match="no price card holds"):
        run(*check, "--at", "2025-01-01")
    code, as_json = run(*check, "--prices", path, "--format", "json")
    assert (code, json.loads(as_json)["unpriced"]) == (1, 1)
    assert json.loads(as_json)["strategies"][1]["cost_usd"] == pytest.approx(0.00015)


def test_a_workload_whose_rows_are_all_priced_passes_the_check(tmp_path):
    path, store_path = tmp_path / "card.yaml", tmp_path / "s.duckdb"
    path.write_text(CARD)
    with Store.open(store_path) as store:
        store.add([observation("a", "large/single", tokens_in=1000, tokens_out=100)])
    words = ("prices", "check", "--profiles", store_path, "--workload", WORKLOAD)
    code, text = run(*words, "--prices", path)
    assert (code, text.splitlines()[-1]) == (0, "w: all priced")
