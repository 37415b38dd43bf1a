from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.annotations import github, sarif
from policies.findings import Finding, Place, Severity
from policies.rules import RULES


def finding(where: str, code: str = "share-sum", message: str = "wrong") -> Finding:
    return Finding(Severity.ERROR, code, where, message, "mend it")


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("policy.yaml:3:7: rungs.0", Place("policy.yaml", 3, 7)),
        ("policy.yaml:3: rungs.0", Place("policy.yaml", 3)),
        ("policy.yaml: the end of the file", Place("policy.yaml")),
        ("policy.yaml", Place("policy.yaml")),
        ("policy.onnx", Place("policy.onnx")),
        ("policy.onnx: graph.file", Place("policy.onnx")),
        ("other.yaml:9:1: a: b:4: c", Place("other.yaml", 9, 1)),
    ],
)
def test_a_finding_knows_its_place(where: str, place: Place) -> None:
    assert finding(where).place("policy.yaml") == place


def test_a_file_whose_name_looks_like_a_place_is_taken_for_a_file() -> None:
    name = "a:1: b:2.yaml"
    assert finding(f"{name}:3:7: rungs").place(name) == Place(name, 3, 7)


def test_sarif_has_the_version_rules_and_results_that_its_schema_asks_for() -> None:
    log = sarif({"deploy/a b.yaml": [finding("deploy/a b.yaml:3:7: rungs.0")]}, "1.2.3")
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("inferbudget", "1.2.3")
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids == sorted(RULES)
    assert all(
        rule["shortDescription"]["text"] and rule["help"]["text"] for rule in driver["rules"]
    )
    (result,) = run["results"]
    assert ids[result["ruleIndex"]] == result["ruleId"] == "share-sum"
    assert result["level"] == "error"
    assert result["message"]["text"] == "wrong\nnext: mend it"
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "deploy/a%20b.yaml"},
        "region": {"startLine": 3, "startColumn": 7},
    }


def test_sarif_names_an_absolute_path_by_its_uri_and_gives_standard_input_no_place() -> None:
    absolute = sarif({"/srv/p.yaml": [finding("/srv/p.yaml: digest")]}, "1")
    at = absolute["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert at == {"artifactLocation": {"uri": "file:///srv/p.yaml"}}
    (result,) = sarif({"-": [finding("-:3:7: rungs")]}, "1")["runs"][0]["results"]
    assert "locations" not in result


def test_a_code_without_a_rule_is_still_a_rule_of_the_log() -> None:
    run = sarif({"p": [finding("p:1:1: a", code="new-code")]}, "1")["runs"][0]
    assert run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"] == "new-code"


def test_github_gets_a_command_with_file_line_and_column() -> None:
    said = github({"policy.yaml": [finding("policy.yaml:3:7: rungs.0", message="50 % off\nso")]})
    assert said == (
        "::error file=policy.yaml,line=3,col=7,title=inferbudget share-sum::"
        "50 %25 off%0Aso%0Anext: mend it"
    )


def test_github_gets_no_file_for_standard_input() -> None:
    assert github({"-": [finding("-:3:7: rungs")]}).startswith("::error line=3,col=7,title=")


@given(st.text(), st.text(min_size=1))
def test_nothing_in_a_message_or_a_name_ends_a_command_of_github(message: str, name: str) -> None:
    said = github({name: [finding(f"{name}:3:7: rungs", message=message)]})
    assert re.fullmatch(r"::error [^\r\n]*", said)
    properties = said.removeprefix("::error ").partition("::")[0].split(",")
    keys = [part.partition("=")[0] for part in properties]
    assert keys == (["file"] if name != "-" else []) + ["line", "col", "title"]


def test_every_code_of_a_check_has_a_rule() -> None:
    folder = Path(__file__).parents[2] / "policies"
    written = "".join(
        (folder / f"{name}.py").read_text()
        for name in ("arithmetic", "check", "limit_checks", "semantics", "staleness")
    )
    called = re.findall(r'(?:error|warning|_from_error)\(\s*"([a-z-]+)"', written)
    built = re.findall(r'Finding\([^()"]+, "([a-z-]+)"', written)
    codes = {*called, *built}
    assert len(codes) > 25
    assert codes <= set(RULES)
