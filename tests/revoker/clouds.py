"""A local cloud whose event loop runs in a thread, for tests that are not coroutines."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, Self

from local.cloud import Cloud, Options, Service

DEADLINE_SECONDS = 60.0


class CloudThread:
    """A local cloud and the thread that its event loop runs in."""

    def __init__(self, options: Options) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.cloud: Cloud = self.run(self._make(options))

    @staticmethod
    async def _make(options: Options) -> Cloud:
        return Cloud(options)

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_SECONDS)

    @classmethod
    @contextlib.contextmanager
    def running(cls, options: Options) -> Iterator[Self]:
        this = cls(options)
        try:
            this.run(this.cloud.__aenter__())
            try:
                yield this
            finally:
                this.run(this.cloud.stop())
        finally:
            this._loop.call_soon_threadsafe(this._loop.stop)
            this._thread.join(DEADLINE_SECONDS)
            this._loop.close()

    def ask(self, service: Service, method: str, path: str, body: Any = None) -> Any:
        return self.run(self.cloud.ask(service, method, path, body))

    @contextlib.contextmanager
    def configured(self, service: Service, **values: Any) -> Iterator[None]:
        """Change a service's configuration for a while."""
        before = self.ask(service, "GET", "/_local/config")
        self.ask(service, "POST", "/_local/config", values)
        try:
            yield
        finally:
            self.ask(service, "POST", "/_local/config", {name: before[name] for name in values})
