"""The evidence of an audit: no change of it stays unseen."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from revoker.evidence import Evidence, appending, verify
from revoker.failure import Exit, Failure
from revoker.record import last


def session(number: int) -> dict[str, object]:
    return {
        "line": "session",
        "session_id": f"s{number}",
        "answer": "not_found",
        "session_type": None,
        "endpoint": "https://face",
        "api_version": "v1.2",
        "operation": "o",
    }


EXISTS = {"answer": "exists", "session_type": "liveness"}


def write(path: Path, count: int, *, closed: bool = True) -> bytes:
    with appending(path) as (evidence, add):
        for number in range(count):
            add(session(number))
        if closed:
            add(evidence.summary)
    return path.read_bytes()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("evidence") / "written", 4)


def tampered(content: bytes, how: str, first: int, second: int, byte: int) -> bytes:
    """Change a file in one of the ways that there are."""
    lines = content.splitlines(keepends=True)
    one, other = first % len(lines), second % len(lines)
    at, to = sorted((first % len(content), second % len(content)))
    match how:
        case "replace a byte":
            return content[:at] + bytes([byte]) + content[at + 1 :]
        case "insert a byte":
            return content[:at] + bytes([byte]) + content[at:]
        case "remove bytes":
            return content[:at] + content[to:]
        case "truncate":
            return content[:at]
        case "append":
            return content + lines[one]
        case "swap lines":
            lines[one], lines[other] = lines[other], lines[one]
        case "remove a line":
            del lines[one]
        case "repeat a line":
            lines.insert(other, lines[one])
        case "insert a line":
            lines.insert(other, b'{"line": "session"}\n')
        case "edit a line":  # and give it the right SHA-256
            text = lines[one].partition(b', "sha256"')[0]
            at = second % len(text)
            lines[one] = hashed(text[:at] + bytes([byte]) + text[at + 1 :])
        case "edit a fact":  # likewise, but it stays JSON
            facts = json.loads(lines[one])
            del facts["sha256"]
            name = list(facts)[second % len(facts)]
            facts[name] = [None, byte, str(byte), "exists", "liveness"][byte % 5]
            lines[one] = hashed(json.dumps(facts).encode()[:-1])
    return b"".join(lines)


def hashed(text: bytes) -> bytes:
    return text + b', "sha256": "%s"}\n' % hashlib.sha256(text).hexdigest().encode()


HOW = (
    *("replace a byte", "insert a byte", "remove bytes", "truncate", "append", "swap lines"),
    *("remove a line", "repeat a line", "insert a line", "edit a line", "edit a fact"),
)


@settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(HOW), st.integers(0), st.integers(0), st.integers(0, 255)),
        min_size=1,
        max_size=3,
    )
)
def test_tampering_is_always_found(
    written: bytes, tmp_path: Path, steps: list[tuple[str, int, int, int]]
) -> None:
    """Whatever is done to the file, it is as it was, or it does not pass."""
    content = written
    for step in steps:
        with suppress(ValueError, KeyError):  # the line is no longer JSON
            content = tampered(content, *step) if content.strip() else content
    path = tmp_path / "evidence"
    path.write_bytes(content)
    if content == written:
        assert verify(path).closed
    else:
        with pytest.raises(Failure) as failed:
            verify(path)
        assert failed.value.code is Exit.USAGE


@pytest.mark.parametrize("how", HOW)
def test_each_way_of_tampering_changes_the_file(written: bytes, how: str) -> None:
    """So that the property above is tested with each of them."""
    assert tampered(written, how, 5, 1, 0) != written


def test_a_file_that_was_rewritten_to_its_end_has_another_seal(tmp_path: Path) -> None:
    """The chain alone cannot prove who made it; the seal that was kept elsewhere does."""
    true, forged = tmp_path / "true", tmp_path / "forged"
    write(true, 3)
    forged.write_bytes(b"".join(true.read_bytes().splitlines(keepends=True)[:2]))
    with appending(forged) as (evidence, add):
        add(evidence.summary)
    assert verify(true).seal != verify(forged).seal


def test_a_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    """An interrupted audit goes on after its last whole line."""
    path = tmp_path / "evidence"
    content = write(path, 3, closed=False)
    path.write_bytes(content[:-7])
    with pytest.raises(Failure, match="correct as far as it goes"):
        verify(path)
    with appending(path) as (evidence, add):
        assert list(evidence.sessions) == ["s0", "s1"]
        add(session(2))
        add(evidence.summary)
    assert list(verify(path).sessions) == ["s0", "s1", "s2"]


def test_a_file_that_is_no_evidence_stays_as_it_is(tmp_path: Path) -> None:
    """Its last line, without a line feed, is not taken for one that an interruption has cut off."""
    path = tmp_path / "ids.txt"
    path.write_bytes(b"the-only-id")
    with pytest.raises(Failure, match="not as it was written"), appending(path):
        pass
    assert path.read_bytes() == b"the-only-id"


def test_a_complete_file_is_not_added_to(tmp_path: Path) -> None:
    """A second audit needs a second file."""
    write(tmp_path / "evidence", 1)
    with pytest.raises(Failure, match="complete audit"):
        write(tmp_path / "evidence", 1)


def test_two_audits_do_not_write_to_one_file(tmp_path: Path) -> None:
    """The second one finds that its place was taken, and the file stays correct."""
    path = tmp_path / "evidence"
    with appending(path) as (evidence, first), appending(path) as (_, second):
        first(session(0))
        with pytest.raises(Failure, match="Something else writes"):
            second(session(0))
        first(evidence.summary)
    assert list(verify(path).sessions) == ["s0"]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"line": []},
        {"line": "list"},
        {"line": "session", "session_id": "s"},
        session(1) | {"session_id": [1]},
        session(1) | {"answer": "Exists"},
        session(1) | {"answer": ["exists"]},
        session(1) | {"answer": "exists"},
        session(1) | {"session_type": "liveness"},
    ],
)
def test_a_line_that_no_audit_writes_is_refused(facts: dict[str, object]) -> None:
    """A forged line with a right SHA-256 is not relied upon."""
    evidence = Evidence()
    line = evidence.make_line(facts)
    assert json.loads(line)["previous"] == "0" * 64
    with pytest.raises(ValueError, match="not say what"):
        evidence.read_line(line[:-1])


def test_a_session_has_one_line() -> None:
    """A second one would replace that the session existed, in a file with the right SHA-256s."""
    evidence = Evidence()
    evidence.read_line(evidence.make_line(session(1) | EXISTS)[:-1])
    with pytest.raises(ValueError, match="has a line already"):
        evidence.read_line(evidence.make_line(session(1))[:-1])


def test_a_line_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    """As one that was changed."""
    (tmp_path / "evidence").write_bytes(hashed(b'{"line": ' + b"[" * 100_000))
    with pytest.raises(Failure, match="Line 1: it is nested too deeply"):
        verify(tmp_path / "evidence")


def test_a_pipe_is_neither_read_nor_written(tmp_path: Path) -> None:
    """Nothing waits for its other end."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Failure, match="not a file on a disk"):
        verify(tmp_path / "pipe")
    with pytest.raises(Failure, match="not a file on a disk"), appending(tmp_path / "pipe"):
        pass
    with pytest.raises(Failure, match="not a file on a disk"):
        last(tmp_path / "pipe", 9)


def test_a_file_that_is_not_there_is_an_error_of_usage(tmp_path: Path) -> None:
    """As is one that cannot be written."""
    with pytest.raises(Failure) as failed:
        verify(tmp_path / "none")
    assert failed.value.code is Exit.USAGE
    with pytest.raises(Failure) as failed, appending(tmp_path / "no" / "evidence"):
        pass
    assert failed.value.code is Exit.USAGE
