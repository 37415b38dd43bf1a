import json
import unicodedata
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from small_worlds import WORKLOAD

from profiles.aggregate import Aggregate
from profiles.arrival import Arrival
from profiles.errors import InputError
from profiles.importing.importers import import_file, read_outcomes
from profiles.importing.spelling import strategy_text
from profiles.importing.tables import FORMATS
from profiles.serving import ServingPoint
from profiles.store.store import Store
from profiles.strategy import canonical


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


@pytest.fixture
def file(tmp_path):
    def write(text, name="outcomes.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def read(path, **more):
    return read_outcomes(path, workload=WORKLOAD, **more)


def notes(result):
    ours = "no method is named: taken as 'single'"
    return {note.text: note.count for note in result.notes if note.text != ours}


def test_columns_are_recognised_mapped_and_given_as_constants(file):
    path = file("query_id,who,ok,cost_usd,kind\na,m,true,0.5,x\nb,m,0,0.25,y\n")
    result = read(
        path,
        columns={"model": "who", "score": "ok", "class": "kind"},
        constants={"method": "best_of_n"},
    )
    first, second = result.observations
    assert (first.query_id, first.strategy, first.score) == ("a", "m/best_of_n", 1.0)
    assert (second.score, second.cost_usd, second.evidence) == (0.0, 0.25, "published")
    assert [query.class_label for query in result.queries] == ["x", "y"]
    assert notes(result) == {"class too small to promise anything": 2}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_observations(file, tmp_path, suffix):
    rows = [
        {"query": "a", "strategy": "m/single", "score": 0.5, "tokens_out": 7},
        {"query": "b", "strategy": "m/single", "score": 1, "tokens_out": None},
    ]
    texts = {
        "csv": "query,strategy,score,tokens_out\na,m/single,0.5,7\nb,m/single,1,\n",
        "tsv": "query\tstrategy\tscore\ttokens_out\na\tm/single\t0.5\t7\nb\tm/single\t1\t\n",
        "jsonl": "\n".join(map(json.dumps, rows)),
        "json": json.dumps(rows),
    }
    path = tmp_path / f"same.{suffix}"
    if suffix == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path = file(texts[suffix], path.name)
    found = [(o.query_id, o.strategy, o.score, o.tokens_out) for o in read(path).observations]
    assert found == [("a", "m/single", 0.5, 7), ("b", "m/single", 1.0, None)]


def test_the_same_content_again_changes_nothing_and_says_so(store, file):
    path = file("query,model,score\na,m,1\nb,m,0\n")
    first = import_file(store, path, workload=WORKLOAD)
    before = store.profile(WORKLOAD).digest
    second = import_file(store, path, workload=WORKLOAD)
    assert (first.added, first.queries, first.already_imported) == (2, 2, False)
    assert (second.added, second.duplicates, second.already_imported) == (0, 2, True)
    assert store.profile(WORKLOAD).digest == before
    json.dumps(second.to_json())


def test_other_values_under_a_stored_key_are_refused_and_reported(store, file):
    import_file(store, file("query,model,score\na,m,1\n"), workload=WORKLOAD)
    report = import_file(store, file("query,model,score\na,m,0\nb,m,0\n"), workload=WORKLOAD)
    assert (report.added, report.conflicts) == (1, 1)
    assert notes(report)["row contradicts the store"] == 1
    assert store.mean_scores(WORKLOAD) == [("a", "m/single", 1.0), ("b", "m/single", 0.0)]


def test_bad_values_are_set_aside_or_made_unknown_and_counted(file):
    path = file(
        "query,strategy,score,cost_usd,latency_s,tokens_out,calls\n"
        'a,m/single,1,"1,234.5",0,12.5,0\n'
        "b,m/single,0.5,0,-1,many,1\n"
        "c,m/single,1.5,1,1,1,1\n"
        "d,m/single,NaN,1,1,1,1\n"
        "e,m/single,,1,1,1,1\n"
        "f,m/single,good,1,1,1,1\n"
        ",m/single,1,1,1,1,1\n"
        "g,m/single(,1,1,1,1,1\n"
        "h,,1,1,1,1,1\n"
        "i,m/single,1,inf,1e300,99999999999999,1\n"
    )
    result = read(path)
    assert [row.query_id for row in result.observations] == ["a", "b", "i"]
    a, b, i = result.observations
    assert (a.cost_usd, a.latency_s, a.tokens_out, a.calls) == (1234.5, None, 13, None)
    assert (b.cost_usd, b.latency_s, b.tokens_out) == (None, None, None)
    assert (i.cost_usd, i.latency_s, i.tokens_out) == (None, None, None)
    assert notes(result) == {
        "latency_s 0 means not recorded": 1,
        "cost_usd with thousands separators": 1,
        "tokens_out is a fraction: rounded up": 1,
        "calls 0 means not recorded": 1,
        "cost_usd 0 means not recorded": 1,
        "latency_s negative": 1,
        "tokens_out not a number": 1,
        "score outside 0..1": 1,
        "score NaN or infinite": 1,
        "no score": 1,
        "score not a number": 1,
        "no usable query id": 1,
        "this is not a strategy": 1,
        "neither strategy nor model": 1,
        "cost_usd NaN or infinite": 1,
        "latency_s too large": 1,
        "tokens_out too large": 1,
    }
    assert str(result.notes[-1]).startswith("1 x tokens_out too large")


def test_a_repeated_query_is_numbered_only_where_the_file_repeats_it(file):
    result = read(file("query,strategy,score\na,m/single,1\nb,m/single,1\na,m/single,0\n"))
    assert [(row.query_id, row.sample) for row in result.observations] == [
        ("a", 0),
        ("b", 0),
        ("a", 1),
    ]
    assert list(notes(result).values()) == [1]


def test_a_mapped_sample_is_taken_as_it_stands(file):
    result = read(
        file("query,strategy,score,sample\na,m/single,1,4\nb,m/single,1,-1\nc,m/single,1,x\n")
    )
    assert [row.sample for row in result.observations] == [4]
    assert notes(result) == {
        "sample is not a count": 1,
        "sample not a number": 1,
    }


def test_a_strategy_that_names_no_model_runs_on_the_rows_model(file):
    result = read(
        file(
            "query,model,strategy,score\na,m,single_greedy,1\na,m,other/x,1\na,m,sc(n=5),1\na,m,cascade(stages=[s/single]),1\n"
        )
    )
    assert [row.strategy for row in result.observations] == [
        "m/single_greedy",
        "other/x",
        "m/sc(n=5)",
        "cascade(stages=[s/single])",
    ]


def test_names_with_other_characters_are_respelled_and_said(file):
    result = read(file("query,model,method,score\na,Claude 3.7 (new),Best-of-N,1\n"))
    assert result.observations[0].strategy == "Claude-3.7-new/best_of_n"
    assert notes(result) == {"name respelled": 1}


def test_two_models_that_would_become_one_are_refused(file):
    with pytest.raises(InputError, match="two names become the same strategy a-b/single"):
        read(file("query,model,score\nq,a b,1\nq,a-b,1\n"))


def test_bare_infinity_in_json_lines_is_noticed(file):
    path = file('{"query":"a","model":"m","score":1,"rate":Infinity}\n', "x.jsonl")
    assert notes(read(path))["line with a bare NaN or Infinity, which is not JSON"] == 1


def test_prompts_and_classes_come_from_a_second_file(file, store):
    prompts = file('query_id,task,prompt\na,easy,"two\nlines"\nb,hard,x\n', "prompts.csv")
    path = file("query_id,model,score\na,m,1\nb,m,0\nc,m,0\n")
    columns = {"query": "query_id", "class": "task"}
    result = read(path, prompts=prompts, columns=columns)
    assert notes(result)["query without a prompt"] == 1
    report = import_file(store, path, workload=WORKLOAD, prompts=prompts, columns=columns)
    assert report.queries == 3
    assert store.prompts(WORKLOAD) == {"a": "two\nlines", "b": "x"}


def test_times_are_kept_in_utc(file):
    result = read(
        file("query,model,score,observed_at\na,m,1,2025-01-01T02:00:00+02:00\nb,m,1,soon\n")
    )
    assert result.observations[0].observed_at.isoformat() == "2025-01-01T00:00:00+00:00"
    assert notes(result)["observed_at not ISO 8601"] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "the file has no rows"),
        ("a.csv", "query,model,score\n", "the file has no rows"),
        ("a.csv", "query,model,score\na,m\n", r"a.csv:2: the row does not fit the header"),
        ("a.csv", 'query,model,score\na,m,"1\n', r"a.csv:2: this is not well-formed"),
        ("a.csv", "query,query,score\na,m,1\n", "'query' stands twice"),
        ("a.csv", b"query,model,score\na,\xff,1\n", r"a.csv:2: the file is not UTF-8"),
        ("a.csv", "id,model,score\na,m,1\n", "no column gives the query"),
        ("a.csv", "query,model,right\na,m,1\n", "no column gives the score"),
        ("a.csv", "query,score\na,1\n", "no column gives the strategy"),
        ("a.csv", "query,model,score\na,m,x\n", "no row of the file can be used"),
        ("a.csv", "query,model,score\na,m,5\n", "a.csv:2: the score is on another scale"),
        ("a.csv", "query,model,score\na,m,-20\n", "a.csv:2: the score is on another scale"),
        ("a.csv", "query,model,score\na,!!,1\n", "this is not a model's name"),
        ("a.csv", "query,model,method,score\na,m,7,1\n", "this is not a method's name"),
        ("a.csv", "query,model,score\na,m,37.8%\nb,m,9%\n", "score looks like per cent"),
        ("a.xls", "x", "the format of this file is not known"),
        ("a.jsonl", '{"query":1}\n{"query"', "a.jsonl:2: this is not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: this is not an object"),
        ("a.jsonl", "[" * 100_000, "this is not JSON"),
        ("a.json", "{}", "the file is not a list of objects"),
        ("a.json", '[\n1,\n"]', "a.json:3: this is not JSON"),
        ("a.parquet", "PAR1", "this is not a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_is_explained(file, name, content, message):
    with pytest.raises(InputError, match=message):
        read(file(content, name))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"scor": "score"}}, "did you mean 'score'"),
        ({"columns": {"score": "right"}}, "no column 'right'"),
        ({"constants": {"price": "1"}}, "'price' is not a field"),
        (
            {"columns": {"score": "score"}, "constants": {"score": "1"}},
            "as a column and as a constant",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_is_explained(file, options, message):
    with pytest.raises(InputError, match=message):
        read(file("query,model,score\na,m,1\n"), **options)


def test_a_prompts_file_needs_a_query_and_a_prompt(file):
    path = file("query,model,score\na,m,1\n")
    with pytest.raises(InputError, match="the prompts file has no column prompt"):
        read(path, prompts=file("query,text\na,b\n", "prompts.csv"))


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(InputError, match="cannot read the file"):
        read(tmp_path / "none.csv")


cells = st.sampled_from(
    [
        "",
        "a",
        "1",
        "0.5",
        "nan",
        "-inf",
        "1,2",
        "m/single",
        "(",
        "true",
        "\ud800",
        "\x00",
        '"',
        "9" * 5000,
    ]
) | st.text(max_size=8)


def outcome_or_input_error(path):
    try:
        with Store.open(":memory:") as store:
            report = import_file(store, path, workload=WORKLOAD)
            store.profile(WORKLOAD)
            assert report.added > 0
    except InputError:
        pass


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(FORMATS))
def test_random_bytes_raise_nothing_but_an_input_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"f.{suffix}"
    path.write_bytes(content)
    outcome_or_input_error(path)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(cells, min_size=6, max_size=6), min_size=1, max_size=5), st.booleans())
def test_random_cells_raise_nothing_but_an_input_error(tmp_path_factory, table, as_json):
    names = ["query", "strategy", "score", "cost_usd", "sample", "observed_at"]
    path = tmp_path_factory.mktemp("fuzz") / ("f.jsonl" if as_json else "f.csv")
    if as_json:
        text = "\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in table)
    else:
        text = "\n".join(",".join(row) for row in [names, *table])
    path.write_bytes(text.encode("utf-8", "replace"))
    outcome_or_input_error(path)


def test_scores_in_per_cent_are_refused_though_a_few_of_them_lie_in_0_to_1(store, file):
    path = file("query,model,score\na,m,0.8\nb,m,37.83\nc,m,\nd,m,100\n")
    message = r"outcomes.csv:3: the score looks like per cent; expected scores in 0..1; got 37.83"
    with pytest.raises(InputError, match=message) as refused:
        import_file(store, path, workload=WORKLOAD)
    assert "divide the scores by 100" in refused.value.next_step
    assert store.workloads() == []
    half = read(file("query,model,score\na,m,0.8\nb,m,37.83\n"))
    assert notes(half)["score outside 0..1"] == 1


def test_a_query_id_that_stands_for_two_classes_refuses_the_file(store, file):
    path = file("query,model,class,score\n0,m,py,1\n1,m,py,1\n0,m,,1\n0,m,rs,0\n")
    with pytest.raises(InputError, match=r"outcomes.csv:5: the query id '0' stands for two") as no:
        import_file(store, path, workload=WORKLOAD)
    assert "class 'py' as at" in str(no.value)
    assert "outcomes.csv:2" in str(no.value)
    assert "unique per class" in str(no.value)
    assert "separate workloads" in str(no.value)
    assert store.workloads() == []


def test_a_prompts_file_must_not_contradict_the_classes_of_the_outcomes(file):
    path = file("query,model,class,score\n0,m,py,1\n")
    prompts = file("query,prompt,class\n0,p,rs\n", "prompts.csv")
    with pytest.raises(InputError, match=r"prompts.csv:2: the query id '0' stands for two classes"):
        read(path, prompts=prompts)


def test_the_same_content_again_still_says_what_it_contradicts(store, file):
    import_file(store, file("query,model,score\na,m,1\n"), workload=WORKLOAD)
    path = file("query,model,score\na,m,0\nb,m,0\nc,m,7\n")
    first = import_file(store, path, workload=WORKLOAD)
    second = import_file(store, path, workload=WORKLOAD)
    assert (second.already_imported, second.added, second.conflicts) == (True, 0, 1)
    assert second.notes == first.notes
    assert len(second.notes) == 3


def test_a_respelled_name_keeps_all_its_letters(file):
    path = file("query,model,method,score\na,Claude 3.7 (new)™,m,1\nb,модель 2,м-ж,1\n")
    result = read(path)
    first, second = (row.strategy for row in result.observations)
    assert first == "Claude-3.7-new/m"
    model, method = second.split("/")
    assert model.removeprefix("xn--").encode().decode("punycode") == "модель-2"
    base, _, code = method.removeprefix("xn_").rpartition("_")
    assert f"{base}-{code}".encode().decode("punycode") == "м_ж"
    assert notes(result)["name respelled"] == 2


@given(st.text(st.characters(categories=["L", "N"]), min_size=1), st.text(min_size=1))
def test_two_names_never_become_one_strategy_in_silence(one, other):
    def spelled(name):
        try:
            return canonical(strategy_text("", name, "single"))
        except InputError:
            return None

    first = spelled(one)
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    assert first is not None
    if not same and first == spelled(other):  # then letters agree, and only signs were respelled
        assert any(not char.isalnum() for char in other) or one.startswith("xn--")


def test_a_method_may_carry_parameters(file):
    result = read(file('query,model,method,score\na,m,"best_of_n(n=8, a=b)",1\nb,m,CoT (5),1\n'))
    assert [row.strategy for row in result.observations] == ["m/best_of_n(a=b,n=8)", "m/cot_5"]


def test_a_class_that_an_earlier_import_contradicts_refuses_the_file(store, file):
    import_file(store, file("query,model,class,score\na,m,x,1\nb,m,,1\n"), workload=WORKLOAD)
    path = file("query,model,class,score\nc,m,x,1\na,n,y,1\nb,n,z,1\n", "later.csv")
    message = r"later.csv: query a: 1 queries are stored under another class; expected class 'x'"
    with pytest.raises(InputError, match=message):
        import_file(store, path, workload=WORKLOAD)
    assert len(store.observations(WORKLOAD)) == 2
    assert import_file(store, path, workload="another").added == 3


def test_rows_that_were_set_aside_are_in_the_quarantine_with_the_reason(store, file):
    path = file("query,model,score\na,m,1\nb,m,\nc,m,7\n")
    report = import_file(store, path, workload=WORKLOAD)
    import_file(store, path, workload=WORKLOAD)
    assert report.set_aside == {"no score": 1, "score outside 0..1": 1}
    kept = [(row.line, row.reason) for row in store.quarantined(path.name)]
    assert kept == [(3, "no score"), (4, "score outside 0..1")]


def test_columns_without_a_name_are_left_out_and_said(file):
    result = read(file("\ufeffquery,model,score,,\na,m,1,,\nb,m,1,x,\n"))
    assert notes(result) == {
        "column without a name: left out": 2,
        "value in a column without a name: left out": 1,
    }
    assert len(result.observations) == 2


def test_n_a_is_not_recorded_and_said(file):
    result = read(file("query,model,score,cost_usd\na,m,1,N/A\nb,m,0,\n"))
    assert [row.cost_usd for row in result.observations] == [None, None]
    assert notes(result) == {"cost_usd N/A: not recorded": 1}


def test_answers_and_verdicts_are_read_only_where_they_are_mapped(file):
    path = file(f"query,model,score,answer,verdict\na,m,1,42,0.5\nb,m,1,{'x' * 501},2\n")
    assert [(row.answer, row.verdict) for row in read(path).observations] == [(None, None)] * 2
    result = read(path, columns={"answer": "answer", "verdict": "verdict"})
    assert [(row.answer, row.verdict) for row in result.observations] == [("42", 0.5), (None, None)]
    assert notes(result) == {
        "answer longer than 500 characters": 1,
        "verdict outside 0..1": 1,
    }


def test_a_tools_format_is_read_by_its_reader(store, file):
    path = file('{"idx": 1, "ys": ["a"], "infos": [{"r": 1}]}', "log.json")
    with pytest.raises(InputError, match="not an option of the format sample_logs"):
        import_file(store, path, workload=WORKLOAD, format="tot", options={"color": "red"})
    with pytest.raises(InputError, match="--option answers_per_call: this is not a whole number"):
        read(path, format="tot", options={"answers_per_call": "many"})
    with pytest.raises(InputError, match="has its own columns"):
        read(path, format="tot", columns={"score": "r"})
    with pytest.raises(InputError, match="only a tool's format takes options"):
        read(file("query,model,score\na,m,1\n"), options={"model": "m"})


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        (
            "reflexion_programming/outcomes.csv",
            {"score": "correct", "class": "dataset"},
            "stands for two classes",
        ),
        (
            "open_agent_leaderboard/strategy_results.csv",
            {"query": "dataset", "score": "accuracy_pct"},
            "looks like per cent",
        ),
    ],
)
def test_real_files_that_would_be_misread_are_refused(data_dir, name, columns, message):
    with pytest.raises(InputError, match=message):
        read(data_dir / name, columns=columns)


NOW = datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["-1", "0", "nan", "inf", "1e300", "1000001"])
def test_a_number_given_as_an_option_is_finite_above_0_and_at_most_a_million(file, text):
    path = file("{}", "run.json")
    with pytest.raises(InputError, match="--option gpus: this is out of range; expected a number"):
        read(path, format="vllm", options={"gpus": text})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answers_per_call": "0"}, "--option answers_per_call: this is out of range"),
        ({"answers_per_call": "2.5"}, "--option answers_per_call: this is not a whole number"),
        ({"strategy": "m("}, r"--option strategy: this is not a strategy.*got 'm\('"),
    ],
)
def test_an_option_of_the_wrong_form_is_named_in_the_error(file, options, message):
    path = file('[{"idx": 1, "ys": ["a"], "infos": [{"r": 1}]}]', "log.json")
    with pytest.raises(InputError, match=message):
        read(path, format="tot", options=options)


def test_a_model_that_no_record_can_carry_is_named_as_the_option(file):
    path = file("{}", "samples_gsm8k_2026-01-15T10-00-00.jsonl")
    with pytest.raises(InputError, match="--option model: this is not a model's name"):
        read(path, format="lm-eval", options={"model": "!!"})


@pytest.mark.parametrize(
    ("kind", "record", "rule"),
    [
        ("serving", ServingPoint("m", None, None, "a", gpu_s=-0.05), "gpu_s is finite and at"),
        ("serving", ServingPoint("m", None, None, "a", gpus=float("inf")), "gpus is finite and at"),
        ("serving", ServingPoint("m", None, None, "a", requests=-1), "requests is at least 0"),
        ("serving", ServingPoint("", None, None, "a"), "model is no empty text"),
        ("aggregates", Aggregate("w", "all", "m/single", 1, 1.5), "accuracy is in 0..1"),
        ("aggregates", Aggregate("w", "all", "m/single", -1, 1), "queries is at least 0"),
        (
            "aggregates",
            Aggregate("w", "all", "m/single", 1, 1, cost_usd=float("nan")),
            "cost_usd is finite and at least 0",
        ),
        ("arrivals", Arrival("w", "r", NOW, -1, None), "tokens_in is at least 0"),
        ("arrivals", Arrival("w", "", NOW, 1, None), "request_id is no empty text"),
    ],
)
def test_the_store_refuses_figures_of_any_kind_that_nothing_can_have(store, kind, record, rule):
    with pytest.raises(InputError, match=f"1 row breaks a rule; expected {rule}"):
        getattr(store, f"add_{kind}")([record])
    assert store.serving() == store.aggregates("w") == store.arrivals("w") == []


@pytest.fixture
def table(tmp_path):
    def write(**columns):
        path = tmp_path / "rows.parquet"
        base = {"query": ["a", "b"], "model": ["m", "m"], "score": [1.0, 0.0]}
        parquet.write_table(pa.table(base | columns), path)
        return path

    return write


def test_ids_that_are_bytes_are_read_as_utf_8_and_others_set_aside(table):
    found = read(table(query=pa.array(["é".encode(), b"\xff"])))
    assert [row.query_id for row in found.observations] == ["é"]
    assert [query.query_id for query in found.queries] == ["é"]
    assert notes(found)["no usable query id"] == 1


def test_names_that_are_bytes_but_no_text_set_the_row_aside(table):
    found = read(table(model=pa.array([b"m", b"\xff"])))
    assert [row.strategy for row in found.observations] == ["m/single"]
    assert notes(found)["model is no text"] == 1


def test_missing_ids_never_become_one_query(table, file):
    found = read(table(query=pa.array([1.0, float("nan")])))
    assert [row.query_id for row in found.observations] == ["1"]
    assert [query.query_id for query in found.queries] == ["1"]
    text = read(file("query,model,score\na,m,1\nnan,m,1\nNone,m,1\nnull,m,0\n"))
    assert [row.query_id for row in text.observations] == ["a"]
    assert notes(text)["no usable query id"] == 3


def test_decimal_columns_are_numbers(table):
    cost = pa.array([Decimal("0.10"), None], pa.decimal128(10, 2))
    ids = pa.array([Decimal("7.00"), Decimal("7.50")], pa.decimal128(10, 2))
    found = read(table(cost_usd=cost, query=ids))
    assert [(row.query_id, row.cost_usd) for row in found.observations] == [
        ("7", 0.1),
        ("7.50", None),
    ]
    long = pa.array([Decimal(10**60), Decimal(10**60 + 1)], pa.decimal256(70, 2))
    assert {row.query_id for row in read(table(query=long)).observations} == {
        str(10**60),
        str(10**60 + 1),
    }


def test_a_column_of_lists_or_structs_is_refused_only_where_it_is_read(table):
    nested = [{"usd": 1}, {"usd": 2}]
    with pytest.raises(InputError, match=r"rows.parquet: cost_usd: the column holds lists or"):
        read(table(cost_usd=nested))
    with pytest.raises(InputError, match=r"rows.parquet: ids: the column holds lists or structs"):
        read(table(ids=[[1], [2]]), columns={"query": "ids"})
    assert len(read(table(details=nested)).observations) == 2


def test_an_unknown_time_zone_is_named_with_its_column(table):
    times = pa.array([1_700_000_000, 2], pa.timestamp("s", "No/Such"))
    message = r"rows.parquet: observed_at: the time zone of a column is not known.*got 'No/Such'"
    with pytest.raises(InputError, match=message):
        read(table(observed_at=times))
    fixed = pa.array([1_700_000_000, 1_700_000_000], pa.timestamp("s", "+02:00"))
    first = read(table(observed_at=fixed)).observations[0]
    assert first.observed_at.isoformat() == "2023-11-14T22:13:20+00:00"


def test_parts_above_their_whole_are_suspicious_and_unknown(file):
    path = file(
        "query,model,score,tokens_in,tokens_out,tokens_reasoning,tokens_cached\n"
        "a,m,1,10,5,50,60\nb,m,1,10,5,5,10\nc,m,1,,,9,9\n"
    )
    result = read(path)
    parts = [(row.tokens_reasoning, row.tokens_cached) for row in result.observations]
    assert parts == [(None, None), (5, 10), (9, 9)]
    suspects = {note.text for note in result.notes if note.kind == "suspicious"}
    assert "tokens_reasoning above tokens_out, of which it is a part: made unknown" in suspects
    assert "tokens_cached above tokens_in, of which it is a part: made unknown" in suspects


def test_rows_equal_in_all_that_was_measured_count_once(file, store):
    path = file("query,model,score,cost_usd\na,m,1,0.5\na,m,1,0.5\na,m,1,0.6\n")
    result = import_file(store, path, workload=WORKLOAD)
    why = "row equals an earlier one in all that was measured: counted once"
    assert [(row.sample, row.cost_usd) for row in store.observations(WORKLOAD)] == [
        (0, 0.5),
        (1, 0.6),
    ]
    assert result.set_aside == {why: 1}
    (note,) = (note for note in result.notes if note.text == why)
    assert (note.kind, note.examples) == ("suspicious", ("line 3: 'a, m/single'",))


def test_equal_rows_with_nothing_but_a_score_stay_samples(file):
    result = read(file("query,model,score,tokens_in\na,m,1,7\na,m,1,7\n"))
    assert [row.sample for row in result.observations] == [0, 1]
    assert notes(result)["a query repeats under one strategy: numbered as further samples"] == 1


def test_equal_rows_with_a_column_sample_stay_what_the_column_says(file):
    result = read(file("query,model,score,cost_usd,sample\na,m,1,1,0\na,m,1,1,1\n"))
    assert [row.sample for row in result.observations] == [0, 1]


def test_a_constant_that_stands_in_for_a_column_is_said(file):
    path = file("query,model,score\na,m,1\n")
    result = read(path, constants={"score": "0"})
    assert result.observations[0].score == 0
    (note,) = (note for note in result.notes if "constant" in note.text)
    assert str(note) == "1 x a constant stands in for a column (e.g. score=0 for column 'score')"


def test_a_column_that_gives_two_fields_is_said(file):
    path = file("query,model,score,n\na,m,1,1\n")
    result = read(path, columns={"cost_usd": "n", "latency_s": "n"})
    (note,) = (note for note in result.notes if "several" in note.text)
    assert note.examples == ("'n' gives cost_usd, latency_s",)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_key_that_stands_twice_in_a_row_is_refused_with_its_place(file, name):
    one, two = '{"query":"a","model":"m","score":1}', '{"query":"b","score":1,"score":0}'
    text = f"{one}\n{two}\n" if name.endswith("l") else f"[{one},{two}]"
    with pytest.raises(InputError, match=f"{name}:2: the key 'score' stands twice"):
        read(file(text, name))


def test_days_before_2000_or_in_the_future_are_suspicious(file):
    later = (datetime.now(UTC) + timedelta(days=400)).isoformat()
    path = file(
        "query,model,score,observed_at\n"
        f"a,m,1,1970-01-01T00:00:01+00:00\nb,m,1,{later}\nc,m,1,2024-05-05T00:00:00+00:00\n"
    )
    result = read(path)
    found = {note.text: note.count for note in result.notes if note.kind == "suspicious"}
    assert found == {"observed_at before 2000": 1, "observed_at in the future": 1}


def test_half_characters_in_a_tools_file_are_replaced_and_said(store, file):
    text = '[{"idx": "\\ud800", "ys": ["a"], "infos": [{"r": 1}]}]'
    path = file(text, "gpt-4_0.7_naive_cot_sample_1_start0_end1.json")
    report = import_file(store, path, workload=WORKLOAD, format="tot")
    assert [row.query_id for row in store.observations(WORKLOAD)] == ["?"]
    assert notes(report)["query_id with half a character: replaced by ?"] == 1
