"""Every regular expression that meets input, on 64 KiB of it."""

import ast
import importlib
import re
import time
from collections.abc import Iterator
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


def patterns() -> Iterator[str]:
    """The patterns in the code, as text."""
    for file in [*ROOT.glob("delete_session/*.py"), *ROOT.glob("revoker/**/*.py")]:
        if file.parent.name == "delete_session" and file.name in AT_START:
            continue
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(ast.Attribute(ast.Name("re"), use), [first, *_]) if use in USES:
                    module = importlib.import_module(name)
                    found = eval(ast.unparse(first), vars(module))  # our own code
                    yield found.decode() if isinstance(found, bytes) else found


FOUND = sorted(set(patterns()) - {MARKDOWN})


def seconds(pattern: re.Pattern[str], text: str) -> float:
    """CPU time of every way to use it; the best of three, for a busy machine."""
    best = 1.0
    for _ in range(3):
        began = time.process_time()
        pattern.fullmatch(text)
        pattern.search(text)
        pattern.sub("", text)
        best = min(best, time.process_time() - began)
        if best < SECONDS:
            break
    return best


@pytest.mark.parametrize("pattern", FOUND)
@settings(max_examples=30)
@given(data=st.data())
def test_long_input_takes_no_pattern_long(pattern: str, data: st.DataObject) -> None:
    """64 KiB of what comes close to matching cost at most 50 ms of CPU."""
    compiled = re.compile(pattern)
    literals = re.findall(r"[A-Za-z]{2,} ?|[^\\]", pattern)
    piece = "".join(
        data.draw(st.lists(st.sampled_from([*literals, " ", "0", "a"]), min_size=1, max_size=4))
    )
    text = (piece * LENGTH)[: LENGTH - 1] + data.draw(st.sampled_from(["", "!", "\n"]))
    assert seconds(compiled, text) < SECONDS, piece


def test_a_slow_pattern_would_be_found() -> None:
    """Quadratic search is over the limit."""
    assert seconds(re.compile(r"\[[^\]]*\]"), "[" * 16_000) > SECONDS
