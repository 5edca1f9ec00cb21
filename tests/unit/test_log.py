"""The log lines."""

import json
import logging

import pytest

from delete_session.log import record_event


@pytest.mark.parametrize("text", ["plain", "\u2028line\x85ends\n", "\x7f\x00", "é"])
def test_a_line_is_one_line_and_reads_back(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a message id holds, its log line is one line of ASCII, and JSON."""
    with caplog.at_level(logging.INFO, "delete_session"):
        record_event("seen", message_id=text)
    [line] = caplog.messages
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line) == {"event": "seen", "message_id": text}
