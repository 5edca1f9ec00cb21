"""Simulated network latency: how long operations wait.

On loopback an answer takes a millisecond or two, from Azure tens of them: a design that waits for
one answer after the other shows only there. How many round trips an operation takes is an estimate:
a connection needs one each for TCP, TLS, SASL and open, and a message is replicated before its
sender hears of it.
"""

_ROUND_TRIPS = {"open": 4, "send": 2, "schedule-message": 2}


class Latency:
    """What to wait for before an operation is carried out.

    Args:
        round_trip_seconds: of the simulated network; 0: no wait.
    """

    def __init__(self, round_trip_seconds: float = 0.0) -> None:
        self._round_trip_seconds = round_trip_seconds

    def of(self, operation: str) -> float:
        """Return how long to wait, in seconds, for `open` or an operation that faults know."""
        return _ROUND_TRIPS.get(operation, 1) * self._round_trip_seconds
