"""Every regular expression that meets input, on 64 KiB of it."""

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
LENGTH = 64 * 1024
SECONDS = 0.05
USES = {"compile", "search", "match", "fullmatch", "sub", "split", "findall"}
MARKDOWN = r"\[([^\]]*)\]\([^)]*\)"
"""Meets only remedies, which are our own text."""
AT_START = {"connection.py", "endpoint.py", "settings.py"}
"""These read the app settings once, at the start."""


def patterns() -> Iterator[tuple[str, str]]:
    """Each pattern in the code as text, with each way in which it is used."""
    files = [*ROOT.glob("delete_session/*.py"), *ROOT.glob("revoker/**/*.py")]
    sources = {file: file.read_text() for file in files}
    everything = "\n".join(sources.values())
    for file, source in sources.items():
        at_start = file.parent.name == "delete_session" and file.name in AT_START
        if at_start or "re." not in source or file.name == "__main__.py":
            continue
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        variables = vars(importlib.import_module(name))
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(ast.Attribute(ast.Name("re"), use), [first, *_]) if use in USES:
                    found = eval(ast.unparse(first), variables)  # our own code
                    text = found.decode() if isinstance(found, bytes) else found
                    for each in (
                        uses_of(found, variables, everything) if use == "compile" else [use]
                    ):
                        yield text, each


def uses_of(pattern: str | bytes, variables: Mapping[str, object], code: str) -> set[str]:
    """How the code uses a compiled pattern: by its name, or if it stands in a table, by a search."""
    for name, value in variables.items():
        if isinstance(value, re.Pattern) and value.pattern == pattern:
            return set(re.findall(rf"\b{name}\.(\w+)\(", code))
    return {"search"}


FOUND = sorted({each for each in patterns() if each[0] != MARKDOWN})


def seconds(use: Callable[[], object]) -> float:
    """CPU time of a use; the best of three, for a busy machine."""
    best = 1.0
    for _ in range(3):
        began = time.process_time()
        use()
        best = min(best, time.process_time() - began)
        if best < SECONDS:
            break
    return best


@pytest.mark.parametrize(("pattern", "use"), FOUND)
@settings(max_examples=30)
@given(data=st.data())
def test_long_input_takes_no_pattern_long(pattern: str, use: str, data: st.DataObject) -> None:
    """64 KiB of what comes close to matching cost at most 50 ms of CPU."""
    compiled = re.compile(pattern)
    more = ("",) if use == "sub" else ()
    literals = re.findall(r"[A-Za-z]{2,} ?|[^\\]", pattern)
    piece = "".join(
        data.draw(st.lists(st.sampled_from([*literals, " ", "0", "a"]), min_size=1, max_size=4))
    )
    text = (piece * LENGTH)[: LENGTH - 1] + data.draw(st.sampled_from(["", "!", "\n"]))
    assert seconds(lambda: getattr(compiled, use)(*more, text)) < SECONDS, piece


def test_a_slow_pattern_would_be_found() -> None:
    """Quadratic search is over the limit."""
    slow = re.compile(r"\[[^\]]*\]")
    assert seconds(lambda: slow.search("[" * 16_000)) > SECONDS
