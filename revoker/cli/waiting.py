"""What `publish --wait` does after the messages are published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from delete_session.contract import SessionType
from revoker import output, output_waiting
from revoker.cli.running import WORK_SECONDS, run
from revoker.connection import QueueAddress
from revoker.outcomes import readable
from revoker.publish import message_id
from revoker.waiting import check_right_to_look, wait


@dataclass(frozen=True, slots=True)
class Waiting:
    """Where outcomes are looked for, and whose."""

    address: QueueAddress
    receipts: QueueAddress | None
    no_receipts: str
    """Why receipts cannot be read; empty if they can be."""
    sessions: Mapping[str, str]
    """The session of each message id."""

    @classmethod
    def read(
        cls,
        address: QueueAddress,
        settings: Mapping[str, str],
        sessions: Mapping[str, SessionType | None],
        this_run: UUID,
    ) -> Self:
        """Find out where outcomes can be read, before anything is published.

        Raises:
            Failure: this login may not look into the queue.
        """
        run(check_right_to_look(address), WORK_SECONDS)
        receipts, why = run(readable(address.outcomes(settings)), WORK_SECONDS)
        ids = {message_id(this_run, each, kind): each for each, kind in sessions.items()}
        return cls(address, receipts, why, ids)

    def outcomes(self, as_json: bool) -> dict[str, Any]:
        """Wait for the outcomes, print them for people, and return them for programs."""
        with output.progress("waiting", len(self.sessions), shown=not as_json) as bar:
            found = run(wait(self.address, self.receipts, self.sessions, bar), WORK_SECONDS)
        facts = output_waiting.facts(found, self.sessions, self.no_receipts)
        if not as_json:
            output_waiting.outcomes(facts)
        return facts

    @staticmethod
    def something_is_wrong(outcomes: Mapping[str, Any]) -> bool:
        """Whether a session may be alive."""
        return any(outcomes[name] for name in ("not_found", "dead_lettered", "waiting"))
