"""One comment per policy on a pull request, found by its hidden marker and updated in place.

GitHub's REST API calls it an issue comment, GitLab's a note of a merge request.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from profiles.errors import InputError, UpstreamError

NOTHING = "The policy is as it was: nothing changes."
TIMEOUT_S = 30.0
_PER_PAGE = 100
_MOST_PAGES = 100


class Done(StrEnum):
    """What became of the comment."""

    MADE = "made"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SILENT = "not made: nothing changes"
    LOST = f"not made: none of the first {_PER_PAGE * _MOST_PAGES:,} is ours, and there are more"


@dataclass(frozen=True, slots=True)
class Thread:
    """Where the comments of one pull request are.

    Attributes:
        comments: Address of all of them.
        oldest_first: Query that lists them so.
        one: Address of one, before its number.
        update: HTTP method that changes one.
        me: Address of who the token belongs to.
        bot: Whether a token that may not ask that is a bot's.
        headers: Sent with every request; they hold the token.
    """

    comments: str
    oldest_first: str
    one: str
    update: str
    me: str
    bot: bool
    headers: Mapping[str, str]


def thread_of(env: Mapping[str, str] = os.environ) -> Thread:
    """The pull request that a job of GitHub Actions or GitLab CI runs for.

    Raises:
        InputError: The environment names none, or no token.
    """
    if "CI_MERGE_REQUEST_IID" in env:
        api, project = _url(env, "CI_API_V4_URL"), quote(_named(env, "CI_PROJECT_ID"), safe="")
        at = f"{api}/projects/{project}/merge_requests/{_number(env['CI_MERGE_REQUEST_IID'])}/notes"
        return Thread(
            comments=at,
            oldest_first="order_by=created_at&sort=asc",
            one=at,
            update="PUT",
            me=f"{api}/user",
            bot=False,
            headers={"PRIVATE-TOKEN": _token(env, "GITLAB_TOKEN")},
        )
    pull = re.fullmatch(r"refs/pull/(\d+)/(?:merge|head)", env.get("GITHUB_REF", ""))
    if pull is None:
        raise InputError(
            "this is no job of a pull request",
            where="environment",
            expected="GITHUB_REF=refs/pull/N/merge, or CI_MERGE_REQUEST_IID",
            got=repr(env.get("GITHUB_REF", "neither")),
            next_step="comment only where a pull request is reviewed",
        )
    repository = quote(_named(env, "GITHUB_REPOSITORY"), safe="/")
    api = _url(env, "GITHUB_API_URL")
    issues = f"{api}/repos/{repository}/issues"
    return Thread(
        comments=f"{issues}/{pull[1]}/comments",
        oldest_first="sort=created&direction=asc",
        one=f"{issues}/comments",
        update="PATCH",
        me=f"{api}/user",
        bot=True,  # a job's own token
        headers={
            "Authorization": f"Bearer {_token(env, 'GITHUB_TOKEN')}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        },
    )


def comment(thread: Thread, marker: str, body: str) -> Done:
    """Make the comment, or update the one that is there; an empty body has nothing to say.

    Further own comments with this marker, as two jobs at once can make them, are removed.

    Args:
        thread: Where.
        marker: The comment's first line, by which it is found again.
        body: The whole comment.

    Raises:
        UpstreamError: The server refused, or could not be reached.
    """
    mine, is_all = _mine(thread, marker)
    if not mine:
        if not body:
            return Done.SILENT
        if not is_all:
            return Done.LOST
        _ask(thread, "POST", thread.comments, {"body": body})
        return Done.MADE
    first, *others = mine
    for other in others:
        _ask(thread, "DELETE", _address(thread, other), None)
    said = body or f"{marker}\n{NOTHING}\n"
    if first["body"].replace("\r\n", "\n").strip() == said.strip():
        return Done.UNCHANGED
    _ask(thread, thread.update, _address(thread, first), {"body": said})
    return Done.UPDATED


def _address(thread: Thread, one: Mapping[str, Any]) -> str:
    return f"{thread.one}/{int(one['id'])}"


def _mine(thread: Thread, marker: str) -> tuple[list[dict[str, Any]], bool]:
    """Own comments with the marker, oldest first; and whether all there are were looked at.

    Anybody can write a marker, so a comment of others is never taken.
    """
    me, mine = _me(thread), []
    for page in range(1, _MOST_PAGES + 1):
        address = f"{thread.comments}?{thread.oldest_first}&per_page={_PER_PAGE}&page={page}"
        found = _ask(thread, "GET", address, None)
        if not isinstance(found, list):
            raise UpstreamError(f"GET {address}: the answer is no list of comments")
        for one in found:
            author = one.get("user") or one.get("author") or {}
            own = author.get("id") == me if me is not None else author.get("type") == "Bot"
            if own and str(one.get("body", "")).split("\n", 1)[0].rstrip() == marker:
                mine.append(one)
        if len(found) < _PER_PAGE:
            return mine, True
    return mine, False


def _me(thread: Thread) -> object:
    """Number of the token's owner; None for the token of a GitHub job, which may not ask."""
    try:
        return _ask(thread, "GET", thread.me, None)["id"]
    except UpstreamError as error:
        if thread.bot and error.status == HTTPStatus.FORBIDDEN:
            return None
        raise
    except (KeyError, TypeError) as error:
        raise UpstreamError(f"GET {thread.me}: the answer names nobody") from error


class _Straight(HTTPRedirectHandler):
    """Goes nowhere else: the token is for one server alone."""

    def redirect_request(self, *_: object) -> None:
        """No request follows."""


def _ask(thread: Thread, method: str, address: str, body: dict[str, str] | None) -> Any:
    headers = {**thread.headers, "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = Request(address, data=data, headers=headers, method=method)  # noqa: S310 - see _url
    try:
        with build_opener(_Straight).open(request, timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"null")
    except HTTPError as error:
        said = error.read(500).decode(errors="replace")
        message = f"{method} {address}: {error.code} {error.reason}: {said}"
        raise UpstreamError(message, status=error.code) from error
    except (URLError, HTTPException, OSError, ValueError, RecursionError) as error:
        raise UpstreamError(f"{method} {address}: {error}") from error


def _url(env: Mapping[str, str], name: str) -> str:
    value = _named(env, name).rstrip("/")
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise InputError("this is no web address", where=name, got=repr(value)) from error
    near = parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not (near and parts.scheme == "http"):
        raise InputError("this is no web address", where=name, expected="https://...", got=value)
    return value


def _token(env: Mapping[str, str], name: str) -> str:
    value = _named(env, name).strip()
    if not (value.isascii() and value.isprintable()):
        raise InputError("this token holds what no header can", where=name)
    return value


def _named(env: Mapping[str, str], name: str) -> str:
    if not env.get(name):
        raise InputError(
            "the environment does not say where to comment",
            where=name,
            got="nothing",
            next_step=f"pass {name} to the job",
        )
    return env[name]


def _number(text: str) -> int:
    if not text.isdecimal():
        raise InputError("this is no number", where="CI_MERGE_REQUEST_IID", got=repr(text))
    return int(text)
