import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_worlds import WORKLOAD

from profiles.errors import InputError
from profiles.importing.fields import FIELDS
from profiles.importing.importers import import_file, read_outcomes
from profiles.importing.mapping import RecordKind, load_mapping, mapping_names
from profiles.pricing.prices import cards
from profiles.store.store import Store


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


@pytest.fixture
def file(tmp_path):
    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def mapping(file):
    counter = itertools.count()

    def write(text):
        return load_mapping(str(file(text, f"mapping{next(counter)}.yaml")))

    return write


def read(path, rules, **more):
    return read_outcomes(path, workload=WORKLOAD, mapping=rules, **more)


def notes(result):
    return {note.text: note.count for note in result.notes}


@pytest.mark.parametrize("name", mapping_names())
def test_every_mapping_of_ours_can_be_loaded_and_says_which_table_it_is_for(name):
    rules = load_mapping(name)
    assert rules.about
    assert rules.file


def test_columns_of_scores_become_one_row_per_strategy(file, mapping):
    rules = mapping(
        "columns: {query: id, class: kind}\nconstants: {method: single}\nwide:\n  field: model\n"
        "  rows:\n    org/small: {score: a, cost_usd: a_cost}\n    org/large: {score: b}\n"
    )
    result = read(file("id,kind,a,a_cost,b\nq,x,1,0.5,0\nr,y,0,,1\n"), rules)
    found = [(o.query_id, o.strategy, o.score, o.cost_usd) for o in result.observations]
    assert found == [
        ("q", "org/small/single", 1.0, 0.5),
        ("q", "org/large/single", 0.0, None),
        ("r", "org/small/single", 0.0, None),
        ("r", "org/large/single", 1.0, None),
    ]
    assert result.rows == 2


def test_per_cent_units_and_totals_are_divided_only_where_they_are_declared(file, mapping):
    text = "model,n,acc,minutes,tokens\nm,500,15.2,10.1,1000\nn,,7.5%,2,10\n"
    rules = mapping(
        'kind: cells\ncolumns: {queries: "n", accuracy: acc, gpu_s: minutes, tokens_in: tokens}\n'
        "per_cent: [accuracy]\nunits: {gpu_s: minutes}\ntotals: [gpu_s, tokens_in]\n"
    )
    result = read(file(text), rules)
    first, second = result.aggregates
    assert (first.queries, first.accuracy, first.tokens_in) == (500, pytest.approx(0.152), 2.0)
    assert first.gpu_s == pytest.approx(1.212)
    assert (second.accuracy, second.gpu_s, second.queries) == (pytest.approx(0.075), None, None)
    assert notes(result)["gpu_s is a total over an unknown number of queries"] == 1
    undeclared = mapping("kind: cells\ncolumns: {accuracy: acc}\n")
    with pytest.raises(InputError, match="the accuracy looks like per cent"):
        read(file(text), undeclared)


def test_shares_declared_as_per_cent_are_warned_of(file, mapping):
    rules = mapping("kind: cells\nper_cent: [accuracy]\n")
    result = read(file("model,accuracy\nm,0.4\nn,0.9\n"), rules)
    assert "accuracy is declared per cent, but no value is above 1" in notes(result)


def test_running_counters_become_increments_and_restarts_are_reported(file, mapping):
    rules = mapping("columns: {cost_usd: total}\nrunning: {columns: [total], by: [model]}\n")
    rows = [("a", "m", 1.0), ("a", "n", 5.0), ("b", "m", 3.0), ("c", "m", 0.5), ("b", "n", 6.0)]
    text = "query,model,score,total\n" + "".join(f"{q},{m},1,{v}\n" for q, m, v in rows)
    result = read(file(text), rules)
    assert [row.cost_usd for row in result.observations] == [1.0, 5.0, 2.0, 0.5, 1.0]
    (note,) = (n for n in result.notes if "running counter" in n.text)
    assert (note.count, note.examples) == (1, ("line 5 of m",))
    with pytest.raises(InputError, match=r"table.csv:2: total: a running counter cannot be read"):
        read(file("query,model,score,total\na,m,1,\n"), rules)


def test_names_texts_and_params_make_strategies_and_queries(file, mapping):
    rules = mapping(
        'columns: {method: how}\ntexts: {query: "{set}/{id}"}\nparams: {effort: effort}\n'
        'names: {method: {vote: "self_consistency(k={k})", plain: single}}\n'
    )
    text = "set,id,model,how,k,effort,score\ns,1,m,vote,5,,1\nt,1,m,plain,,high,0\n"
    result = read(file(text), rules)
    assert [(row.query_id, row.strategy) for row in result.observations] == [
        ("s/1", "m/self_consistency(k=5)"),
        ("t/1", "m/single(effort=high)"),
    ]


def test_rows_that_contradict_their_headline_are_reported_or_set_aside(store, file, mapping):
    file("model,score,usd,calls\nm,90.1,1,2\nn,50,0,\no,10,,\n", "heads.csv")
    text = "query,model,score,cost_usd,calls\n" + "".join(
        f"{i},m,{int(i < 9)},1.0,2\n{i},n,{int(i < 1)},,9\n" for i in range(10)
    )
    head = (
        "headline: {file: heads.csv, columns: {model: model, score: score, cost_usd: usd, "
        "calls: calls}, per_cent: [score]"
    )
    kept = read(file(text), mapping(head + "}\n"))
    assert len(kept.observations) == 20
    said = notes(kept)
    assert said["rows contradict their headline"] == 1
    assert said["headline without rows"] == 1
    assert said["cost_usd 0 means not recorded"] == 1
    rules = mapping(head + ", on_contradiction: set_aside}\n")
    report = import_file(store, file(text), workload=WORKLOAD, mapping=rules)
    assert (report.kept, report.set_aside) == (10, {"rows contradict their headline": 10})
    kinds = [note.kind for note in report.notes if note.text == "rows contradict their headline"]
    assert kinds == ["suspicious", "set aside"]
    assert len(store.quarantined()) == 10
    assert {row.strategy for row in store.observations(WORKLOAD)} == {"m/single"}


def test_check_values_are_verified_and_shown(file, mapping):
    rules = mapping(
        "expect:\n  - {count: kept, is: 2}\n  - {mean: score, where: {class: x}, is: 0.5}\n"
        "  - {total: cost_usd, is: 3, within: 0.5}\n  - {mean: latency_s, is: 1}\n"
    )
    result = read(file("query,model,class,score,cost_usd\na,m,x,1,1\nb,m,x,0,2.25\n"), rules)
    assert [str(check) for check in result.checks] == [
        "ok: kept rows: 2, expected 2",
        "ok: mean score class=x: 0.5, expected 0.5",
        "ok: total cost_usd: 3.25, expected 3",
        "MISMATCH: mean latency_s: nothing, expected 1",
    ]


def test_equal_rows_count_once_and_contradicting_ones_are_set_aside(file, mapping):
    rules = mapping("kind: cells\n")
    result = read(file("model,accuracy,note\nm,0.5,a\nm,0.5,b\nm,0.6,c\n"), rules)
    assert [cell.accuracy for cell in result.aggregates] == [0.5]
    assert [row.reason for row in result.set_aside] == [
        "row repeats another",
        "row contradicts an earlier one",
    ]


def test_two_strategies_with_identical_figures_are_suspicious(file, mapping):
    rules = mapping("kind: cells\nper_cent: [accuracy]\nfingerprint: [accuracy, other]\n")
    text = (
        "model,class,accuracy,other\na,x,95.83,91.9\nb,x,95.83,91.9\nc,y,95.83,91.9\nd,x,95.83,\n"
    )
    result = read(file(text), rules)
    (note,) = (n for n in result.notes if n.kind == "suspicious")
    assert note.examples[0].startswith("lines 2 and 3: a/single and b/single")


def test_serving_rows_derive_gpu_seconds_and_odd_ones_go_to_the_quarantine(store, file, mapping):
    rules = mapping(
        "kind: serving\ncolumns: {label: id, ttft_mean_s: ttft, itl_mean_s: tpot}\n"
        "units: {ttft_mean_s: ms, itl_mean_s: ms}\nabsent_is: {dp: 1}\n"
        "products: {gpus: [tp, dp], concurrency: [batch, dp]}\n"
        'agrees_with: {concurrency: {column: id, pattern: "_c([0-9]+)_"}}\n'
        'drop_where: [{column: dp, is: "0", why: no replica}]\n'
    )
    text = (
        "id,model,tp,dp,batch,tokens_out,ttft,tpot\n"
        "a_c8_x,m,2,,8,100,500,10\nb_c16_x,m,2,2,8,100,500,10\n"
        "c_c9_x,m,2,,8,100,500,10\nd_c8_x,m,2,0,8,100,500,10\n"
    )
    report = import_file(store, file(text), workload=WORKLOAD, mapping=rules)
    one, two = store.serving()
    assert (one.gpus, one.concurrency, one.ttft_mean_s) == (2, 8, 0.5)
    assert one.gpu_s == pytest.approx((0.5 + 100 * 0.01) * 2 / 8)
    assert (two.gpus, two.concurrency) == (4, 16)
    assert report.set_aside == {"no replica": 1, "concurrency contradicts the one in id": 1}
    assert {row.line for row in store.quarantined()} == {4, 5}


def test_gpu_seconds_follow_from_a_whole_run_or_from_throughput(file, mapping):
    rules = mapping(
        "kind: serving\nfound_in: {tokens_out: {column: text, pattern: 'T: ([0-9.]+)'}}\n"
    )
    text = (
        "model,gpus,duration_s,requests,output_tokens_per_s,text\n"
        "m,2,100,50,,\nm,8,,,2400,T: 300\nm,,100,50,,\nm,1,,,,\n"
    )
    result = read(file(text), rules)
    assert [point.gpu_s for point in result.serving] == [4.0, 1.0, None]
    assert [row.reason for row in result.set_aside] == ["nothing was measured"]


def test_traffic_without_a_zone_is_utc_to_the_microsecond(store, file, mapping):
    rules = mapping("kind: traffic\ncolumns: {arrived_at: TIMESTAMP, tokens_in: in}\n")
    text = "TIMESTAMP,in\n2023-11-16 18:17:03.9799600,5\n2023-11-16 18:17:04.1234567,6"
    report = import_file(store, file(text), workload=WORKLOAD, mapping=rules)
    first, second = store.arrivals(WORKLOAD)
    assert first.arrived_at.isoformat() == "2023-11-16T18:17:03.979960+00:00"
    assert second.request_id == "table:3"
    assert notes(report) == {
        "arrived_at without a zone: taken as UTC": 2,
        "arrived_at finer than a microsecond: cut": 1,
    }


def test_a_price_list_becomes_a_dated_card(store, file, mapping):
    rules = mapping("about: A list\nkind: prices\ncolumns: {input: in, output: out}\n")
    path = file("model,in,out\nm,0.2,0.4\nn,,1\n")
    with pytest.raises(InputError, match="the one day from which it holds"):
        read(path, rules)
    report = import_file(
        store, path, workload=WORKLOAD, mapping=rules, constants={"as_of": "2025-01-31"}
    )
    assert (report.kept, report.set_aside) == (1, {"no price of input or output": 1})
    (card,) = cards(store)
    assert (str(card.as_of), card.source, card.models["m"].output) == ("2025-01-31", "A list", 0.4)


def test_options_overrule_the_mapping(file, mapping):
    rules = mapping(
        "columns: {score: a, model: who}\ntexts: {query: 'q{id}'}\nevidence: measured\n"
    )
    path = file("id,who,a,b\n1,m,1,0\n")
    result = read(path, rules, columns={"score": "b", "query": "id"}, constants={"model": "x"})
    (row,) = result.observations
    assert (row.query_id, row.strategy, row.score) == ("1", "x/single", 0.0)
    assert row.evidence == "measured"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colums: {}\n", "unknown key 'colums'"),
        ("kind: rows\n", "Input should be 'observations'"),
        ("columns: {scor: a}\n", "did you mean 'score'"),
        ("columns: {score: zzz}\n", "there is no column 'zzz'"),
        ("texts: {query: '{zzz}'}\n", "there is no column 'zzz'"),
        ("columns: {score: score}\nconstants: {score: '1'}\n", "as a column and as a constant"),
        ("per_cent: [score]\nunits: {score: ms}\n", "in per cent and in a unit"),
        ("names: {class: {a: b}}\n", "names are given for class"),
        ("wide: {field: model, rows: {m: {score: zzz}}}\n", "there is no column 'zzz'"),
        ("constants: {model: m}\nwide: {field: model, rows: {m: {score: score}}}\n", "given twice"),
        ("running: {columns: [zzz]}\n", "there is no column 'zzz'"),
        ("drop_where: [{column: zzz, is: a, why: b}]\n", "there is no column 'zzz'"),
        ("drop_where: [{column: query, is: a, why: b}]\n", "drop_where leaves no row"),
        ("agrees_with: {calls: {column: query, pattern: '('}}\n", "not a regular expression"),
        ("agrees_with: {calls: {column: query, pattern: 'x'}}\n", "exactly one group"),
        ("expect: [{is: 1}]\n", "names one of count, mean and total"),
        ("expect: [{mean: zzz, is: 1}]\n", "'zzz' is not a field of what was read"),
        ("expect: [{mean: strategy, is: 1}]\n", "strategy is no number"),
        ("headline: {file: none.csv, columns: {model: a, score: b}}\n", "cannot read the file"),
        ("headline: {file: table.csv, columns: {model: model}}\n", "needs a column of score"),
        ("prompts: none.csv\n", "cannot read the file"),
        ("kind: cells\n", "no column gives the accuracy"),
        ("kind: serving\n", "no row of the file can be used"),
        ("kind: traffic\n", "no column gives the arrived_at"),
        ("kind: prices\n", "needs the one day|is not a field|no row of the file gives a price"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_explained(file, mapping, text, message):
    with pytest.raises(InputError, match=message):
        read(file("query,model,score\na,m,1\n"), mapping(text))


def test_an_unknown_mapping_names_those_there_are():
    with pytest.raises(InputError, match="there is no mapping 'nope'; expected a YAML file, or"):
        load_mapping("nope")


columns = st.sampled_from(["a", "b", "c", "zzz"])
values = st.sampled_from(["", "1", "0.5", "x", "7%", "1,234", "N/A", "-3", "2024-01-01", "é"])
fields = st.sampled_from(sorted({name for kind in FIELDS.values() for name in kind}))
rules_texts = st.fixed_dictionaries(
    {"kind": st.sampled_from([kind.value for kind in RecordKind])},
    optional={
        "columns": st.dictionaries(fields, columns, max_size=5),
        "constants": st.dictionaries(fields, values, max_size=5),
        "texts": st.dictionaries(fields, st.sampled_from(["{a}/{b}", "{zzz}", "x"]), max_size=2),
        "per_cent": st.lists(fields, max_size=2),
        "units": st.dictionaries(fields, st.sampled_from(["ms", "minutes"]), max_size=2),
        "totals": st.lists(fields, max_size=2),
        "params": st.dictionaries(st.sampled_from(["k", "é", ""]), columns, max_size=2),
        "names": st.dictionaries(fields, st.dictionaries(values, values, max_size=2), max_size=2),
        "absent": st.lists(values, max_size=2),
        "products": st.dictionaries(fields, st.lists(columns, max_size=2), max_size=1),
        "running": st.fixed_dictionaries({"columns": st.lists(columns, min_size=1, max_size=2)}),
        "fingerprint": st.lists(columns, max_size=2),
        "wide": st.fixed_dictionaries(
            {
                "field": st.sampled_from(["model", "class"]),
                "rows": st.dictionaries(
                    values, st.dictionaries(fields, columns, max_size=2), min_size=1, max_size=2
                ),
            }
        ),
        "expect": st.lists(
            st.one_of(
                st.fixed_dictionaries({"mean": fields, "is": st.just(1)}),
                st.fixed_dictionaries({"count": st.just("kept"), "is": st.just(1)}),
            ),
            max_size=1,
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(rules_texts, st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=4))
def test_random_mappings_of_random_tables_raise_nothing_but_an_input_error(
    tmp_path_factory, rules, rows
):
    folder = tmp_path_factory.mktemp("fuzz")
    path = folder / "f.jsonl"
    path.write_text("\n".join(json.dumps(dict(zip("abc", row, strict=True))) for row in rows))
    (folder / "m.yaml").write_text(json.dumps(rules))
    try:
        with Store.open(":memory:") as store:
            import_file(
                store, path, workload=WORKLOAD, mapping=load_mapping(str(folder / "m.yaml"))
            )
    except InputError:
        pass
