import json
import shutil
from pathlib import Path

import pytest

from profiles.errors import InputError
from profiles.importing.formats.sample_logs import final_answer, read
from profiles.notes import Notes
from profiles.observation import Evidence

LOGS = Path(__file__).parent / "fixtures" / "tot_logs"
COT = LOGS / "gpt-4_0.7_naive_cot_sample_4_start900_end903.json"
STANDARD = LOGS / "gpt-4_0.7_naive_standard_sample_4_start900_end903.json"
TREE = LOGS / "gpt-4_0.7_propose1_value3_greedy2_start900_end903.json"


def of_query(found, query):
    return [row for row in found.observations if row.query_id == query]


def rewritten(tmp_path, change):
    entries = json.loads(COT.read_text())
    change(entries)
    path = tmp_path / COT.name
    path.write_text(json.dumps(entries))
    return path


def test_every_sample_is_an_observation_with_the_checkers_word_as_score_and_verdict():
    found = read(COT, workload="g", notes=Notes())
    assert (found.rows, len(found.observations), found.set_aside) == (3, 12, ())
    rows = of_query(found, "900")
    assert [row.sample for row in rows] == [0, 1, 2, 3]
    assert [row.score for row in rows] == [row.verdict for row in rows] == [0.0, 1.0, 1.0, 1.0]
    assert {row.strategy for row in rows} == {"gpt-4/chain_of_thought(temperature=0.7)"}
    assert {row.evidence for row in rows} == {Evidence.PUBLISHED}


def test_the_prompt_named_standard_is_a_single_answer():
    found = read(STANDARD, workload="g", notes=Notes())
    assert {row.strategy for row in found.observations} == {
        "gpt-4/single(prompt=io,temperature=0.7)"
    }
    assert sum(row.score for row in found.observations) == 6


def test_a_puzzles_bill_is_shared_and_adds_up_exactly():
    rows = of_query(read(COT, workload="g", notes=Notes(), answers_per_call=2), "900")
    assert [row.tokens_in for row in rows] == [110, 110, 109, 109]
    assert sum(row.tokens_out for row in rows) == 223
    assert sum(row.calls for row in rows) == 2
    assert {row.cost_usd for row in rows} == {rows[0].cost_usd}
    assert sum(row.cost_usd for row in rows) == pytest.approx(223 * 60e-6 + 438 * 30e-6)


def test_a_restarted_counter_is_reported_with_place_and_figures():
    notes = Notes()
    found = read(COT, workload="g", notes=notes)
    total = 0.03 * (873 + 436) / 1000 + 0.06 * (430 + 101) / 1000
    assert sum(row.cost_usd for row in found.observations) == pytest.approx(total)
    restart = notes.all()[0]
    assert (restart.count, "restarted" in restart.text) == (3, True)
    assert "cost at idx 902 fell from 0.05199 to 0.01914; total 0.07113" in restart.examples[0]


def test_shared_bills_are_said_to_be_shared():
    notes = Notes()
    read(STANDARD, workload="g", notes=notes)
    (note,) = notes.all()
    assert note.text.startswith("samples share their puzzle's bill evenly")
    assert note.count == 3


def test_a_tree_search_is_one_observation_with_the_state_that_the_checker_picks():
    found = read(TREE, workload="g", notes=Notes())
    assert [row.score for row in found.observations] == [1.0, 0.0, 1.0]
    assert found.observations[0].answer == "4*6*1*1"
    assert (found.observations[1].tokens_in, found.observations[1].calls) == (9100, None)
    strategy = "gpt-4/tree_of_thoughts(breadth=2,evaluations=3,temperature=0.7)"
    assert found.observations[0].strategy == strategy
    assert [query.prompt for query in found.queries] == ["1 1 4 6", "2 3 5 12", "4 4 10 10"]


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("Steps:\n...\nAnswer: (6 - 4) * 5 = 24", "(6-4)*5"),
        ("Answer: (6-4)*5 =24.\n", "(6-4)*5"),
        ("Not possible", "notpossible"),
        ("  \n", ""),
        ("Answer: " + "9" * 999, "9" * 500),
    ],
)
def test_answers_that_mean_the_same_count_as_one_vote(output, answer):
    assert final_answer(output) == answer


def test_entries_that_cannot_be_used_are_set_aside_and_still_move_the_counter(tmp_path):
    def spoil(entries):
        entries[1]["infos"].pop()

    found = read(rewritten(tmp_path, spoil), workload="g", notes=Notes())
    assert [(row.line, row.reason) for row in found.set_aside] == [
        (2, "not one checker's word (infos or accs) for each output")
    ]
    assert {row.query_id for row in found.observations} == {"900", "902"}
    assert sum(row.tokens_in for row in of_query(found, "902")) == 436


def test_without_every_reading_no_puzzles_bill_is_known(tmp_path):
    notes = Notes()
    path = rewritten(tmp_path, lambda entries: entries[1].pop("usage_so_far"))
    found = read(path, workload="g", notes=notes)
    assert {row.cost_usd for row in found.observations} == {None}
    assert {row.tokens_in for row in found.observations} == {None}
    assert "no usage_so_far" in notes.all()[0].text


def test_a_file_that_is_no_log_is_refused(tmp_path):
    path = tmp_path / COT.name
    path.write_text("{}")
    with pytest.raises(InputError, match="this is not such a log; expected a JSON array"):
        read(path, workload="g", notes=Notes())
    path.write_text("[")
    with pytest.raises(InputError, match="cannot read the log"):
        read(path, workload="g", notes=Notes())


def test_a_name_that_tells_no_strategy_needs_its_text(tmp_path):
    path = shutil.copy(COT, tmp_path / "log.json")
    with pytest.raises(InputError, match="the file's name does not tell the strategy"):
        read(path, workload="g", notes=Notes())
    found = read(path, workload="g", notes=Notes(), strategy="m/single")
    assert found.observations[0].strategy == "m/single"


@pytest.mark.data
def test_the_published_logs_have_their_known_figures(data_dir):
    folder, notes = data_dir / "tot_game24" / "raw", Notes()
    logs = {
        name: read(path, workload="g", notes=notes).observations
        for name in ("standard", "cot", "propose")
        for path in folder.glob(f"*{name}*.json")
    }
    means = {
        name: (sum(r.score for r in rows) / len(rows), sum(r.cost_usd for r in rows) / 100)
        for name, rows in logs.items()
    }
    assert means["standard"] == (pytest.approx(0.0734), pytest.approx(0.138, abs=5e-4))
    assert means["cot"] == (pytest.approx(0.0403), pytest.approx(0.4704672))
    assert means["propose"] == (pytest.approx(0.69), pytest.approx(0.7450962))
    restart = notes.all()[1]
    assert "cost at idx 932 fell from 14.87664 to 0.47451; total 47.04672" in restart.examples[0]
