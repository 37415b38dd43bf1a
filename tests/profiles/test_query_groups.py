"""Groups of queries: from columns of files to cells by group."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD, observation

from profiles.cells.by_group import with_groups
from profiles.errors import InputError
from profiles.importing.importers import import_file
from profiles.profile import Profile
from profiles.query import Query, QueryGroup
from profiles.store.groups import add_groups
from profiles.store.schema import MIGRATIONS
from profiles.store.store import Store

OUTCOMES = "query,model,score,lang\na,m,1,de\nb,m,0,en\na,n,0,de\nb,n,1,en\nc,n,1,\n"
PROMPTS = "query,prompt,tenant\na,p,acme\nb,q,acme\nc,r,zed\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    outcomes, prompts = tmp_path / "outcomes.csv", tmp_path / "prompts.csv"
    outcomes.write_text(OUTCOMES)
    prompts.write_text(PROMPTS)
    return outcomes, prompts


def stored(store: Store) -> list[tuple[str, str, str]]:
    with store.reading() as execute:
        sql = "SELECT query_id, name, value FROM query_groups ORDER BY ALL"
        return list(execute(sql, []).fetchall())


def grouped(store: Store, *names: str) -> Profile:
    with store.reading() as execute:
        return with_groups(execute, store.profile(WORKLOAD), names)


def test_groups_come_from_the_file_and_from_its_prompts(files) -> None:
    outcomes, prompts = files
    with Store.open(":memory:") as store:
        report = import_file(
            store, outcomes, workload=WORKLOAD, prompts=prompts, groups=["lang", "tenant"]
        )
        assert report.groups == {"lang": 2, "tenant": 3}
        assert stored(store) == [
            ("a", "lang", "de"),
            ("a", "tenant", "acme"),
            ("b", "lang", "en"),
            ("b", "tenant", "acme"),
            ("c", "tenant", "zed"),
        ]


def test_the_same_file_again_adds_groups_that_were_not_asked_for_before(files) -> None:
    outcomes, _ = files
    with Store.open(":memory:") as store:
        import_file(store, outcomes, workload=WORKLOAD)
        for _ in range(2):
            import_file(store, outcomes, workload=WORKLOAD, groups=["lang", "lang"])
            assert stored(store) == [("a", "lang", "de"), ("b", "lang", "en")]
        assert len(store.observations(WORKLOAD)) == 5


def test_a_query_of_two_groups_in_one_file_refuses_it(files) -> None:
    outcomes, _ = files
    outcomes.write_text(OUTCOMES + "a,o,1,fr\n")
    with Store.open(":memory:") as store:
        with pytest.raises(InputError, match="'a' stands for two values of lang") as caught:
            import_file(store, outcomes, workload=WORKLOAD, groups=["lang"])
        assert "outcomes.csv:2" in str(caught.value)
        assert "outcomes.csv:7" in str(caught.value)
        assert store.workloads() == []


def test_a_query_that_is_stored_under_another_group_refuses_the_file(files, tmp_path) -> None:
    outcomes, _ = files
    later = tmp_path / "later.csv"
    later.write_text("query,model,score,lang\nb,o,1,fr\nd,o,1,fr\n")
    with Store.open(":memory:") as store:
        import_file(store, outcomes, workload=WORKLOAD, groups=["lang"])
        with pytest.raises(InputError, match="1 query is stored under another lang"):
            import_file(store, later, workload=WORKLOAD, groups=["lang"])
        assert len(store.observations(WORKLOAD)) == 5
        assert import_file(store, later, workload="other", groups=["lang"]).groups == {"lang": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["land"]}, "no column 'land'"),
        ({"groups": ["lang"], "format": "lm-eval"}, "has its own columns"),
    ],
)
def test_a_group_that_cannot_be_read_refuses_the_file(files, options, message) -> None:
    with Store.open(":memory:") as store, pytest.raises(InputError, match=message):
        import_file(store, files[0], workload=WORKLOAD, **options)


def test_a_store_from_before_groups_is_brought_up_to_date(tmp_path) -> None:
    path = tmp_path / "old.duckdb"
    before = next(i for i, text in enumerate(MIGRATIONS) if "query_groups" in text)
    with duckdb.connect(str(path)) as old:
        for statement in MIGRATIONS[:before]:
            old.execute(statement)
        old.execute("UPDATE meta SET version = ?", [before])
    with Store.open(path) as store:
        assert add_groups(store, WORKLOAD, [QueryGroup("a", "lang", "de")]).added == 1
        assert add_groups(store, WORKLOAD, [QueryGroup("a", "lang", "de")]).duplicates == 1


ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"),
        st.sampled_from(["m/single", "n/single"]),
        st.integers(0, 2),
        st.floats(0, 1),
        st.floats(1e-6, 1),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[:3],
)
LABELS = st.fixed_dictionaries({q: st.sampled_from(["x", "y"]) for q in "abcdefgh"})
VALUES = st.fixed_dictionaries(
    {q: st.sampled_from(['"', "1", "ü"]) | st.none() for q in "abcdefgh"}
)


@settings(max_examples=8, deadline=None)
@given(ROWS, LABELS, VALUES, st.randoms(use_true_random=False))
def test_cells_by_group_are_means_over_queries_whatever_the_order_of_rows(
    rows, labels, values, shuffle: random.Random
) -> None:
    groups = [QueryGroup(q, "g", value) for q, value in values.items() if value]
    digests = []
    for _ in range(2):
        with Store.open(":memory:") as store:
            store.add(
                observation(q, s, sample, score=score, cost_usd=usd)
                for q, s, sample, score, usd in rows
            )
            store.add_queries(WORKLOAD, [Query(q, None, label) for q, label in labels.items()])
            add_groups(store, WORKLOAD, groups)
            if not any(values[row[0]] for row in rows):
                with pytest.raises(InputError, match="no measured query"):
                    grouped(store, "g")
                return
            profile = grouped(store, "g")
        digests.append(profile.digest)
        shuffle.shuffle(rows)
        shuffle.shuffle(groups)
    assert digests[0] == digests[1]
    table = profile.groups["g"]
    seen = {row[0] for row in rows}
    assert table.without == sum(values[q] is None for q in seen)
    expected: dict = {}
    for q, s, _, score, usd in rows:
        if values[q]:
            by_query = expected.setdefault((values[q], labels[q], s), {})
            by_query.setdefault(q, []).append((score, usd))
    assert set(table.cells) == set(expected)
    for key, by_query in expected.items():
        means = np.array([np.mean(pairs, axis=0) for pairs in by_query.values()])
        cell = table.cells[key]
        assert (cell.class_name, cell.strategy, cell.queries) == (*key[1:], len(means))
        assert cell.accuracy == pytest.approx(means[:, 0].mean(), abs=1e-12)
        assert cell.cost_usd == pytest.approx(means[:, 1].mean(), rel=1e-9)
        if len(means) > 1:
            assert cell.accuracy_sd == pytest.approx(means[:, 0].std(ddof=1), abs=1e-9)
    counted = {
        (v, d): sum(values[q] == v and labels[q] == d for q in seen) for v, d in table.queries
    }
    assert counted == table.queries


def test_groups_change_the_digest_of_a_profile_and_their_absence_does_not() -> None:
    with Store.open(":memory:") as store:
        store.add([observation("a"), observation("b")])
        plain = store.profile(WORKLOAD).digest
        digests = {plain, grouped(store).digest}
        assert len(digests) == 1
        add_groups(store, WORKLOAD, [QueryGroup("a", "g", "x")])
        digests.add(grouped(store, "g").digest)
        add_groups(store, WORKLOAD, [QueryGroup("b", "g", "y")])
        digests.add(grouped(store, "g").digest)
    assert len(digests) == 3


def test_an_unknown_column_names_those_that_there_are() -> None:
    with Store.open(":memory:") as store:
        store.add([observation("a")])
        add_groups(store, WORKLOAD, [QueryGroup("a", "language", "de")])
        with pytest.raises(InputError, match="did you mean 'language'"):
            grouped(store, "languag")
