"""Names of strategies in pictures."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from app.charts.names import labels_expression, short_names

FOUR, SIXTEEN = (f"a/best_of_n(max_tokens=56,n={n},verifier=checker)" for n in (4, 16))
SINGLE = "a/single(max_tokens=56)"
CASCADE = f"cascade(accept=checker,stages=[{SINGLE},{SIXTEEN}])"


def test_a_name_tells_what_differs_and_no_more() -> None:
    assert short_names([FOUR, SIXTEEN, SINGLE, CASCADE]) == {
        FOUR: "a/best_of_n n=4",
        SIXTEEN: "a/best_of_n n=16",
        SINGLE: "a/single",
        CASCADE: "cascade: a/single → a/best_of_n n=16",
    }


def test_what_is_no_strategy_keeps_its_text() -> None:
    texts = ["3 other strategies", "a/single(", "<script>", ""]
    assert short_names(texts) == {text: text for text in texts}


def test_two_that_would_have_one_name_keep_their_texts() -> None:
    texts = ["a/m(x=1)", "a/m(x=1,y=2)"]
    assert short_names(texts) == {text: text for text in texts}


VALUES = st.sampled_from(["1", "2", "word", SINGLE, f"[{SINGLE},{FOUR}]", "[b/m,c/m(x=1)]"])
STRATEGIES = st.builds(
    lambda head, params: f"{head}({','.join(f'{k}={v}' for k, v in params.items())})",
    st.sampled_from(["a/m", "b/m", "m", "a/n"]),
    st.dictionaries(st.sampled_from("xyz"), VALUES, min_size=1),
)


@given(st.lists(st.one_of(STRATEGIES, st.text(max_size=8))))
def test_every_name_stands_for_one_strategy(texts: list[str]) -> None:
    found = short_names(texts)
    assert set(found) == set(texts)
    assert len(set(found.values())) == len(found)


def test_an_axis_reads_its_names_from_whole_texts() -> None:
    names, _, end = labels_expression([FOUR, '"]]'])[:-1].partition("[datum.value]")
    assert json.loads(names) == {FOUR: "a/best_of_n", '"]]': '"]]'}
    assert end == " || datum.valu"
