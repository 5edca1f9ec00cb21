"""What `resubmit` and `discard` share: where, how, and how they end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self
from uuid import uuid4

import typer

from revoker import output
from revoker.cli.running import WORK_SECONDS, counted, recording, run
from revoker.failure import Exit

if TYPE_CHECKING:
    from revoker.carriers import Publication
    from revoker.connection import QueueAddress
    from revoker.messages import Seen
    from revoker.settling import Outcome


@dataclass(frozen=True, slots=True)
class Task:
    """One run of either verb."""

    action: Literal["resubmit", "discard"]
    address: "QueueAddress"
    outcomes: "QueueAddress | None"
    record: Path
    wait: float
    operation: str

    @classmethod
    def read(
        cls,
        action: Literal["resubmit", "discard"],
        record: Path | None,
        wait: float,
        namespace: str | None,
        queue: str | None,
        outcome_queue: str | None,
    ) -> Self:
        """Read it from the options, and from the settings where they are silent."""
        from revoker.connection import Options, QueueAddress
        from revoker.record import DEFAULT

        settings = Options(namespace, queue, outcome_queue).applied()
        address = QueueAddress.read(settings)
        outcomes = address.outcomes(settings)
        return cls(action, address, outcomes, record or DEFAULT, wait, str(uuid4()))

    @property
    def done(self) -> str:
        """The participle of the action."""
        return {"resubmit": "resubmitted", "discard": "discarded"}[self.action]

    def carry_out(self, wanted: "Sequence[Seen]", as_json: bool) -> "Outcome":
        """Settle these dead letters.

        Raises:
            Failure: it ended early; it says how many were done.
        """
        from revoker import settling
        from revoker.actor import service_bus_actor

        act = {"resubmit": settling.resubmit, "discard": settling.discard}[self.action]
        who = run(service_bus_actor(self.address.connection), WORK_SECONDS)
        so_far = 0

        def count(done: int) -> None:
            nonlocal so_far
            so_far = done
            bar(done)

        what = {"resubmit": "resubmitting", "discard": "discarding"}[self.action]
        with (
            output.progress(what, len(wanted), shown=not as_json) as bar,
            counted(self.done, lambda: so_far, len(wanted), "the same options"),
            recording(self.record, who, self.operation) as file,
        ):
            outcome = run(
                act(self.address, wanted, file, self.wait, count, self.outcomes), WORK_SECONDS
            )
            if outcome.failure is not None:
                raise outcome.failure
        return outcome

    def known(self, wanted: "Sequence[Seen]") -> "list[Publication]":
        """Look for what else there is of the publications of these dead letters."""
        from revoker.carriers import publications_of

        return run(publications_of(self.address, wanted), WORK_SECONDS) if wanted else []

    def finish(
        self,
        wanted: "Sequence[Seen]",
        kept: dict[int, str],
        settled: int,
        known: "Sequence[Publication]",
        as_json: bool,
    ) -> None:
        """Settle these dead letters, and report them together with what was done or left before."""
        if wanted:
            outcome = self.carry_out(wanted, as_json)
            settled += len(outcome.settled)
            kept = kept | outcome.kept
        path = str(self.record) if settled or wanted else None
        output.settled(self.done, settled, kept, known, as_json, record=path)
        if kept:
            raise typer.Exit(Exit.WRONG)
