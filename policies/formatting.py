"""One text for one content: a policy file as `compile` writes it, with its digest unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from policies.file import replace_file
from policies.policy import FORMAT_VERSION
from policies.schema import schema_text
from policies.text import SCHEMA_FILE, policy_text
from policies.versions import parse_policy
from profiles.errors import InputError


@dataclass(frozen=True, slots=True)
class Formatted:
    """A policy file and how it should be written.

    Attributes:
        before: The text that it has.
        after: The text that its content has.
        digest: Of that content.
        migrated_from: Format version of the old text, None where it is today's.
    """

    before: str
    after: str
    digest: str
    migrated_from: str | None

    @property
    def changed(self) -> bool:
        """Whether the two texts differ."""
        return self.before != self.after


def formatted(text: str, name: str, *, migrate: bool = False) -> Formatted:
    """The text that `compile` writes for a policy's content; applied twice it changes nothing.

    Args:
        text: A policy file's.
        name: The file's name in errors.
        migrate: Write an older format as today's, with a new digest: the only change of content.

    Raises:
        InputError: Not a policy, one that was changed since it was compiled, or one of an older
            format where that is not to be moved.
    """
    reading = parse_policy(text, name)
    policy, source = reading.policy, reading.source
    if not reading.is_current and not migrate:
        raise InputError(
            "the file has an older format, and moving it to today's changes its digest",
            where=source.where("format_version"),
            expected=FORMAT_VERSION,
            got=reading.format_version,
            next_step="run 'inferbudget fmt --migrate', or plan and compile again",
        )
    if policy.digest != (expected := policy.content_digest()):
        raise InputError(
            "the policy was changed after it was compiled, and formatting would hide that",
            where=source.where("digest"),
            expected=expected,
            got=policy.digest or "nothing",
            next_step="run 'inferbudget compile' again; a policy is never edited by hand",
        )
    old = None if reading.is_current else reading.format_version
    return Formatted(text, policy_text(policy), policy.digest, old)


def write_formatted(found: Formatted, path: Path) -> None:
    """Write the text where it differs, and with a new format the schema that its first line names.

    Raises:
        InputError: The folder cannot be written.
    """
    try:
        if found.migrated_from:
            replace_file(path.parent / SCHEMA_FILE, schema_text("policy").encode())
        replace_file(path, found.after.encode())
    except OSError as error:
        raise InputError("cannot write the policy", where=str(path), got=str(error)) from error
