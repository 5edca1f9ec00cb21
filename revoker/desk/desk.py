"""The state that the pages share, for one run of the desk."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from revoker.connection import QueueAddress
from revoker.desk.access import Access
from revoker.desk.flow import Flow
from revoker.desk.snapshots import Snapshots
from revoker.desk.work import Work
from revoker.local_cloud import LocalCloud
from revoker.output import conclusion

if TYPE_CHECKING:
    from revoker.doctor.runner import Result
    from revoker.face import Finding


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The doctor's findings, and their time."""

    at: datetime
    results: "list[Result]"

    @property
    def conclusion(self) -> str:
        """The conclusion, in the command's words."""
        return conclusion(Counter(result.state.value for result in self.results))


class Desk:
    """One run of the desk.

    Args:
        environment: the function's settings, as the command reads them.
        record: the file in which what is done is recorded.
        port: the desk's port.
        address: where the browser reaches it; None for a name on this machine.

    Raises:
        Failure: a setting is missing or wrong.
    """

    def __init__(
        self, environment: Mapping[str, str], record: Path, port: int, address: str | None = None
    ) -> None:
        self.environment = environment
        self.record = record
        self.address = QueueAddress.read(environment)
        self.access = Access(port, address)
        self.cloud = LocalCloud.read(environment)
        outcomes = self.address.outcomes(environment)
        self.snapshots = Snapshots(self.address, outcomes, self.cloud)
        self.work = Work(self.address, outcomes, record, self.snapshots.outdate)
        self.flow = Flow(self.cloud, self.address.queue) if self.cloud else None
        self.diagnosis: Diagnosis | None = None
        self.findings: dict[str, Finding] = {}
        """The last answer of the Face API about each session."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Sample the flow while the desk is open, and end running jobs at the end."""
        sampling = asyncio.create_task(self.flow.run()) if self.flow else None
        try:
            yield
        finally:
            await self.work.close()
            await self.snapshots.close()
            if sampling is not None:
                sampling.cancel()
                with suppress(asyncio.CancelledError):
                    await sampling
            if self.cloud is not None:
                await self.cloud.close()
