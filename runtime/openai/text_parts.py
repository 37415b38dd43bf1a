"""What messages say: a text, or parts that are texts."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from profiles.errors import InputError

_SHOWN = 60


class TextPart(msgspec.Struct):
    """A part of a message; those that are no text are refused by name."""

    type: str
    text: str | None = None


Content: TypeAlias = str | list[TextPart]


def text_of(content: Content, where: str, kinds: tuple[str, ...] = ("text",)) -> str:
    """The whole text.

    Args:
        content: As it came.
        where: The field.
        kinds: What parts that are texts are called here.

    Raises:
        InputError: An image, a file, a sound, or a part without its text.
    """
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for index, part in enumerate(content):
        if part.type not in kinds or part.text is None:
            raise _no_text(part, f"{where}[{index}]", kinds)
        texts.append(part.text)
    return "".join(texts)


def _no_text(part: TextPart, where: str, kinds: tuple[str, ...]) -> InputError:
    if part.type in kinds:
        return InputError("this part has no text", where=where)
    return InputError(
        "a part of this type is not supported: only text travels",
        where=where,
        expected=f"type {' or '.join(map(repr, kinds))}",
        got=f"type {part.type[:_SHOWN]!r}",
        next_step="leave images, sounds and files out",
    )
