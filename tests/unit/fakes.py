"""Stand-ins for what surrounds the function, for unit tests only."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.functions as func
from azure.functions.servicebus import ServiceBusMessage
from azure.servicebus import ServiceBusMessage as SentMessage

from delete_session.app import create_handler
from delete_session.clock import Clock
from delete_session.contract import SessionType
from delete_session.decision import DeadLetter
from delete_session.face import FaceClient
from delete_session.message import Delivery
from delete_session.receipt import Receipts
from delete_session.settings import Settings
from delete_session.verdict import Verdict, judge, no_response

ENQUEUED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODY = b'{"sessionId":"s-1","sessionType":"livenessWithVerify"}'
TOKEN = "11111111-2222-3333-4444-555555555555"


def verdict(
    status: int | None, code: str = "", message: str = "", *, listed: bool = False, **fields: Any
) -> Verdict:
    """The verdict on an answer; `listed`: its code is on FACE_CODES_NOT_RETRYABLE."""
    if status is None:
        return no_response(code, message)
    not_retryable = frozenset([code]) if listed else frozenset()
    fields.setdefault("has_body", status not in (200, 204))
    codes = [code] if code else []
    return judge(status, codes, message, not_retryable=not_retryable, **fields)


DELETED = verdict(200, request_id="r-0")
GONE = verdict(404, "SessionNotFound")
UNAVAILABLE = verdict(503, "ServiceUnavailable", "try later")
DENIED = verdict(403, "PermissionDenied")
BAD = verdict(400, "BadArgument", "no", request_id="r-1", listed=True)


def throttled(seconds: float) -> Verdict:
    return verdict(429, "429", retry_after=seconds)


def settings(**values: str) -> Settings:
    """Settings as deployed, but for the given environment variables."""
    return Settings.from_environment(
        {
            "FACE_ENDPOINT": "https://contoso.cognitiveservices.azure.com",
            "ServiceBusConnection__fullyQualifiedNamespace": "contoso.servicebus.windows.net",
            "FACE_MAX_CALLS_PER_SECOND": "10000",
            **values,
        }
    )


def message(
    body: bytes | None = None, properties: Mapping[str, Any] | None = None, **fields: Any
) -> func.ServiceBusMessage:
    """A message as the host's binding decodes it."""
    values: dict[str, Any] = {
        "message_id": "m-1",
        "lock_token": TOKEN,
        "delivery_count": 1,
        "enqueued_time_utc": ENQUEUED,
        "expires_at_utc": ENQUEUED + timedelta(hours=48),
        "content_type": "application/json",
        "correlation_id": "c-1",
        "subject": "session-revoked",
        "sequence_number": 7,
    }
    values |= {
        name: dict(properties or {}) for name in ("application_properties", "user_properties")
    }
    return ServiceBusMessage(
        body=BODY if body is None else body,
        **{**values, **fields},
    )


def retry_copy(
    first_enqueued: datetime, *, attempts: int = 0, copies: int = 1, **fields: Any
) -> func.ServiceBusMessage:
    """A retry copy of the message m-1, as the function schedules it."""
    history = {
        "revoker-root-id": "m-1",
        "revoker-first-enqueued": first_enqueued.isoformat(),
        "revoker-attempt": attempts,
        "revoker-copy": copies,
    }
    message_id = f"m-1:{int(first_enqueued.timestamp() * 1000)}:{copies}"
    return message(properties=history, message_id=message_id, **fields)


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self, wall: datetime = ENQUEUED, random: float = 0.5) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self._wall = wall.timestamp()
        self.clock = Clock(
            wall=lambda: self._wall + self.seconds,
            monotonic=lambda: self.seconds,
            sleep=self._sleep,
            random=lambda: random,
        )

    async def _sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


class FakeFace:
    """Verdicts in turn; the last answer for ever."""

    def __init__(self, *answers: Verdict) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, SessionType]] = []

    async def delete(self, session_id: str, session_type: SessionType) -> Verdict:
        self.calls.append((session_id, session_type))
        await asyncio.sleep(0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class FakeQueue:
    """Records what it is asked to do; raises the given errors first.

    Args:
        errors: to be raised.
        steps: gets the name of each operation, done or not.
    """

    def __init__(self, *errors: Exception, steps: list[str] | None = None) -> None:
        self.errors = list(errors)
        self.steps = [] if steps is None else steps
        self.sent: list[SentMessage] = []
        self.dead_letters: list[tuple[Delivery, DeadLetter]] = []
        self.copies: list[Delivery] = []
        self.tries = 0

    def _try(self, step: str, carry_out: Callable[[], None]) -> None:
        self.steps.append(step)
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        carry_out()

    async def dead_letter(self, delivery: Delivery, decision: DeadLetter, until: float) -> None:
        self._try("dead-letter", lambda: self.dead_letters.append((delivery, decision)))

    async def schedule(self, copy: Delivery, until: float) -> None:
        self._try("schedule", lambda: self.copies.append(copy))

    async def send(self, message: SentMessage, until: float) -> None:
        self._try("send", lambda: self.sent.append(message))


def face_client(tokens: object, **environment: str) -> FaceClient:
    """The client as deployed, but for the source of its tokens."""
    values = settings(**environment)
    return FaceClient(
        values.face_endpoint,
        values.face_api_version,
        tokens,  # type: ignore[arg-type]
        timeout=values.call_timeout,
        not_retryable=values.face_codes_not_retryable,
    )


class Bench:
    """A handler with everything around it faked."""

    def __init__(
        self,
        *answers: Verdict,
        errors: tuple[Exception, ...] = (),
        receipt_errors: tuple[Exception, ...] = (),
        time: FakeTime | None = None,
        max_wait: float | None = None,
        breaker_failures: int | None = None,
        **environment: str,
    ) -> None:
        self.time = time or FakeTime()
        self.face = FakeFace(*(answers or (DELETED,)))
        self.steps: list[str] = []
        self.queue = FakeQueue(*errors, steps=self.steps)
        self.outcomes = FakeQueue(*receipt_errors, steps=self.steps)
        self.handler = create_handler(settings(**environment), self.time.clock)
        self.handler.face = self.face  # type: ignore[assignment]
        self.handler.queue = self.queue  # type: ignore[assignment]
        if max_wait is not None:
            self.handler.max_wait = self.handler.gate._max_wait = max_wait
        if breaker_failures is not None:
            self.handler.gate._breaker._failures = breaker_failures
        if isinstance(self.handler.receipts, Receipts):
            self.handler.receipts = Receipts("session-revoked", self.outcomes)  # type: ignore[arg-type]

    async def handle(self, given: func.ServiceBusMessage | None = None) -> None:
        await self.handler.handle(given or message())
