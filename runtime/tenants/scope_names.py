"""Names of scopes and accounts: a path of words in which no word can pass for a path.

``org:acme/team:search/key:ci`` is a scope; ``org:acme/team:search|nano_usd|day`` is an account, one
budget of it in one unit and window.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

from planner.spec import Window
from profiles.errors import InputError
from profiles.visible import escaped
from runtime.ledger import Unit

EVERYBODY = "global"
MOST_NAME = 64
"""Characters of a name that an operator gives."""
MOST_USER_BYTES = 256
"""Of a user's name in UTF-8."""


def plain_name(name: str) -> str:
    """A name that an operator gives, as it is.

    Raises:
        ValueError: It is empty or too long, or it could look like another one.
    """
    if not 1 <= len(name) <= MOST_NAME:
        raise ValueError(f"a name has 1 to {MOST_NAME} characters")
    if name != name.strip() or escaped(name) != name:
        raise ValueError("a name has only characters that are seen, and no blank at its ends")
    return composed(name)


def composed(name: str) -> str:
    """A name in the one spelling of its characters, as it is.

    Raises:
        ValueError: It is spelt another way.
    """
    if unicodedata.normalize("NFC", name) != name:
        raise ValueError("a name is written in composed characters (Unicode NFC)")
    return name


def word(name: str) -> str:
    """A name as part of a path: all but letters, digits and ``_.-~`` of ASCII is percent-encoded.

    Different names give different words, but for two spellings of the same characters.
    """
    return quote(name if name.isascii() else unicodedata.normalize("NFC", name), safe="")


def user_word(user: str) -> str:
    """A user's name as part of a path; an empty one for those who did not say who they are.

    Raises:
        InputError: A name that is too long, or that is no text.
    """
    if len(user) > MOST_USER_BYTES:
        raise _too_long()
    if user.isascii():
        return word(user)
    try:
        size = len(unicodedata.normalize("NFC", user).encode())
    except UnicodeEncodeError as error:
        raise InputError("this user is no text", where="user", got=ascii(user)) from error
    if size > MOST_USER_BYTES:
        raise _too_long()
    return word(user)


def suffix(unit: Unit, window: Window, *, rolling: bool) -> str:
    """What tells the accounts of one scope apart, e.g. ``|nano_usd|rolling-minute``."""
    return f"|{unit}|{'rolling-' if rolling else ''}{window}"


def _too_long() -> InputError:
    return InputError(
        "the name of this user is too long",
        where="user",
        expected=f"at most {MOST_USER_BYTES} bytes of UTF-8",
    )
