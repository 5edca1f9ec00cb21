"""The doctor's checks of Service Bus: connection, login, queue and rights."""

from collections.abc import Mapping
from functools import cached_property

from delete_session.connection import CONNECTION
from revoker.actor import SERVICE_BUS_SCOPE
from revoker.caller import Caller
from revoker.connection import QueueAddress
from revoker.doctor import network, tokens
from revoker.doctor.runner import Check, Skipped
from revoker.face import token
from revoker.failure import Failure
from revoker.messages import peek

AMQPS_PORT, WEBSOCKETS_PORT = 5671, 443
_PROXY = "left to the proxy, which the following checks use"


def checks(environment: Mapping[str, str]) -> list[Check]:
    """Return the checks of the namespace that these settings name."""
    probes = _Probes(environment)
    logged_in = ("Service Bus TLS", "Service Bus token")
    return [
        Check("Service Bus name", (), probes.name),
        Check("Service Bus TLS", ("Service Bus name",), probes.tls),
        Check("Service Bus token", (), probes.token),
        Check("queue, right to receive", logged_in, probes.receive),
        Check("dead letters, right to receive", logged_in, probes.receive_dead_letters),
        Check("queue, right to send", logged_in, probes.send),
        Check("receipts, right to send", logged_in, probes.send_receipts),
    ]


class _Probes:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    @cached_property
    def _address(self) -> QueueAddress:
        try:
            return QueueAddress.read(self._environment)
        except Failure:
            raise Skipped("its settings are wrong") from None

    @cached_property
    def _target(self) -> network.Target:
        text = self._address.connection.connection_string
        plain = "usedevelopmentemulator=true" in (text or "").lower().replace(" ", "")
        setting = CONNECTION if text else f"{CONNECTION}__fullyQualifiedNamespace"
        url = f"sb://{self._address.where}"
        port = WEBSOCKETS_PORT if self._address.connection.websockets else AMQPS_PORT
        return network.Target.of(url, port, tls=not plain, setting=setting)

    async def name(self) -> str:
        if self._address.connection.proxy:
            return _PROXY
        return await network.resolve(self._target)

    async def tls(self) -> str:
        if self._address.connection.proxy:
            return _PROXY
        return await network.connect(self._target, Caller.of(environment=self._environment))

    async def token(self) -> str:
        connection = self._address.connection
        if connection.connection_string:
            return "not needed, because the connection string has a key"
        bearer = await token(SERVICE_BUS_SCOPE, connection.client_id, connection.resource_id)
        return tokens.read(bearer, SERVICE_BUS_SCOPE)

    async def receive(self) -> str:
        return await self._receive(dead_letters=False)

    async def receive_dead_letters(self) -> str:
        return await self._receive(dead_letters=True)

    async def _receive(self, *, dead_letters: bool) -> str:
        async with self._address.receiver(dead_letters=dead_letters) as receiver:
            async for _ in peek(receiver, limit=1):
                pass
        return f"{self._address.queue} in {self._address.where}"

    async def send(self) -> str:
        return await _send_nothing(self._address)

    async def send_receipts(self) -> str:
        try:
            outcomes = self._address.outcomes(self._environment)
        except Failure:
            raise Skipped("its settings are wrong") from None
        if outcomes is None:
            return "not needed, because OUTCOME_QUEUE is not set and no receipts are sent"
        return f"{outcomes.queue}: {await _send_nothing(outcomes)}"


async def _send_nothing(address: QueueAddress) -> str:
    async with address.sender():
        # Opening the link already needs the right.
        return "a sender was opened, and nothing was sent"
