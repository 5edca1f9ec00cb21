"""`local.host` in a process that is killed by one message: the one with FATAL_SESSION_ID in it.

It ends as it would without memory: by SIGKILL, half a second after the processing has begun.
"""

import asyncio
import os
import signal
from collections.abc import Mapping

from local.host import process, worker

DELAY_SECONDS = 0.5

if __name__ == "__main__":
    fatal = os.environ["FATAL_SESSION_ID"]
    harmless = worker.invoke

    async def invoke(
        function: worker.Function, parameter: str, body: bytes | str, metadata: Mapping[str, object]
    ) -> str | None:
        """Invoke, unless it is the fatal one."""
        if fatal in (body if isinstance(body, str) else body.decode("utf-8", "replace")):
            await asyncio.sleep(DELAY_SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)
        return await harmless(function, parameter, body, metadata)

    worker.invoke = invoke
    process.run()
