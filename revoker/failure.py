"""What ends a command early: a cause for people to read, a remedy, and the exit code."""

from enum import IntEnum

from delete_session.verdict import hide_tokens


class Exit(IntEnum):
    """Exit codes, the same for every verb."""

    OK = 0
    WRONG = 1  # it worked, but something is wrong, was found or is left to do
    USAGE = 2  # the command line, a file that it names or a setting is wrong
    UNREACHABLE = 3  # cannot connect, not authorized, or the other side failed
    INTERRUPTED = 130


class Failure(Exception):
    """A command cannot go on. Never holds a token or a connection string.

    Args:
        cause: what is wrong, in one sentence.
        remedy: what to do about it, in one sentence.
        code: the exit code.
        facts: what a program wants to know beside them, for `--json`.
    """

    def __init__(
        self, cause: str, remedy: str, code: Exit = Exit.UNREACHABLE, **facts: object
    ) -> None:
        super().__init__(f"{cause} {remedy}")
        self.cause = cause
        self.remedy = remedy
        self.code = code
        self.facts = facts


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, at most 300 characters of it, without tokens."""
    text = hide_tokens(str(error)).strip() or type(error).__name__
    return text.partition("\n")[0][:300]


def is_local(host: str) -> bool:
    """Return whether a host is this machine, which only the local cloud is."""
    return host == "localhost" or host.startswith("127.")
