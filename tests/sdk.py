"""The clients of azure-servicebus that tests open and close by the hundred."""

import functools

from azure.servicebus._pyamqp.aio._client_async import AMQPClientAsync
from azure.servicebus._pyamqp.client import AMQPClient


def close_at_once() -> None:
    """Have the SDK close its links without a wait of up to a second for each.

    Everything is written and confirmed by then: what it waits for is that its keep-alive task, or
    thread, wakes up from a sleep and sees that it is no longer needed.
    """
    close, close_async = AMQPClient.close, AMQPClientAsync.close_async

    @functools.wraps(close)
    def closing(client: AMQPClient) -> None:
        client._keep_alive_thread = None  # ends without it
        close(client)  # type: ignore[no-untyped-call]

    @functools.wraps(close_async)
    async def closing_async(client: AMQPClientAsync) -> None:
        task, client._keep_alive_thread = client._keep_alive_thread, None
        await close_async(client)  # type: ignore[no-untyped-call]
        if task is not None:
            task.cancel()

    AMQPClient.close = closing  # type: ignore[method-assign]
    AMQPClientAsync.close_async = closing_async  # type: ignore[method-assign]
