"""Neighbours' files: read back as written, whatever the names; what people edited is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from planner.spec import Window
from policies.decimals import nearest
from policies.neighbours.export import Neighbour
from policies.neighbours.expressed import DIGITS, Expressed, Part, SpendLimit, differences
from policies.neighbours.litellm import LITELLM
from policies.neighbours.vllm_semantic_router import VLLM_SEMANTIC_ROUTER
from policies.neighbours.writing import yaml_text
from profiles.errors import InputError

HOSTILE = ["yes", "null", "1e5", "0x1f", "a: b", "#", "- a", "é", "\u2028", "\x85", '"', "\\", "y"]
HOSTILE += ["a\nb: c", "${HOME}", "$$", "=", "<<", "12:30:00", "2026-01-01", "\x00", "\ufeff", "~"]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.sampled_from(HOSTILE),
)
price = st.just(0.0) | st.floats(1e-9, 1e4).map(lambda value: nearest(value, DIGITS))
prices = st.none() | st.tuples(price, price)
seconds = st.none() | st.integers(1, 10**6).map(lambda ms: ms / 1000)


def text_of(said: Expressed, to: Neighbour) -> str:
    return yaml_text(["what is lost"], to.write(said, "http://127.0.0.1:8000/v1"))


@st.composite
def shares(draw: st.DrawFn) -> list[float]:
    cuts = sorted(draw(st.sets(st.integers(1, 999_999), max_size=3)))
    return [(b - a) / 10**6 for a, b in zip([0, *cuts], [*cuts, 10**6], strict=True)]


@st.composite
def for_litellm(draw: st.DrawFn) -> Expressed:
    names = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    classes = {}
    for name in names:
        parts = []
        for share in draw(shares()):
            usd = draw(prices) or (None, None)
            parts.append(
                Part(
                    draw(texts),
                    share,
                    draw(st.none() | st.integers(1, 10**9)),
                    draw(st.none() | st.floats(0, 2)),
                    draw(st.none() | st.floats(0, 1)),
                    *usd,
                )
            )
        classes[name] = tuple(parts)
    limit = st.builds(
        SpendLimit,
        st.floats(0, 1e9, exclude_min=True),
        st.sampled_from([window.value for window in Window]),
    )
    return Expressed(classes, draw(st.just(()) | st.tuples(limit)), draw(seconds))


@st.composite
def for_the_router(draw: st.DrawFn) -> Expressed:
    names = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    known = draw(st.dictionaries(texts, prices, min_size=1, max_size=3))
    classes = {}
    for name in names:
        model = draw(st.sampled_from(sorted(known)))
        cap = draw(st.none() | st.integers(1, 10**9))
        usd = known[model] or (None, None)
        classes[name] = (Part(model, 1.0, cap, input_usd=usd[0], output_usd=usd[1]),)
    return Expressed(classes, wall_s=draw(seconds))


def written(said: Expressed, to: Neighbour) -> str:
    try:
        return text_of(said, to)
    except InputError:  # a name that the neighbour takes for something else
        assume(False)
        raise


@given(for_litellm())
@example(Expressed({"yes": (Part("1e5", 1.0, input_usd=0.1, output_usd=1e-7),)}))
def test_what_is_written_for_litellm_is_read_back(said: Expressed) -> None:
    found = LITELLM.read(written(said, LITELLM), "config.yaml")
    assert found == said
    assert differences(said, found, "config.yaml") == []


@given(for_the_router())
@example(Expressed({"$HOME": (Part("a$b", 1.0),), "no": (Part("~", 1.0, 7),)}, wall_s=2.5))
def test_what_is_written_for_the_router_is_read_back(said: Expressed) -> None:
    found = VLLM_SEMANTIC_ROUTER.read(written(said, VLLM_SEMANTIC_ROUTER), "config.yaml")
    assert found == said
    assert differences(said, found, "config.yaml") == []


@given(for_litellm(), for_litellm())
def test_two_files_have_no_difference_only_where_they_say_the_same(
    one: Expressed, other: Expressed
) -> None:
    def ordered(said: Expressed) -> object:
        classes = {name: sorted(map(repr, parts)) for name, parts in said.classes.items()}
        return classes, said.spend, said.wall_s

    assert (differences(one, other, "f") == []) == (ordered(one) == ordered(other))


@given(texts)
def test_a_comment_stays_a_comment_and_a_text_stays_itself(text: str) -> None:
    assert yaml.safe_load(yaml_text([text], {"key": text})) == {"key": text}


@pytest.mark.parametrize("name", ["gpt-*", "os.environ/SECRET", " "])
def test_a_name_that_litellm_takes_for_something_else_is_refused(name: str) -> None:
    for said in (Expressed({name: (Part("m", 1.0),)}), Expressed({"c": (Part(name, 1.0),)})):
        with pytest.raises(InputError, match="takes the name of this"):
            text_of(said, LITELLM)


def test_names_that_the_router_cannot_hold_are_refused() -> None:
    one = (Part("m", 1.0),)
    for classes in (
        {" a": one},
        {"": one},
        {"Easy": one, "easy": one},
        {"inferbudget-unknown-class": one},
        {"a" * 1025: one},
        {"a": (Part("m", 0.5), Part("n", 0.5))},
    ):
        with pytest.raises(InputError, match="cannot hold this class"):
            text_of(Expressed(classes), VLLM_SEMANTIC_ROUTER)
    with pytest.raises(InputError, match="two prices"):
        text_of(
            Expressed({"a": (Part("m", 1.0, input_usd=1.0, output_usd=1.0),), "b": one}),
            VLLM_SEMANTIC_ROUTER,
        )


SMALL = Part("small", 0.75, 400, 0.0, input_usd=0.05, output_usd=0.4)
LARGE = Part("google/large", 0.25, 900, input_usd=1.25, output_usd=10.0)
MIXED = Expressed({"easy": (SMALL, LARGE)}, (SpendLimit(500.0, "month"),), 30.0)
ROUTED = Expressed(
    {"easy": (replace(SMALL, share=1.0, temperature=None),), "hard": (replace(LARGE, share=1.0),)},
    wall_s=30.0,
)


def edited(said: Expressed, to: Neighbour, edit: Callable[[Any], None]) -> list[str]:
    content = yaml.safe_load(text_of(said, to))
    edit(content)
    found = differences(said, to.read(yaml.safe_dump(content), "c.yaml"), "c.yaml")
    return [f"{finding.where}: {finding.message}" for finding in found]


def of_litellm(edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> list[str]:
    """What is found after an edit of the first deployment or of the router's settings."""
    return edited(MIXED, LITELLM, lambda c: edit(c["model_list"][0], c["router_settings"]))


def test_edits_of_litellm_s_file_are_found() -> None:
    assert of_litellm(lambda one, _: one["litellm_params"].update(max_tokens=800)) == [
        "c.yaml: class 'easy': small: max_tokens: expected 400; got 800"
    ]
    assert of_litellm(lambda one, _: one["litellm_params"].update(weight=0.25)) == [
        "c.yaml: class 'easy': google/large: share: expected 0.25; got 0.5",
        "c.yaml: class 'easy': small: share: expected 0.75; got 0.5",
    ]
    assert of_litellm(lambda one, _: one["litellm_params"].update(model="openai/other")) == [
        "c.yaml: class 'easy': expected google/large for 25 %, small for 75 %; "
        "got google/large for 25 %, other for 75 %"
    ]
    assert of_litellm(lambda one, _: one.update(model_name="simple")) == [
        "c.yaml: class 'easy': expected google/large for 25 %, small for 75 %; "
        "got google/large for 100 %",
        "c.yaml: class 'simple': expected no such class; got small for 100 %",
    ]
    assert of_litellm(lambda one, _: one["model_info"].update(input_cost_per_token=1e-6)) == [
        "c.yaml: class 'easy': small: input_usd: expected 0.05; got 1"
    ]
    assert of_litellm(lambda one, _: one["litellm_params"].update(timeout=60)) == [
        "c.yaml: the timeout: expected 30; got none",
        "c.yaml: the routing: expected nothing but what an export writes; "
        "got model_list: timeouts that differ",
    ]
    assert of_litellm(
        lambda _, s: s["provider_budget_config"]["openai"].update(budget_limit=9)
    ) == ["c.yaml: the budget: expected 500 USD per month; got 9 USD per month"]
    assert of_litellm(
        lambda _, s: s["provider_budget_config"]["openai"].update(time_period="x")
    ) == ["c.yaml: the budget: expected 500 USD per month; got 500 USD per 'x'"]
    assert of_litellm(lambda _, s: s.pop("provider_budget_config")) == [
        "c.yaml: the budget: expected 500 USD per month; got none"
    ]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("routing_strategy", "latency-based-routing", '"latency-based-routing"'),
        ("num_retries", 3, "3"),
        ("num_retries", False, "false"),
        ("disable_cooldowns", None, "null"),
    ],
)
def test_a_setting_of_litellm_that_moves_shares_is_found(key: str, value: Any, said: str) -> None:
    (found,) = of_litellm(lambda _, settings: settings.update({key: value}))
    assert found.endswith(f"got router_settings.{key}: {said}")


def test_fallbacks_and_other_ways_to_another_model_are_found() -> None:
    (found,) = of_litellm(lambda _, s: s.update(fallbacks=[{"easy": ["hard"]}]))
    assert "router_settings.fallbacks" in found
    (found,) = of_litellm(lambda one, _: one["litellm_params"].update(tags=["a"]))
    assert "model_list[0].litellm_params.tags" in found
    settings = {"num_retries": 1, "default_fallbacks": ["easy"]}
    found_there = edited(MIXED, LITELLM, lambda c: c.update(litellm_settings=settings))
    assert [line.split("got ")[1] for line in found_there] == [
        "litellm_settings.default_fallbacks",
        "litellm_settings.num_retries",
    ]


def test_another_provider_is_no_difference_until_a_budget_misses_it() -> None:
    def elsewhere(content: Any) -> None:
        content["model_list"][0]["litellm_params"]["model"] = "azure/small"

    assert edited(replace(MIXED, spend=()), LITELLM, elsewhere) == []
    assert edited(MIXED, LITELLM, elsewhere) == [
        "c.yaml: the budget: expected 500 USD per month; got 500 USD per month of openai alone"
    ]


def test_weights_in_any_proportion_are_the_same_shares() -> None:
    def thirds(content: Any) -> None:
        for deployment, weight in zip(content["model_list"], (3, 1), strict=True):
            deployment["litellm_params"]["weight"] = weight

    assert edited(MIXED, LITELLM, thirds) == []


def test_without_weights_litellm_deals_by_rpm_and_else_evenly() -> None:
    def by_rpm(content: Any) -> None:
        for deployment, rpm in zip(content["model_list"], (3, 1), strict=True):
            del deployment["litellm_params"]["weight"]
            deployment["litellm_params"]["rpm"] = rpm

    def evenly(content: Any) -> None:
        for deployment in content["model_list"]:
            del deployment["litellm_params"]["weight"]

    assert edited(MIXED, LITELLM, by_rpm) == []
    assert len(edited(MIXED, LITELLM, evenly)) == 2


def of_router(edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> list[str]:
    """What is found after an edit of the first decision or of the whole file."""
    return edited(ROUTED, VLLM_SEMANTIC_ROUTER, lambda c: edit(c["routing"]["decisions"][0], c))


def test_edits_of_the_router_s_file_are_found() -> None:
    assert of_router(lambda one, _: one["modelRefs"][0].update(model="google/large")) == [
        "c.yaml: class 'easy': expected small for 100 %; got google/large for 100 %"
    ]
    assert of_router(
        lambda one, _: one["plugins"][0].update(
            configuration={"default_max_tokens": 9, "max_tokens_limit": 9, "max_n": 1}
        )
    ) == ["c.yaml: class 'easy': small: max_tokens: expected 400; got 9"]
    assert of_router(
        lambda _, c: c["providers"]["models"][0]["pricing"].update(prompt_per_1m=1)
    ) == ["c.yaml: class 'easy': small: input_usd: expected 0.05; got 1"]
    assert of_router(lambda _, c: c["listeners"][0].update(timeout="9s")) == [
        "c.yaml: the timeout: expected 30; got 9"
    ]
    assert of_router(
        lambda _, c: c["routing"]["signals"]["metadata"][0]["predicate"].update(equals="simple")
    ) == [
        "c.yaml: class 'easy': expected small for 100 %; got no such class",
        "c.yaml: class 'simple': expected no such class; got small for 100 %",
    ]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda one, _: one.update(algorithm={"type": "static"}), "decisions[0].algorithm"),
        (lambda one, _: one.update(priority=1), "decisions[0].priority"),
        (lambda one, _: one["modelRefs"][0].update(use_reasoning=True), "more than a model's name"),
        (
            lambda one, _: one["plugins"].append({"type": "response_cache", "configuration": {}}),
            "'response_cache'",
        ),
        (lambda one, _: one["plugins"][0]["configuration"].update(max_n=2), "max_n"),
        (lambda _, c: c["routing"]["decisions"].pop(), "nothing refuses unknown classes"),
        (lambda _, c: c["routing"].update(strategy="confidence"), "'confidence'"),
        (lambda _, c: c.update(version="v0.4"), "'v0.4'"),
        (lambda _, c: c.update(recipes=[{"name": "x"}]), "recipes"),
        (lambda _, c: c["routing"]["signals"].update(keywords=[]), "signals.keywords"),
        (lambda _, c: c["providers"]["models"][0]["pricing"].update(currency="EUR"), "'EUR'"),
    ],
)
def test_a_setting_of_the_router_that_moves_requests_is_found(edit: Any, said: str) -> None:
    (found,) = of_router(edit)
    assert said in found


@pytest.mark.parametrize(
    "edit",
    [
        lambda one, _: one["rules"].update(operator="NOT"),
        lambda one, _: one["rules"].update(conditions=[]),
        lambda one, _: one["modelRefs"].append({"model": "google/large"}),
    ],
)
def test_a_decision_that_is_not_one_model_for_one_class_is_no_class(edit: Any) -> None:
    lost, noted = of_router(edit)
    assert "got no such class" in lost
    assert "not one model for one class" in noted


@pytest.mark.parametrize("to", [LITELLM, VLLM_SEMANTIC_ROUTER], ids=lambda to: to.name)
@pytest.mark.parametrize("text", ["a: [", "[1]", "7", "model_list: 3\nrouting: 3", "[" * 5000])
def test_a_file_of_another_kind_is_refused_by_name(text: str, to: Neighbour) -> None:
    with pytest.raises(InputError, match=r"^c\.yaml"):
        to.read(text, "c.yaml")


def test_numbers_that_are_none_are_refused_where_they_stand() -> None:
    for key, value in (("weight", "many"), ("weight", -1), ("max_tokens", 1.5), ("timeout", True)):
        with pytest.raises(InputError, match=key):
            of_litellm(lambda one, _, edit={key: value}: one["litellm_params"].update(edit))


def test_a_name_from_the_environment_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="no environment variable"):
        of_router(lambda one, _: one["modelRefs"][0].update(model="${MODEL}"))
