from hypothesis import given
from hypothesis import strategies as st

from profiles.strategy import Strategy, canonical, parse

words = st.from_regex(r"[a-z][a-z0-9_.:@+\-]{0,8}", fullmatch=True)
methods = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)


def strategies(values):
    params = st.dictionaries(words, values, max_size=3).map(lambda p: tuple(sorted(p.items())))
    models = st.lists(words, min_size=1, max_size=3).map("/".join)
    return st.builds(Strategy, methods, models, params)


values = st.recursive(
    words | numbers,
    lambda inner: strategies(inner) | st.lists(inner, min_size=1, max_size=3).map(tuple),
    max_leaves=6,
)


@given(strategies(values))
def test_a_strategy_read_from_its_text_is_the_same_strategy(strategy):
    assert parse(str(strategy)) == strategy


@given(strategies(values))
def test_the_canonical_text_is_its_own_canonical_text(strategy):
    assert canonical(str(strategy)) == str(strategy)
