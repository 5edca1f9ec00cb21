"""Templates, and the format of times, ages and remedies on a page."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from revoker import remedies
from revoker.record import who_of

_CODE = re.compile(r"`([^`]*)`")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def environment() -> Environment:
    """Return the templates; whatever is put into them is escaped."""
    made = Environment(
        loader=PackageLoader("revoker.desk"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": when, "age": age, "sentence": sentence}
    made.filters |= {"read_time": read_time, "who_of": who_of}
    made.globals |= {"for_reason": remedies.for_reason, "for_error": remedies.for_error}
    return made


def when(time: datetime | None) -> Markup:
    """Write a time in UTC, with this machine's local time if that differs."""
    if time is None:
        return Markup("unknown")
    utc, local = time.astimezone(UTC), time.astimezone()
    beside = Markup("")
    if local.utcoffset():
        form = "%H:%M:%S" if local.date() == utc.date() else "%Y-%m-%d %H:%M:%S"
        beside = Markup(' <span class="local">({} local)</span>').format(local.strftime(form))
    return (
        Markup('<time datetime="{}">{}</time>').format(
            utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d %H:%M:%S}Z"
        )
        + beside
    )


def age(time: datetime | None) -> str:
    """Write how long ago a time was, in its largest unit."""
    if time is None:
        return ""
    seconds = (datetime.now(UTC) - time) / timedelta(seconds=1)
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
    """Read an ISO time; return None for anything else."""
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


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
