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

import pytest
import yaml

from app.commenting import NOTHING, Done, comment, thread_of
from policies.report_layout import MARKER
from profiles.errors import InputError, UpstreamError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "policy-repo"
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


def test_a_revision_that_git_does_not_know_is_no_empty_base(repository: Path) -> None:
    done = ran(repository, "inferbudget review --base 0123456789abcdef")
    assert done.returncode == 2
    assert "git knows no such revision" in done.stderr


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

    def do_GET(self) -> None:
        if self.path.endswith("/user"):
            known = self.headers.get("PRIVATE-TOKEN") is not None  # a job of GitHub may not ask
            self._answer(200 if known else 403, ME if known else {"message": "not for jobs"})
            return
        path, _, query = self.path.partition("?")
        size, page = (int(part.split("=")[1]) for part in query.split("&"))
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
    assert comment(thread, "") is Done.SILENT
    assert comment(thread, f"{MARKER}\nspend +1 USD\n") is Done.MADE
    assert comment(thread, f"{MARKER}\nspend +1 USD\n") is Done.UNCHANGED
    assert comment(thread, f"{MARKER}\nspend +2 USD\n") is Done.UPDATED
    assert comment(thread, "") is Done.UPDATED
    assert comment(thread, "") is Done.UNCHANGED
    mine = [kept for kept in Comments.kept if kept["user"] == ME]
    assert [kept["body"] for kept in mine] == [NOTHING]
    assert {path for method, path in Comments.asked if method in {"GET", "POST"}} == {every}
    changes = [path for method, path in Comments.asked if method not in {"GET", "POST"}]
    assert changes == [f"{one}/{mine[0]['id']}"] * 2
    assert Comments.kept[:230] == others()


def test_a_server_that_refuses_is_an_error_without_the_token(api: str) -> None:
    thread = thread_of({**environment(api, "github"), "GITHUB_TOKEN": "wrong-secret"})
    with pytest.raises(UpstreamError, match="403") as raised:
        comment(thread, f"{MARKER}\nspend +1 USD\n")
    assert "wrong-secret" not in str(raised.value)
    nobody = thread_of(environment("http://127.0.0.1:1", "github"))
    with pytest.raises(UpstreamError):
        comment(nobody, f"{MARKER}\n")


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
            comment(moved, f"{MARKER}\nspend +1 USD\n")
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
