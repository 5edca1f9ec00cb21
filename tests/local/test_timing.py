"""Where the time of a message went, from a ledger and log lines that are made up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.timing import FEW, Times, mean, percentile, split, summary


def event(message_id: str, what: str, time: float) -> dict[str, Any]:
    return {"message_id": message_id, "event": what, "time": time}


def line(message_id: str, since: float, calling: float, outcome: str = "deleted") -> dict[str, Any]:
    return {
        "event": "revocation",
        "outcome": outcome,
        "message_id": message_id,
        "ms_since_enqueued": since,
        "ms_in_call": calling,
    }


def test_one_call() -> None:
    """The queue, the wait for a turn, the call and the completion add up to the whole."""
    ledger = [
        event("a", "enqueued", 10.0),
        event("a", "delivered", 10.2),
        event("a", "completed", 11),
    ]
    [times] = split(ledger, [line("a", 970, 40)]).values()
    assert tuple(times) == pytest.approx((200, 730, 40, 0, 30))


def test_a_retry_copy_belongs_to_its_message() -> None:
    """A copy's delay is a separate part, and all parts add up to the whole."""
    ledger = [
        *(event("a", "enqueued", 0.0), event("a", "delivered", 0.1)),
        *(event("a:1:1", "scheduled", 0.3), event("a", "completed", 0.4)),
        *(event("a:1:1", "enqueued", 5.4), event("a:1:1", "delivered", 5.5)),
        event("a:1:1", "completed", 6.0),
    ]
    lines = [line("a", 350, 100, "retry_scheduled"), line("a:1:1", 590, 20)]
    times = split(ledger, lines)["a"]
    assert times.total == pytest.approx(6000)
    assert times.scheduled == pytest.approx(5000)
    assert times.calling == pytest.approx(120)
    assert times.queued == pytest.approx(200)
    assert times.settling == pytest.approx(60)


def test_a_dead_letter_settles_before_its_line() -> None:
    """Its line is written after the settling, which is then within the function's time."""
    ledger = [
        *(event("a", "enqueued", 0.0), event("a", "delivered", 0.1)),
        event("a", "dead_lettered", 0.5),
    ]
    times = split(ledger, [line("a", 505, 50, "dead_lettered")])["a"]
    assert times.settling == 0
    assert times.waiting == pytest.approx(350)


def test_what_has_not_ended_is_left_out() -> None:
    """A message in progress, or with a copy still in the queue, has no times yet."""
    in_hand = [event("a", "enqueued", 0.0), event("a", "delivered", 0.1)]
    copied = [
        *(event("b", "enqueued", 0.0), event("b", "completed", 0.1)),
        *(event("b:1:1", "scheduled", 0.1), event("b:1:1", "enqueued", 0.4)),
    ]
    assert split([*in_hand, *copied], []) == {}


def test_means_add_up() -> None:
    """The parts' means add up to the mean of the whole."""
    average = mean([Times(1, 2, 3, 4, 5), Times(3, 4, 5, 6, 7)])
    assert average == Times(2, 3, 4, 5, 6)
    assert average.total == 20


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], part: float) -> None:
    """It never lies beyond the maximum, and at least that part of the values is not above it."""
    found = percentile(values, part)
    assert found in values
    assert sum(value <= found for value in values) >= part * len(values) - 1e-9


def test_of_few_messages_the_number_is_said_and_no_percentile() -> None:
    """Below twenty messages there is a median and a maximum; from twenty on there is p95."""
    assert summary([]) == "no message ended"
    few = summary([348.0] * (FEW - 2) + [361.0])
    assert few == "from enqueue to the end, n = 19, milliseconds: median 348, maximum 361"
    enough = summary([*range(1, FEW + 1)])
    assert enough == "from enqueue to the end, n = 20, milliseconds: p50 10, p95 19, maximum 20"
