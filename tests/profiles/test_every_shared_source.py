"""Every table of third parties, imported by our mappings, says what its README says."""

from pathlib import Path

import pytest

from benchmarks.shared_sources import defects, figures, import_all, stored_checks
from profiles.importing.importers import import_file
from profiles.importing.mapping import load_mapping, mapping_names
from profiles.store.store import Store

pytestmark = [pytest.mark.data, pytest.mark.slow]


@pytest.fixture(scope="module")
def imported(data_dir, tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("all") / "store.duckdb") as store:
        yield store, import_all(store, data_dir)


def test_every_folder_of_measurements_has_a_mapping(data_dir):
    folders = {path.name for path in data_dir.iterdir() if path.is_dir()}
    assert folders == {Path(load_mapping(name).file).parts[0] for name in mapping_names()}


def test_every_check_value_holds_on_import_and_in_the_store(imported):
    store, reports = imported
    for name, found in reports.items():
        assert all(report.rows and report.added for report in found), name
        assert [str(check) for check in found[0].checks if not check.ok] == []
        assert [str(check) for check in stored_checks(store, name, found) if not check.ok] == []


def test_figures_that_combine_several_rows_hold_in_the_store(imported):
    wrong = [(name, figure) for name, figure in figures(imported[0]) if not figure.ok]
    assert wrong == []


def test_every_listed_defect_is_reported(imported):
    assert [row["defect"] for row in defects(imported[1]) if not row["reported"]] == []


def test_what_is_suspicious_is_what_the_sources_say_and_little_more(imported):
    def suspects(name):
        (report,) = imported[1][name]
        notes = (note for note in report.notes if "answers that were not read" in note.text)
        return [example.partition("/single")[0] for note in notes for example in note.examples]

    assert suspects("routellm") == ["high_school_mathematics, gpt-4-1106-preview"]
    found = suspects("llmrouter_nine_models")
    for task in ("arc_challenge", "commonsense_qa", "openbook_qa", "mmlu"):
        for model in ("llama3-chatqa-1.5-8b", "llama3-chatqa-1.5-70b"):
            assert f"{task}, {model}" in found
    assert len([name for name in found if name.startswith("mmlu,")]) == 4
    for name in ("swebench_minisweagent", "gsm8k_verifiers", "paretobandit",
                 "reflexion_programming", "tot_game24", "tau2_leaderboard"):  # fmt: skip
        assert suspects(name) == []


def test_the_same_files_again_change_nothing(imported, data_dir):
    store, reports = imported
    for name in ("swebench_minisweagent", "tau2_leaderboard", "gpu_serving_measurements"):
        rules = load_mapping(name)
        again = import_file(store, data_dir / rules.file, workload=name, mapping=rules)
        assert (again.already_imported, again.added, again.conflicts) == (True, 0, 0)
        assert again.notes == reports[name][0].notes
