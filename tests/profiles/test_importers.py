import json
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from small_worlds import WORKLOAD

from profiles.errors import InputError
from profiles.importing.importers import import_file, read_outcomes
from profiles.importing.spelling import strategy_text
from profiles.importing.tables import FORMATS
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
    assert notes(report)["row contradicts the store: refused"] == 1
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
        "latency_s 0 means not recorded: made unknown": 1,
        "cost_usd with thousands separators: repaired": 1,
        "tokens_out is a fraction: rounded up": 1,
        "calls 0 means not recorded: made unknown": 1,
        "cost_usd 0 means not recorded: made unknown": 1,
        "latency_s negative: made unknown": 1,
        "tokens_out not a number: made unknown": 1,
        "score outside 0..1: row set aside": 1,
        "score NaN or infinite: row set aside": 1,
        "no score: row set aside": 1,
        "score not a number: row set aside": 1,
        "no usable query id: row set aside": 1,
        "this is not a strategy: row set aside": 1,
        "neither strategy nor model: row set aside": 1,
        "cost_usd NaN or infinite: made unknown": 1,
        "latency_s too large: made unknown": 1,
        "tokens_out too large: made unknown": 1,
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
        "sample is not a count: row set aside": 1,
        "sample not a number: row set aside": 1,
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
    assert notes(result)["observed_at not ISO 8601: made unknown"] == 1


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
    assert notes(half)["score outside 0..1: row set aside"] == 1


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
        "answer longer than 500 characters: made unknown": 1,
        "verdict outside 0..1: made unknown": 1,
    }


def test_a_tools_format_is_read_by_its_reader(store, file):
    path = file('{"idx": 1, "ys": ["a"], "infos": [{"r": 1}]}', "log.json")
    with pytest.raises(InputError, match="not an option of the format sample_logs"):
        import_file(store, path, workload=WORKLOAD, format="tot", options={"color": "red"})
    with pytest.raises(InputError, match="answers_per_call is not a number"):
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
