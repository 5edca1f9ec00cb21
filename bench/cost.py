"""The cost of a million revocations, from measured figures and a price list."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of the Flex Consumption plan, on demand; they differ by region and currency."""

    per_gigabyte_second: float
    per_million_executions: float
    instance_gigabytes: float
    currency: str


def model(
    cpu_microseconds: float, prices: Prices, *, face_rate: float, face_milliseconds: float
) -> dict[str, Any]:
    """The bill for a million messages, with its arithmetic as text.

    An instance is billed for the time in which at least one message is in flight, whatever the
    number of messages. So the rate decides, not the CPU time: the Face API's quota when a backlog
    is drained, the call's own duration when messages come one by one.

    Args:
        cpu_microseconds: of one message, as measured.
        prices: the price list.
        face_rate: calls per second that the function makes at most (FACE_MAX_CALLS_PER_SECOND).
        face_milliseconds: how long the Face API takes for a deletion.
    """
    million = 1_000_000
    one_by_one = face_milliseconds / 1000 + cpu_microseconds / 1e6
    seconds = {
        f"a backlog, {face_rate:g} calls/s": million / face_rate,
        f"one by one, {face_milliseconds:g} ms each": million * one_by_one,
        "CPU time alone (the least any plan could bill)": million * cpu_microseconds / 1e6,
    }
    rows = []
    for case, billed in seconds.items():
        gigabyte_seconds = billed * prices.instance_gigabytes
        price = gigabyte_seconds * prices.per_gigabyte_second + prices.per_million_executions
        rows.append(
            {
                "case": case,
                "seconds": billed,
                "gigabyte_seconds": gigabyte_seconds,
                "price": price,
                "currency": prices.currency,
                "arithmetic": (
                    f"{billed:,.0f} s x {prices.instance_gigabytes:g} GB = "
                    f"{gigabyte_seconds:,.0f} GB-s; x {_decimal(prices.per_gigabyte_second)} + "
                    f"{_decimal(prices.per_million_executions)} = {price:,.2f} {prices.currency}"
                ),
            }
        )
    return {"per_messages": million, "rows": rows}


def _decimal(price: float) -> str:
    """Write a price without an exponent."""
    return f"{price:.9f}".rstrip("0").rstrip(".")
