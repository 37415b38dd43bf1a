"""The review that CI asks for: the example repository, the kit's files as they are, one comment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.commenting import NOTHING, Done, comment, thread_of
from app.reviewing import Step, comment_of, name_of
from policies.report_layout import LONGEST, Section, as_markdown, marker_of
from policies.report_layout import MARKER as MARKER_OF_ANY
from profiles.errors import InputError, UpstreamError
from profiles.visible import escaped_lines

ROOT = Path(__file__).parents[2]
MARKER = marker_of("policy.yaml")
EXAMPLE = ROOT / "examples" / "policy-repo"
MOST_OF_GITHUB = 65_536
BIN = str(Path(sys.executable).parent)
GIT = {
    "GIT_AUTHOR_NAME": "tests",
    "GIT_AUTHOR_EMAIL": "tests@example.com",
    "GIT_COMMITTER_NAME": "tests",
    "GIT_COMMITTER_EMAIL": "tests@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def ran(folder: Path, script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A script of the kit, in a folder, with our program on the path and no more of ours."""
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), **GIT, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example repository under git, its store filled."""
    folder = tmp_path_factory.mktemp("repository") / "policies"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("store.duckdb"))
    done = ran(folder, "git init -q && git add -A && git commit -qm start && ./measurements.sh")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def changed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a higher floor, planned and compiled again."""
    folder = tmp_path_factory.mktemp("changed") / "policies"
    shutil.copytree(repository, folder)
    spec = folder / "spec.yaml"
    spec.write_text(spec.read_text().replace("overall: 0.85", "overall: 0.9"))
    plan = "inferbudget plan spec.yaml --profiles store.duckdb -o plan.json"
    done = ran(folder, f"{plan} && inferbudget compile plan.json")
    assert done.returncode == 0, done.stderr
    return folder


REVIEW = "inferbudget review --profiles store.duckdb --base HEAD"


def test_the_example_is_current_and_its_review_has_nothing_to_say(repository: Path) -> None:
    done = ran(repository, REVIEW)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "FAILED" not in done.stderr
    assert done.stderr.count("ok: ") == 6
    assert not list(repository.glob(".plan.json*"))


def test_a_plan_that_another_version_of_the_solver_found_is_not_stale(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder)
    plan = folder / "plan.json"
    found = json.loads(plan.read_text())
    plan.write_text(json.dumps({**found, "solver": "HiGHS 99"}))
    done = ran(folder, REVIEW)
    assert "plan.json: up to date" in done.stderr
    plan.write_text(json.dumps({**found, "warnings": ["edited"]}))
    assert "plan.json: stale" in ran(folder, REVIEW).stderr


def test_a_spec_that_nobody_planned_for_fails_and_says_what_to_do(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder)
    spec = folder / "spec.yaml"
    spec.write_text(spec.read_text().replace("overall: 0.85", "overall: 0.9"))
    done = ran(folder, REVIEW)
    assert done.returncode == 1
    assert "plan.json: stale\n  next: run 'inferbudget plan'" in done.stderr
    assert "[stale-spec]" in done.stderr
    assert done.stdout.startswith(MARKER)
    assert "the plan is what the spec and the measurements give: **failed**" in done.stdout


def test_a_change_is_told_in_dollars_and_points_first(changed: Path) -> None:
    done = ran(changed, REVIEW)
    assert done.returncode == 0, done.stderr
    marker, _, headline, *_ = done.stdout.splitlines()
    assert marker == MARKER
    assert re.fullmatch(
        r"\*\*Monthly spend \+\d+ USD \(\+[\d.]+ %\), accuracy \+[\d.]+ points .*; "
        r"3 of 3 limits hold\*\*",
        headline,
    )


def test_planning_again_writes_no_file_wherever_it_runs(changed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(changed, folder)
    (folder / ".plan.json.fresh").write_text("somebody's own\n")
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    files = {"spec": "spec.yaml", "plan": "plan.json", "policy": "policy.yaml"}
    words = [f"--{option} policies/{name}" for option, name in files.items()]
    done = ran(tmp_path, " ".join([REVIEW.replace("store", "policies/store"), *words, "--base ''"]))
    assert done.returncode == 0, done.stderr
    assert "policies/plan.json: up to date" in done.stderr
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_policy_has_the_same_name_wherever_its_review_runs(
    changed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(changed.parent)
    assert name_of(Path("policies/policy.yaml")) == "policy.yaml"
    monkeypatch.chdir(changed)
    assert name_of(Path("policy.yaml")) == name_of(changed / "policy.yaml") == "policy.yaml"
    (changed / "team b").mkdir()
    monkeypatch.chdir(changed / "team b")
    assert name_of(Path("policy.yaml")) == "team b/policy.yaml"
    monkeypatch.chdir(tmp_path)
    assert name_of(Path("policy.yaml")) == "policy.yaml"


def test_a_comment_names_its_policy_after_the_answer() -> None:
    found = Step("diff", 0, "<!-- inferbudget -->\n\n**Spend -1 USD**\n\n- promise vanished\n")
    said = comment_of([found], "team b/`@octocat` -->.yaml")
    marker, _, answer, _, policy, _, note, *more = said.split("\n")
    assert marker == "<!-- inferbudget team%20b/%60%40octocat%60%20--%3E.yaml -->"
    assert (answer, note, more) == ("**Spend -1 USD**", "- promise vanished", [""])
    assert policy == "Policy: ``team b/`@octocat` -->.yaml``"
    failed = comment_of([Step("the spec has a plan", 3, ""), found], "policy.yaml")
    assert failed.endswith("what to do:\n\n- the spec has a plan: **failed**\n")
    assert comment_of([Step("diff", 0, "")], "policy.yaml") == ""
    assert comment_of([found], "no\udcfftext").startswith("<!-- inferbudget no%3Ftext -->")


@pytest.mark.parametrize("char", ["a", "\x1b", "`", "é", "\U000e0100", "##["])
def test_no_path_makes_a_comment_longer_than_github_takes(char: str) -> None:
    path = "policies/" + char * (4000 // len(char.encode()))
    body = as_markdown("Spend -1 USD", [Section("", "- x")])
    body += "\n\n" + "y" * (LONGEST - len(body) - 2)
    steps = [Step(f"step {number}, {'in words ' * 6}", 1, "") for number in range(5)]
    said = comment_of([*steps, Step("diff", 0, body)], path)
    assert LONGEST < len(said) <= MOST_OF_GITHUB
    assert said.split("\n", 1)[0] == marker_of(path)
    assert said.endswith("**failed**\n")
    assert "\n\nPolicy: `" in said
    assert marker_of(path) != marker_of(f"{path}b")


@given(st.sampled_from(["x", "##[", "\n", "::", "\x1b"]), st.integers(LONGEST - 99, LONGEST + 9))
def test_a_report_is_cut_at_the_length_that_is_printed(text: str, length: int) -> None:
    body = (text * length)[:length]
    whole = as_markdown("Spend -1 USD", [Section("", "- x"), Section("More", body, folded=True)])
    assert whole == escaped_lines(whole)
    assert len(whole) <= LONGEST
    assert ("too long for a comment" in whole) == (escaped_lines(f"\n{body}\n") not in whole)
    above = as_markdown("Spend -1 USD", [Section("", body)])
    assert len(above) <= LONGEST
    assert above.startswith(f"{MARKER_OF_ANY}\n\n**Spend -1 USD**\n\n")


def test_a_revision_that_git_does_not_know_is_no_empty_base(repository: Path) -> None:
    done = ran(repository, "inferbudget review --base 0123456789abcdef")
    assert done.returncode == 2
    assert "git knows no such revision" in done.stderr


@pytest.mark.parametrize("base", ["HEAD", ""])
def test_a_repository_that_git_does_not_trust_is_no_wrong_revision(
    repository: Path, base: str
) -> None:
    words = f"inferbudget review --base '{base}'"
    done = ran(repository, words, GIT_TEST_ASSUME_DIFFERENT_OWNER="1", LANGUAGE="de")
    assert (done.returncode, done.stdout) == (2, "")
    assert "got fatal: detected dubious ownership in repository at " in done.stderr
    assert "\n  next: where you trust it: git config --global --add safe.directory " in done.stderr
    assert "fetch it first" not in done.stderr


def test_without_a_repository_there_is_nothing_to_compare_with(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder, ignore=shutil.ignore_patterns(".git"))
    done = ran(folder, "inferbudget review --base main", GIT_CEILING_DIRECTORIES=str(tmp_path))
    assert done.returncode == 2
    assert "this is no git repository" in done.stderr


def test_no_name_of_a_file_begins_a_line_that_the_log_obeys(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder)
    odd = folder / "odd ##[error]\n::error::pay\x1b[2J"
    odd.mkdir()
    for path in folder.glob("p*.*"):
        path.rename(odd / path.name)
    plan = odd / "plan.json"
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "warnings": ["edited"]}))
    done = ran(
        folder,
        'inferbudget review --annotate --profiles store.duckdb --plan "$ODD/plan.json" '
        '--policy "$ODD/policy.yaml" --base HEAD',
        ODD=odd.name,
    )
    assert done.returncode == 1
    assert "plan.json: stale" in done.stderr
    assert "Policy: " in done.stdout
    for line in (done.stdout + done.stderr).split("\n"):
        assert line.isprintable()
        assert "##[" not in line
        assert not line.lstrip().startswith("::")


def test_a_policy_outside_of_the_repository_is_no_new_one(repository: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(repository, outside, ignore=shutil.ignore_patterns(".git"))
    done = ran(repository, f"inferbudget review --base HEAD --policy {outside}/policy.yaml")
    assert done.returncode == 2
    assert "git cannot tell whether the base has the policy" in done.stderr


def test_nothing_is_run_that_the_folder_under_review_brings(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder)
    (folder / "yaml.py").write_text("raise SystemExit(0)\n")
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("raise SystemExit(0)\n")
    policy = folder / "policy.yaml"
    policy.write_text(policy.read_text().replace("max_tokens: 599", "max_tokens: 5990"))
    done = ran(folder, "inferbudget review --base HEAD")
    assert done.returncode == 1
    assert "the policy was changed after it was compiled" in done.stderr


@pytest.mark.parametrize("name", ["spec.yaml", "plan.json", "policy.yaml", "policy.test.yaml"])
@pytest.mark.parametrize("target", ["/proc/self/environ", ".git/config"])
def test_a_file_that_leads_to_the_jobs_own_secrets_tells_none(
    repository: Path, tmp_path: Path, name: str, target: str
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder)
    (folder / name).unlink()
    (folder / name).symlink_to(target)
    config = folder / ".git" / "config"
    config.write_text(config.read_text() + "# s3cret\n")
    done = ran(folder, REVIEW, GITHUB_TOKEN="s3cret")  # noqa: S106 - of a test
    assert done.returncode == 2
    assert f"{name}: a file under review is a link out of its repository" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr


def test_a_link_within_the_repository_is_the_file_it_leads_to(
    repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder)
    (folder / "spec.yaml").rename(folder / "question.yaml")
    (folder / "spec.yaml").symlink_to("question.yaml")
    assert ran(folder, "inferbudget review").returncode == 0


def test_a_policy_named_by_its_whole_path_is_compared_too(repository: Path) -> None:
    done = ran(repository, 'inferbudget review --base HEAD --policy "$PWD/policy.yaml"')
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("base", ["", "0" * 40])
def test_a_policy_that_the_base_did_not_have_is_new(repository: Path, base: str) -> None:
    done = ran(repository, f"inferbudget review --base '{base}'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(MARKER)


class Comments(BaseHTTPRequestHandler):
    """As much of the two APIs as has comments: listed by pages, made, changed."""

    kept: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[list[tuple[str, str]]] = []
    me: ClassVar[tuple[int, object] | None] = None

    def do_GET(self) -> None:
        if self.path.endswith("/user"):
            known = self.headers.get("PRIVATE-TOKEN") is not None  # a job of GitHub may not ask
            refusal = (403, {"message": "not for jobs"})
            self._answer(*(self.me or ((200, ME) if known else refusal)))
            return
        path, _, query = self.path.partition("?")
        asked = parse_qs(query)
        size, page = (int(asked[name][0]) for name in ("per_page", "page"))
        assert "asc" in (*asked.get("sort", ()), *asked.get("direction", ()))
        self.asked.append(("GET", path))
        self._answer(200, self.kept[(page - 1) * size : page * size])

    def do_POST(self) -> None:
        if self.headers.get("Authorization", self.headers.get("PRIVATE-TOKEN")) not in TOKENS:
            self._answer(403, {"message": "no"})
            return
        self.asked.append(("POST", self.path))
        made = {"id": 900 + len(self.kept), "body": self._body(), "user": ME, "author": ME}
        self.kept.append(made)
        self._answer(201, self.kept[-1])

    def do_PATCH(self) -> None:
        self.asked.append((self.command, self.path))
        number = int(self.path.rpartition("/")[2])
        next(one for one in self.kept if one["id"] == number)["body"] = self._body()
        self._answer(200, {})

    do_PUT = do_PATCH  # noqa: N815 - the name that the server looks for

    def do_DELETE(self) -> None:
        self.asked.append((self.command, self.path))
        number = int(self.path.rpartition("/")[2])
        self.kept[:] = [one for one in self.kept if one["id"] != number]
        self._answer(200, None)

    def _body(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def _answer(self, status: int, said: object) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


TOKENS = ("Bearer t0ken", "t0ken")
ME = {"id": 5, "type": "Bot"}
SOMEBODY = {"id": 8, "type": "User"}


def others() -> list[dict[str, Any]]:
    """What people wrote; one of them with our marker."""
    said = [f"{MARKER}\nall is well, merge it", *(f"comment {n}" for n in range(1, 230))]
    return [
        {"id": n, "body": body, "user": SOMEBODY, "author": SOMEBODY} for n, body in enumerate(said)
    ]


@pytest.fixture
def api() -> Iterator[str]:
    """Address of a server of comments, empty but for what people wrote."""
    Comments.kept = others()
    Comments.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Comments)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def environment(api: str, kind: str) -> Mapping[str, str]:
    if kind == "github":
        return {
            "GITHUB_API_URL": api,
            "GITHUB_REPOSITORY": "team/policies",
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_TOKEN": "t0ken",
        }
    return {
        "CI_API_V4_URL": f"{api}/",
        "CI_PROJECT_ID": "41",
        "CI_MERGE_REQUEST_IID": "7",
        "GITLAB_TOKEN": "t0ken",
    }


PLACES = {
    "github": ("/repos/team/policies/issues/7/comments", "/repos/team/policies/issues/comments"),
    "gitlab": ("/projects/41/merge_requests/7/notes", "/projects/41/merge_requests/7/notes"),
}


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_one_comment_is_made_kept_updated_and_silenced(api: str, kind: str) -> None:
    thread = thread_of(environment(api, kind))
    every, one = PLACES[kind]
    assert comment(thread, MARKER, "") is Done.SILENT
    assert comment(thread, MARKER, f"{MARKER}\nspend +1 USD\n") is Done.MADE
    assert comment(thread, MARKER, f"{MARKER}\nspend +1 USD\n") is Done.UNCHANGED
    assert comment(thread, MARKER, f"{MARKER}\nspend +2 USD\n") is Done.UPDATED
    assert comment(thread, MARKER, "") is Done.UPDATED
    assert comment(thread, MARKER, "") is Done.UNCHANGED
    mine = [kept for kept in Comments.kept if kept["user"] == ME]
    assert [kept["body"] for kept in mine] == [f"{MARKER}\n{NOTHING}\n"]
    assert {path for method, path in Comments.asked if method in {"GET", "POST"}} == {every}
    changes = [path for method, path in Comments.asked if method not in {"GET", "POST"}]
    assert changes == [f"{one}/{mine[0]['id']}"] * 2
    assert Comments.kept[:230] == others()


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_every_policy_of_a_pull_request_has_a_comment_of_its_own(api: str, kind: str) -> None:
    thread = thread_of(environment(api, kind))
    markers = [marker_of(name) for name in ("a/policy.yaml", "a/policy.yaml2", "b -->.yaml")]
    for turn in range(2):
        for marker in markers:
            done = comment(thread, marker, f"{marker}\nspend +{turn} USD\n")
            assert done is (Done.UPDATED if turn else Done.MADE)
    mine = [kept["body"] for kept in Comments.kept if kept["user"] == ME]
    assert mine == [f"{marker}\nspend +1 USD\n" for marker in markers]


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_of_two_comments_that_jobs_made_at_once_the_older_stays(api: str, kind: str) -> None:
    body = f"{MARKER}\nspend +1 USD\n"
    own = {"user": ME, "author": ME}
    Comments.kept += [{"id": number, "body": body, **own} for number in (700, 701)]
    assert comment(thread_of(environment(api, kind)), MARKER, body) is Done.UNCHANGED
    assert [kept["id"] for kept in Comments.kept if kept["user"] == ME] == [700]
    assert Comments.kept[:230] == others()


def test_beyond_ten_thousand_comments_none_is_made_twice(api: str) -> None:
    thread, (first, *_) = thread_of(environment(api, "github")), others()
    Comments.kept = [first] * 10_000
    body = f"{MARKER}\nspend +1 USD\n"
    done = comment(thread, MARKER, body)
    assert done is Done.LOST
    assert done.value == "not made: none of the first 10,000 is ours, and there are more"
    assert len(Comments.kept) == 10_000
    Comments.kept[5000] = {"id": 5000, "body": body, "user": ME}
    assert comment(thread, MARKER, f"{body}more\n") is Done.UPDATED


@pytest.mark.parametrize(("kind", "status"), [("gitlab", 403), ("gitlab", 500), ("github", 500)])
def test_who_cannot_say_who_he_is_makes_no_second_comment(
    api: str, kind: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Comments, "me", (status, {"message": "not now"}))
    with pytest.raises(UpstreamError, match=str(status)):
        comment(thread_of(environment(api, kind)), MARKER, f"{MARKER}\n")
    assert Comments.kept == others()


def test_a_server_that_refuses_is_an_error_without_the_token(api: str) -> None:
    thread = thread_of({**environment(api, "github"), "GITHUB_TOKEN": "wrong-secret"})
    with pytest.raises(UpstreamError, match="403") as raised:
        comment(thread, MARKER, f"{MARKER}\nspend +1 USD\n")
    assert "wrong-secret" not in str(raised.value)
    nobody = thread_of(environment("http://127.0.0.1:1", "github"))
    with pytest.raises(UpstreamError):
        comment(nobody, MARKER, f"{MARKER}\n")


def test_a_token_goes_to_no_other_server(api: str) -> None:
    class Elsewhere(Comments):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{api}/repos/team/policies/issues/7/comments")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        moved = thread_of(environment(f"http://127.0.0.1:{server.server_port}", "github"))
        with pytest.raises(UpstreamError, match="302"):
            comment(moved, MARKER, f"{MARKER}\nspend +1 USD\n")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert Comments.asked == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"GITHUB_REF": "refs/heads/main"}, "environment"),
        ({"GITHUB_TOKEN": ""}, "GITHUB_TOKEN"),
        ({"GITHUB_TOKEN": "s3cret\nX: y"}, "GITHUB_TOKEN"),
        ({"GITHUB_API_URL": "file:///etc/passwd"}, "GITHUB_API_URL"),
        ({"GITHUB_API_URL": "http://api.example.com"}, "GITHUB_API_URL"),
        ({"CI_MERGE_REQUEST_IID": "7/../8"}, "CI_MERGE_REQUEST_IID"),
    ],
)
def test_a_job_that_cannot_comment_says_why(changes: dict[str, str], where: str) -> None:
    own = environment("https://api.example.com", "github")
    ours = {**own, "CI_API_V4_URL": "https://x.example.com", "CI_PROJECT_ID": "1"}
    with pytest.raises(InputError) as raised:
        thread_of({**ours, **changes})
    assert raised.value.where == where


def action_step(name: str) -> dict[str, Any]:
    action = yaml.safe_load((ROOT / "ci/github/action.yml").read_text())
    (step,) = [step for step in action["runs"]["steps"] if step["name"] == name]
    return dict(step)


def of_inputs(step: dict[str, Any], inputs: Mapping[str, str]) -> dict[str, str]:
    """A step's environment with the action's inputs filled in."""
    found = {}
    for key, value in step["env"].items():
        name = re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)
        assert name, value
        found[key] = inputs[name[1]]
    return found


def test_a_pull_request_from_a_fork_asks_for_no_comment_that_its_token_may_not_write() -> None:
    action = yaml.safe_load((ROOT / "ci/github/action.yml").read_text())
    asked = action["inputs"]["comment"]["default"]
    assert "github.event.pull_request.head.repo.full_name == github.repository" in asked


def test_the_github_action_reviews_and_comments_as_it_is_written(
    changed: Path, api: str, tmp_path: Path
) -> None:
    action = yaml.safe_load((ROOT / "ci/github/action.yml").read_text())
    assert all(one["description"] for one in action["inputs"].values())
    inputs = {name: str(one.get("default", "")) for name, one in action["inputs"].items()}
    workflow = yaml.safe_load((EXAMPLE / ".github/workflows/policy.yml").read_text())
    given = workflow["jobs"]["review"]["steps"][-1]["with"]
    assert set(given) <= set(inputs)
    inputs |= {**given, "base": "HEAD", "comment": "true", "token": "t0ken"}
    prepare = action_step("prepare")
    done = ran(changed, prepare["run"], **of_inputs(prepare, inputs))
    assert done.returncode == 0, done.stderr
    step, summary = action_step("review"), tmp_path / "summary.md"
    env = {**environment(api, "github"), **of_inputs(step, inputs)}
    done = ran(changed, step["run"], GITHUB_STEP_SUMMARY=str(summary), **env)
    assert done.returncode == 0, done.stderr
    assert "comment made" in done.stderr
    assert Comments.kept[-1]["body"] == summary.read_text() == done.stdout
    assert "Monthly spend +" in done.stdout


def test_the_github_action_shows_what_the_pull_request_itself_changes(
    repository: Path, changed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "policies"
    shutil.copytree(repository, folder)
    done = ran(folder, "git checkout -qB topic && touch a && git add a && git commit -qm topic")
    assert done.returncode == 0, done.stderr
    done = ran(folder, "git checkout -qB main HEAD^")
    for name in ("spec.yaml", "plan.json", "policy.yaml", "policy.onnx"):
        shutil.copy(changed / name, folder / name)
    done = ran(
        folder,
        "git commit -qam 'others merged a change of the policy'"
        " && git update-ref refs/remotes/origin/main main"
        " && git checkout -q --detach && git merge -q --no-ff topic -m merge && git rev-parse HEAD",
    )
    assert done.returncode == 0, done.stderr
    step = action_step("review")
    inputs = {
        name: str(one.get("default", ""))
        for name, one in yaml.safe_load((ROOT / "ci/github/action.yml").read_text())[
            "inputs"
        ].items()
    }
    env = of_inputs(step, inputs | {"base": "", "comment": "false"})
    env |= {
        "GITHUB_BASE_REF": "main",
        "GITHUB_SHA": done.stdout.strip(),
        "GITHUB_STEP_SUMMARY": os.devnull,
    }
    merged = ran(folder, step["run"], **env)
    assert (merged.returncode, merged.stdout) == (0, ""), merged.stderr
    older = ran(folder, step["run"], **env | {"BASE": "HEAD~2"})
    assert "Monthly spend +" in older.stdout
    assert ran(folder, "git checkout -q topic").returncode == 0
    head = ran(folder, step["run"], **env)
    assert (head.returncode, head.stdout) == (0, ""), head.stderr
    assert ran(folder, "git update-ref -d refs/remotes/origin/main").returncode == 0
    lost = ran(folder, step["run"], **env)
    assert lost.returncode == 2
    assert "check out with fetch-depth: 0" in lost.stderr
    strange = ran(folder, step["run"], GIT_TEST_ASSUME_DIFFERENT_OWNER="1", **env)
    assert strange.returncode not in {0, 1}
    assert "git config --global --add safe.directory" in strange.stderr
    assert "fetch" not in strange.stderr


def test_the_gitlab_template_reviews_and_comments_as_it_is_written(changed: Path, api: str) -> None:
    (job,) = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text()).values()
    own = yaml.safe_load((EXAMPLE / ".gitlab-ci.yml").read_text())["review policy"]["variables"]
    assert set(own) <= set(job["variables"])
    env = {**job["variables"], **own, "INFERBUDGET_INSTALL": "", **environment(api, "gitlab")}
    script = "\n".join([*job["before_script"], *job["script"]])
    done = ran(changed, script, CI_MERGE_REQUEST_DIFF_BASE_SHA="HEAD", **env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(Comments.kept[-1]["body"])
    assert Comments.kept[-1]["body"].startswith(MARKER)


def test_the_hooks_accept_the_example_and_refuse_an_edit(repository: Path, tmp_path: Path) -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    chosen = yaml.safe_load((EXAMPLE / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {one["id"] for one in chosen} == {one["id"] for one in hooks}
    edited = tmp_path / "policies"
    shutil.copytree(repository, edited)
    policy = edited / "policy.yaml"
    policy.write_text(policy.read_text().replace("max_tokens: 599", "max_tokens: 5990"))
    for hook in hooks:
        assert re.search(hook["files"], "routing/policy.yaml")
        assert ran(repository, f"{hook['entry']} policy.yaml").returncode == 0
        assert ran(edited, f"{hook['entry']} policy.yaml").returncode != 0
