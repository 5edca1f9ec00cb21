"""Templates, and the format of times, ages and remedies on a page."""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from revoker import remedies
from revoker.record import who_of
from revoker.text import visible

_CODE = re.compile(r"`([^`]*)`")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def environment() -> Environment:
    """Return the templates. What is put into them is escaped, and its control characters shown."""
    made = Environment(
        loader=PackageLoader("revoker.desk"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "when": when,
        "age": age,
        "seconds_since": seconds_since,
        "sentence": sentence,
        "read_time": read_time,
        "number": number,
        "whole": whole,
        "who_of": who_of,
    }
    made.globals |= {"for_reason": remedies.for_reason, "for_error": remedies.for_error}
    return made


def when(time: datetime | None) -> Markup:
    """Write a time in UTC, with this machine's local time if that differs."""
    if time is None:
        return Markup("unknown")
    beside = Markup("")
    with suppress(OverflowError, ValueError, OSError):  # a year that local time does not have
        local = time.astimezone()
        if local.utcoffset():
            form = "%H:%M:%S" if local.date() == time.date() else "%Y-%m-%d %H:%M:%S"
            beside = Markup(' <span class="local">({} local)</span>').format(local.strftime(form))
    return (
        Markup('<time datetime="{}">{}Z</time>').format(
            time.isoformat(timespec="seconds"),
            time.replace(tzinfo=None).isoformat(" ", timespec="seconds"),
        )
        + beside
    )


def seconds_since(time: datetime) -> float:
    """Return how long ago a time was."""
    return (datetime.now(UTC) - time).total_seconds()


def age(time: datetime | None) -> str:
    """Write how long ago a time was, in its largest unit."""
    if time is None:
        return ""
    seconds = seconds_since(time)
    ahead = seconds < 0
    seconds = abs(seconds)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            text = f"{seconds / length:.0f} {unit}"
            break
    else:
        text = f"{seconds:.0f} s"
    return f"in {text}" if ahead else f"{text} ago"


def read_time(value: object) -> datetime | None:
    """Read an ISO time, in UTC unless it says otherwise; return None for anything else."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
        return time and (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def number(value: float) -> str:
    """Write a number for people: with commas, three digits at least, and no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def whole(text: str) -> Markup:
    """Write a long text in full, in its lines; its control characters are shown."""
    lines = (visible(line, len(line)) for line in text.expandtabs().splitlines())
    return Markup("\n").join(lines)


def sentence(markdown: str) -> Markup:
    """Write a text of the remedies as a sentence, with its code marked; links are their texts."""
    markdown = f"{markdown[:1].upper()}{markdown[1:]}."
    parts = _CODE.split(_LINK.sub(r"\1", markdown))  # every second one is code
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


class Pages:
    """Renders templates with what every page needs."""

    def __init__(self, **always: Any) -> None:
        self._environment = environment()
        self._always = always

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """Return a page, or a part of one."""
        return self._environment.get_template(template).render({**self._always, **values})
