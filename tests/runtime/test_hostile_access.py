"""Keys and tags of hostile clients: what two readers could understand differently opens nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from small_tenants import CI, STRANGER, WEB, bearer, tenants

from profiles.errors import InputError
from runtime.gateway.access import Access
from runtime.gateway.refused import RefusedError

AFTER_EXPIRY_S = 2e9


@pytest.mark.parametrize("twice", [True, False], ids=["the same", "another"])
def test_several_keys_open_only_where_they_are_one(tmp_path: Path, *, twice: bool) -> None:
    access = Access(tenants=tenants(tmp_path))
    sent = [(b"authorization", bearer(WEB)), (b"authorization", bearer(WEB if twice else CI))]
    if twice:
        assert access.client(sent) is not None
        return
    for headers in (sent, sent[::-1]):
        with pytest.raises(RefusedError) as refused:
            access.client(headers)
        assert refused.value.reply.status == 401


def test_tags_are_looked_at_for_who_may_come_in_and_nobody_else(tmp_path: Path) -> None:
    access = Access(tenants=tenants(tmp_path))
    many = (b"x-inferbudget-tags", b",".join([b"trial"] * 17))
    with pytest.raises(RefusedError):
        access.client([many, (b"authorization", bearer(STRANGER))])
    assert access.refused["unknown"] == 1
    with pytest.raises(InputError, match="too many tags"):
        access.client([many, (b"authorization", bearer(WEB))])


def test_several_keys_open_neither_the_one_key_nor_the_operators_pages() -> None:
    access = Access("clients", "operators")
    one = (b"authorization", b"Bearer clients")
    other = (b"authorization", b"Bearer operators")
    access.client([one, one])
    access.operator([other])
    for enter in (access.client, access.operator):
        for headers in ([one, other], [other, one]):
            with pytest.raises(RefusedError):
                enter(headers)


def test_a_key_that_opens_no_more_is_logged_once_and_counted_always(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    access = Access(tenants=tenants(tmp_path, clock=lambda: AFTER_EXPIRY_S))
    for _ in range(50):
        with pytest.raises(RefusedError):
            access.client([(b"authorization", bearer(CI))])
    assert access.refused["expired"] == 50
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    access.tenants = tenants(tmp_path, clock=lambda: AFTER_EXPIRY_S)
    with pytest.raises(RefusedError):
        access.client([(b"authorization", bearer(CI))])
    assert len(caplog.records) == 1
