"""Who may come in: one key for all clients, or the virtual keys of tenants; and the operator."""

from __future__ import annotations

import hmac
import logging
from collections import Counter

from profiles.errors import InputError
from runtime.gateway.headers import Headers, tags
from runtime.gateway.refused import RefusedError
from runtime.tenants.identity import Identity
from runtime.tenants.tenants import Tenants
from runtime.tenants.virtual_keys import KeyRefusedError

_log = logging.getLogger(__name__)


class Access:
    """Opens to clients and to the operator.

    Args:
        api_key: Bearer token of every client, None to let everybody in.
        operator_key: Bearer token of the operator, which no client's key replaces. None shuts the
            operator's pages where clients need a key, and opens them where not.
        tenants: Clients' virtual keys, in place of the one key.

    Attributes:
        tenants: May be replaced at any time.
        refused: Keys that did not open, by reason.

    Raises:
        InputError: A key is empty, which nobody can mean, both keys are the same, or one key and
            tenants together.
    """

    def __init__(
        self,
        api_key: str | None = None,
        operator_key: str | None = None,
        tenants: Tenants | None = None,
    ) -> None:
        _refuse_useless(api_key, operator_key, tenants)
        self.tenants = tenants
        self.refused: Counter[str] = Counter()
        self._told: set[tuple[str, str]] = set()  # keys and problems that the log knows of
        self._key = _bearer(api_key)
        self._operator_key = _bearer(operator_key)

    def client(self, headers: Headers) -> Identity | None:
        """Who sends a request, before its body is read; None where clients are not told apart.

        Raises:
            RefusedError: No key that opens.
            InputError: Tags that the key may not set.
        """
        if self.tenants is None:
            self._require(headers, self._key)
            return None
        return self._identified(self.tenants, headers)

    def operator(self, headers: Headers) -> None:
        """Let the operator in.

        Raises:
            RefusedError: It is not he, or he has set no key.
        """
        if self._operator_key is None and (self._key is not None or self.tenants is not None):
            raise RefusedError(
                403,
                "this page is the operator's, who has set no key for it",
                "operator_only",
                "unauthorised",
            )
        self._require(headers, self._operator_key)

    def _identified(self, tenants: Tenants, headers: Headers) -> Identity:
        shown = _authorization(headers)
        try:
            try:
                sent = tags(headers)
            except InputError:
                tenants.identify(shown)  # who may not come in is told of nothing else
                raise
            return tenants.identify(shown, tags=sent)
        except KeyRefusedError as error:
            self._refused(error)
            raise _unauthorised() from error

    def _refused(self, error: KeyRefusedError) -> None:
        """Count it; the log is told once, or who holds an old key could fill it."""
        self.refused[error.problem] += 1
        if error.path is None or (error.path, error.problem) in self._told:
            return
        self._told.add((error.path, error.problem))
        _log.warning("%s: its key is %s", error.path, error.problem)

    def _require(self, headers: Headers, expected: bytes | None) -> None:
        if expected is None:
            return
        sent = _authorization(headers) or b""
        if not hmac.compare_digest(sent, expected):
            raise _unauthorised()


def _authorization(headers: Headers) -> bytes | None:
    """The header's value; None without one, and where several say different things.

    A proxy that checks one of them must not let another one in.
    """
    sent = {value for name, value in headers if name == b"authorization"}
    return sent.pop() if len(sent) == 1 else None


def _unauthorised() -> RefusedError:
    return RefusedError(
        401,
        "the API key is missing or wrong",
        "invalid_api_key",
        "unauthorised",
        ((b"www-authenticate", b"Bearer"),),
    )


def _refuse_useless(api_key: str | None, operator_key: str | None, tenants: Tenants | None) -> None:
    keys = {
        "INFERBUDGET_API_KEY": ("clients", api_key),
        "INFERBUDGET_OPERATOR_KEY": ("the operator", operator_key),
    }
    for where, (whose, key) in keys.items():
        if key is not None and not key.strip():
            raise InputError(
                f"the API key for {whose} is empty, which would let everybody in",
                where=where,
                next_step="set it to a key, or unset it to serve without one",
            )
    if api_key is not None and api_key == operator_key:
        raise InputError(
            "the operator's key is the clients' key: they could read /metrics and /ledger",
            where="INFERBUDGET_OPERATOR_KEY",
            next_step="give the operator another key, or unset it to shut both pages",
        )
    if api_key is not None and tenants is not None:
        raise InputError(
            "one key for all clients and keys of tenants exclude each other",
            where="INFERBUDGET_API_KEY",
            next_step="unset it, or serve without tenants",
        )


def _bearer(key: str | None) -> bytes | None:
    return None if key is None else f"Bearer {key}".encode()
