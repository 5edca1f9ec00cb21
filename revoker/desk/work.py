"""The desk's work on dead letters: first a plan to look at, then a job."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from revoker.actor import service_bus_actor
from revoker.carriers import Publication, publications
from revoker.connection import QueueAddress
from revoker.desk.snapshots import Snapshot
from revoker.failure import Exit, Failure
from revoker.messages import Seen
from revoker.output import not_uploaded
from revoker.record import Record
from revoker.settling import Outcome, discard, resubmit

PATIENCE_SECONDS = 70.0  # a little longer than a lock of the deployed queue lasts
_MOST_KEPT = 50  # plans and jobs; the oldest are forgotten

type Action = Literal["resubmit", "discard"]


def read_action(text: str | None) -> Action:
    """Read the name of an action.

    Raises:
        Failure: there is no such action.
    """
    match text:
        case "resubmit" | "discard":
            return text
        case _:
            raise Failure("There is no such action.", "Use the buttons.", Exit.USAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An action, and the dead letters that it is for."""

    id: str
    action: Action
    taken_at: datetime
    """When the queue was read."""
    wanted: Sequence[Seen]
    publications: Sequence[Publication]

    @property
    def alone(self) -> Sequence[Publication]:
        """Those whose sessions no other known message carries."""
        return [each for each in self.publications if each.alone]


@dataclass(slots=True)
class Job:
    """A plan that was carried out, or is being carried out."""

    plan: Plan
    started_at: datetime
    done: int = 0
    outcome: Outcome | None = None
    failure: Failure | None = None

    @property
    def running(self) -> bool:
        """Whether it is still running."""
        return self.outcome is None and self.failure is None


class Work:
    """Plans and jobs of one run of the desk.

    Args:
        address: the queue's address.
        outcomes: gets the receipts of what the broker dead-lettered; None for no receipts.
        record: the file for the record.
        changed: called when a job has ended.
    """

    def __init__(
        self,
        address: QueueAddress,
        outcomes: QueueAddress | None,
        record: Path,
        changed: Callable[[], None],
    ) -> None:
        self._address = address
        self._outcomes = outcomes
        self._record = record
        self._changed = changed
        self._plans: dict[str, Plan] = {}
        self._jobs: dict[str, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()

    def plan(self, action: Action, wanted: Sequence[Seen], snapshot: Snapshot) -> Plan:
        """Keep a plan until it is started."""
        plan = Plan(
            id=secrets.token_hex(8),
            action=action,
            taken_at=snapshot.taken_at,
            wanted=wanted,
            publications=publications(wanted, snapshot.waiting, snapshot.dead),
        )
        self._plans[plan.id] = plan
        _forget_oldest(self._plans)
        return plan

    def find_plan(self, id_: str) -> Plan:
        """Return a plan that was not started.

        Raises:
            Failure: there is none.
        """
        return _found(self._plans, id_)

    def find_job(self, id_: str) -> Job:
        """Return the job that carries out, or carried out, the plan of this id.

        Raises:
            Failure: there is none.
        """
        return _found(self._jobs, id_)

    def start(self, id_: str) -> Job:
        """Start a plan, which can be done only once.

        Raises:
            Failure: there is no such plan, or it was started before.
        """
        plan = self.find_plan(id_)
        del self._plans[id_]
        job = self._jobs[id_] = Job(plan, datetime.now(UTC))
        _forget_oldest(self._jobs)
        task = asyncio.create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def close(self) -> None:
        """Interrupt running jobs, which is as safe as interrupting the command."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, job: Job) -> None:
        def progress(done: int) -> None:
            job.done = done

        act = {"resubmit": resubmit, "discard": discard}[job.plan.action]
        try:
            async with self._one_at_a_time:
                who = await service_bus_actor(self._address.connection)
                with Record.open(self._record, "desk", who, job.plan.id) as record:
                    outcome = await act(
                        self._address,
                        job.plan.wanted,
                        record,
                        PATIENCE_SECONDS,
                        progress,
                        self._outcomes,
                    )
            job.failure = outcome.failure
            if outcome.failure is None:
                job.outcome = outcome
            await upload(record)
        except Failure as failure:
            job.failure = failure
        finally:
            self._changed()


async def upload(record: Record) -> None:
    """Upload what was recorded, if that is wanted; the terminal shows a failure."""
    not_uploaded(await record.upload())


def _found[T](kept: Mapping[str, T], id_: str) -> T:
    try:
        return kept[id_]
    except KeyError:
        raise Failure(
            "This was started before, or the desk has forgotten it.",
            "Begin again with the list of dead letters.",
            Exit.WRONG,
        ) from None


def _forget_oldest[T](kept: dict[str, T]) -> None:
    while len(kept) > _MOST_KEPT:
        del kept[next(iter(kept))]
