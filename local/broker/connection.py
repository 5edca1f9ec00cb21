"""One client's connection: links, deliveries and requests, on Proton's protocol engine.

Input changes the queues and fills Proton's output buffer; the dispatcher decides when that buffer
goes to the socket.
"""

import asyncio
import contextlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import proton

from . import management, message
from .dispatcher import Consumer, Dispatcher
from .encoding import EncodingError
from .faults import Fault
from .management import Answer
from .message import Message
from .numbering import DeliveryNumbers
from .queues import MAX_MESSAGE_BYTES, Queue, Refused
from .sasl import SaslError, SaslServer
from .tokens import Grant, entity_path, verify

CBS = "$cbs"
_MANAGEMENT_SUFFIX = "/$management"
_SENDER_CREDIT = 1000
_MAX_FRAME_BYTES = 65536
_TRANSACTIONAL_STATE = 0x34
_HEARTBEAT_BYTES = 8  # an empty frame
_COORDINATOR = 3  # the terminus type that transactions use
_Event = proton.Event


@dataclass(slots=True, eq=False)
class Node:
    """What a link is attached to: `$cbs`, a queue's management node, or a queue."""

    address: str
    queue: Queue | None
    is_management: bool


@dataclass(slots=True, eq=False)
class Reply:
    """A link on which a client receives the answers of `$cbs` or a management node."""

    link: Any
    node: Node
    address: str | None


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._socket: asyncio.Transport | None = None
        self._connection = proton.Connection()
        self._transport = proton.Transport(proton.Transport.SERVER)
        self._collector = proton.Collector()
        self._sasl = SaslServer(self._log_in)
        self._numbers = DeliveryNumbers(_MAX_FRAME_BYTES)
        self._grants: dict[str, Grant] = {}
        # Keyed by link: two of Proton's wrappers of the same link are equal.
        self._nodes: dict[Any, Node] = {}
        self._consumers: dict[Any, Consumer] = {}
        self._replies: list[Reply] = []
        self._link_used_at: dict[Any, float] = {}
        self._used_at = time.monotonic()
        self._tick: asyncio.TimerHandle | None = None
        self._closing = False
        self._early: bytes | None = None
        """What arrived while the connection was still being opened, as the latency has it."""

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._socket = transport
        self._connection.collect(self._collector)
        self._transport.max_frame_size = _MAX_FRAME_BYTES
        self._transport.bind(self._connection)
        self._dispatcher.connections.add(self)
        self._dispatcher.touch(self)
        delay = self._dispatcher.latency.of("open")
        if delay:
            self._early = b""
            self._after(delay, self._read_early)

    def _read_early(self) -> None:
        early, self._early = self._early, None
        self.data_received(early or b"")

    def data_received(self, data: bytes) -> None:
        if self._early is not None:
            self._early += data
            return
        try:
            amqp = self._numbers.receive(self._sasl.receive(data))
            at = 0
            while at < len(amqp) and (capacity := self._transport.capacity()) > 0:
                self._transport.push(amqp[at : at + capacity])
                at += capacity
                self._handle_events()
        except (SaslError, proton.TransportException):
            self._closing = True
        if len(data) > _HEARTBEAT_BYTES:
            self._used_at = time.monotonic()
        self._dispatcher.touch(self)

    def eof_received(self) -> None:
        self._end_input()

    def connection_lost(self, _: Exception | None) -> None:
        self._end_input()
        self._dispatcher.connections.discard(self)
        if self._tick is not None:
            self._tick.cancel()
        self._forget_all_links()
        self._transport.unbind()
        self._connection.free()
        self._handle_events()

    def _end_input(self) -> None:
        with contextlib.suppress(proton.TransportException):
            self._transport.close_tail()
            self._handle_events()

    def write_out(self) -> None:
        """Send what is ready: the SASL exchange's frames first, then Proton's."""
        socket = self._socket
        if socket is None or socket.is_closing():
            return
        socket.write(self._sasl.take_output())
        if not self._sasl.done:
            if self._sasl.failed or self._closing:
                socket.close()
            return
        deadline = self._transport.tick(time.monotonic())
        try:
            while True:
                pending = self._transport.pending()
                if pending <= 0:
                    break
                socket.write(self._numbers.send(self._transport.peek(pending)))
                self._transport.pop(pending)
                self._handle_events()
        except proton.TransportException:
            pending = -1
        if pending < 0 or self._closing:
            socket.close()
        elif deadline:
            if self._tick is not None:
                self._tick.cancel()
            delay = max(0.0, deadline - time.monotonic())
            loop = asyncio.get_running_loop()
            self._tick = loop.call_later(delay, self._dispatcher.touch, self)

    def abort(self) -> None:
        """Cut the socket; what has not been sent yet is lost."""
        if self._socket is not None:
            self._socket.abort()

    def hang_up(self) -> None:
        """Close the socket once everything is sent."""
        if self._socket is not None:
            self._socket.close()

    def end_idle(self, connection_seconds: float, link_seconds: float) -> None:
        """Close the connection, or detach links, that have been idle for longer."""
        now = time.monotonic()
        if now - self._used_at > connection_seconds:
            self.close(
                "amqp:connection:forced",
                f"The connection was inactive for more than the allowed {connection_seconds} "
                "seconds and is closed.",
            )
            return
        for link, used_at in list(self._link_used_at.items()):
            waits = link.is_sender and link.credit > 0
            if not waits and now - used_at > link_seconds and self._nodes[link].address != CBS:
                text = f"The link was idle for more than {link_seconds} seconds and is detached."
                self._refuse_link(link, Refused(500, "amqp:link:detach-forced", text))

    def close(self, condition: str, description: str) -> None:
        """Close the connection with an error."""
        self._connection.condition = _condition(condition, description)
        self._connection.close()
        self._forget_all_links()
        self._dispatcher.touch(self)

    def detach_all(self, description: str) -> int:
        """Detach all links but those to `$cbs`; return how many."""
        links = [consumer.link for consumer in self._consumers.values()]
        links += [reply.link for reply in self._replies if reply.node.address != CBS]
        for link in self._link_used_at:
            node = self._nodes.get(link)
            if link.is_receiver and node is not None and node.address != CBS:
                links.append(link)
        for link in links:
            self._refuse_link(link, Refused(500, "amqp:link:detach-forced", description))
        return len(links)

    # Proton's events

    def _handle_events(self) -> None:
        while (event := self._collector.peek()) is not None:
            handler = _HANDLERS.get(event.type)
            if handler is not None:
                handler(self, event)
            self._collector.pop()

    def _log_in(self, key_name: str, key: str) -> bool:
        """Accept a shared access key as user name and password, for the whole namespace."""
        for rule in self._dispatcher.rules:
            if rule.key_name == key_name and hmac.compare_digest(rule.key.encode(), key.encode()):
                self._grants[""] = Grant("", rule.rights, float("inf"))
                return True
        return False

    def _on_connection_remote_open(self, event: Any) -> None:
        event.connection.container = "local-broker"
        event.connection.open()

    def _on_connection_remote_close(self, event: Any) -> None:
        event.connection.close()
        self._forget_all_links()

    def _on_session_remote_open(self, event: Any) -> None:
        event.session.open()

    def _on_session_remote_close(self, event: Any) -> None:
        event.session.close()
        for link in list(self._nodes):
            if link.session == event.session:
                self._forget_link(link)

    def _on_transport_closed(self, _: Any) -> None:
        self._closing = True

    def _on_link_remote_open(self, event: Any) -> None:
        link = event.link
        terminus = link.remote_source if link.is_sender else link.remote_target
        address = entity_path(terminus.address or "")
        self._with_fault(
            "attach",
            address,
            perform=lambda: self._attach(link, terminus, address),
            refuse=lambda fault: self._refuse_link(link, _refused(fault)),
        )

    def _attach(self, link: Any, terminus: Any, address: str) -> None:
        try:
            if terminus.type == _COORDINATOR:
                raise Refused(501, "amqp:not-implemented", "Transactions are not emulated.")
            node = self._find_node(address)
            if node.queue is not None and not node.is_management:
                self._authorize("Listen" if link.is_sender else "Send", node)
                if link.is_sender and "com.microsoft:session-filter" in _filters(terminus):
                    raise Refused(400, "amqp:not-allowed", "Sessions are not emulated.")
                if link.is_receiver and node.queue.dead_letters is None:
                    text = "A dead-letter queue accepts no messages from senders."
                    raise Refused(400, "amqp:not-allowed", text)
        except Refused as refused:
            self._refuse_link(link, refused)
            return
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        link.snd_settle_mode = link.remote_snd_settle_mode
        link.rcv_settle_mode = link.remote_rcv_settle_mode
        link.max_message_size = MAX_MESSAGE_BYTES
        self._nodes[link] = node
        self._link_used_at[link] = time.monotonic()
        if link.is_receiver:
            link.open()
            link.flow(_SENDER_CREDIT)
        elif node.queue is None or node.is_management:
            self._replies.append(Reply(link, node, link.remote_target.address))
            link.open()
        else:
            deletes = link.remote_snd_settle_mode == proton.Link.SND_SETTLED
            self._consumers[link] = Consumer(self, link, node.queue, deletes)
            link.open()
            self._on_credit(link)
        self._dispatcher.touch(self)

    def _find_node(self, address: str) -> Node:
        if address.lower() == CBS:
            return Node(CBS, None, True)
        is_management = address.lower().endswith(_MANAGEMENT_SUFFIX)
        name = address[: -len(_MANAGEMENT_SUFFIX)] if is_management else address
        queue = self._dispatcher.namespace.find(name)
        if queue is None:
            text = f"The messaging entity '{name}' could not be found."
            raise Refused(404, "amqp:not-found", text)
        return Node(address, queue, is_management)

    def _authorize(self, right: str, node: Node) -> None:
        assert node.queue is not None
        now = self._dispatcher.now()
        if not any(g.allows(right, node.queue.name, now) for g in self._grants.values()):
            text = f"Unauthorized access. '{right}' claim is required to use '{node.address}'."
            raise Refused(401, "amqp:unauthorized-access", text)

    def _refuse_link(self, link: Any, refused: Refused) -> None:
        link.condition = _condition(refused.condition, refused.description)
        if link.state & proton.Endpoint.LOCAL_UNINIT:
            # A refused link is attached without a terminus and detached at once (AMQP 1.0, 2.6.3).
            terminus = link.source if link.is_sender else link.target
            terminus.type = proton.Terminus.UNSPECIFIED
            link.open()
        link.close()
        self._forget_link(link)
        self._dispatcher.touch(self)

    def _on_link_remote_close(self, event: Any) -> None:
        event.link.close()
        self._forget_link(event.link)

    def _on_link_remote_detach(self, event: Any) -> None:
        event.link.detach()
        self._forget_link(event.link)

    def _forget_link(self, link: Any) -> None:
        """Drop a link; what it delivered stays locked until the locks expire, as in Service Bus."""
        self._nodes.pop(link, None)
        self._link_used_at.pop(link, None)
        consumer = self._consumers.pop(link, None)
        if consumer is not None:
            self._dispatcher.stop_waiting(consumer)
        self._replies = [reply for reply in self._replies if reply.link != link]

    def _forget_all_links(self) -> None:
        for link in list(self._nodes):
            self._forget_link(link)

    def _on_link_flow(self, event: Any) -> None:
        link = event.link
        if link.is_sender:
            self._on_credit(link)

    def _on_credit(self, link: Any) -> None:
        consumer = self._consumers.get(link)
        if consumer is not None and link.credit > 0 and not consumer.paused:
            self._dispatcher.wait_for_message(consumer)
        self._dispatcher.touch(self)

    def withhold(self, consumer: Consumer, fault: Fault) -> None:
        """Apply a fault to a consumer in place of a delivery."""

        def act() -> None:
            consumer.paused = False
            if consumer.link not in self._consumers:
                return  # the client has gone in the meantime
            if fault.condition is not None:
                self._refuse_link(consumer.link, _refused(fault))
            elif not fault.drop:
                consumer.skip_fault = True
                self._dispatcher.wait_for_message(consumer)
                self._dispatcher.touch(self)

        if fault.delay_seconds:
            consumer.paused = True
            asyncio.get_running_loop().call_later(fault.delay_seconds, act)
        else:
            act()

    def transfer(self, consumer: Consumer, lock_token: bytes, encoded: bytes) -> None:
        """Send a message to a consumer."""
        link = consumer.link
        # Proton takes tags as text, which is why all bytes of a lock token are below 0x80.
        delivery = link.delivery((lock_token or b"\0").decode("ascii"))
        link.stream(encoded)
        link.advance()
        if consumer.deletes:
            delivery.settle()
        self._link_used_at[link] = time.monotonic()
        self._dispatcher.touch(self)

    def _on_delivery(self, event: Any) -> None:
        delivery = event.delivery
        link = event.link
        self._link_used_at[link] = time.monotonic()
        if link.is_receiver:
            if delivery.aborted:
                delivery.settle()
            elif delivery.readable and not delivery.partial:
                encoded = link.recv(delivery.pending)
                link.advance()
                if link.credit < _SENDER_CREDIT // 2:
                    link.flow(_SENDER_CREDIT - link.credit)
                self._on_transfer(link, delivery, bytes(encoded or b""))
        elif delivery.updated:
            self._on_disposition(link, delivery)

    # Messages from senders

    def _on_transfer(self, link: Any, delivery: Any, encoded: bytes) -> None:
        node = self._nodes.get(link)
        if node is None:
            delivery.settle()
        elif node.is_management:
            self._on_request(node, delivery, encoded)
        else:
            assert node.queue is not None
            queue = node.queue
            self._with_fault(
                "send",
                queue.name,
                perform=lambda: self._accept_transfer(queue, delivery, encoded),
                refuse=lambda fault: self._reject(delivery, _refused(fault)),
                perform_silently=lambda: self._enqueue_all(queue, encoded),
            )

    def _accept_transfer(self, queue: Queue, delivery: Any, encoded: bytes) -> None:
        try:
            if delivery.remote_state == _TRANSACTIONAL_STATE:
                raise Refused(501, "amqp:not-implemented", "Transactions are not emulated.")
            self._enqueue_all(queue, encoded)
        except Refused as refused:
            self._reject(delivery, refused)
            return
        delivery.update(proton.Delivery.ACCEPTED)
        delivery.settle()
        self._dispatcher.touch(self)

    def _enqueue_all(self, queue: Queue, encoded: bytes) -> None:
        if len(encoded) > MAX_MESSAGE_BYTES:
            text = f"The transfer has {len(encoded)} bytes; {MAX_MESSAGE_BYTES} are allowed."
            raise Refused(400, "amqp:link:message-size-exceeded", text)
        try:
            messages: list[Message] = message.unpack(encoded)
        except EncodingError as error:
            raise Refused(400, "amqp:decode-error", str(error)) from error
        for item in messages:
            queue.check(item)  # a batch is accepted as a whole or not at all
        for item in messages:
            queue.send(item, self._dispatcher.now())

    def _reject(self, delivery: Any, refused: Refused) -> None:
        delivery.local.condition = _condition(refused.condition, refused.description)
        delivery.update(proton.Delivery.REJECTED)
        delivery.settle()
        self._dispatcher.touch(self)

    # Settlements on the link that received the message

    def _on_disposition(self, link: Any, delivery: Any) -> None:
        state = delivery.remote_state
        consumer = self._consumers.get(link)
        settle = _SETTLEMENTS.get(state)
        if settle is None or consumer is None:
            if state == _TRANSACTIONAL_STATE:
                text = "Transactions are not emulated."
                self._reject(delivery, Refused(501, "amqp:not-implemented", text))
            elif delivery.settled:
                delivery.settle()
            return
        operation, arguments = settle(delivery)
        queue = consumer.queue
        token = delivery.tag.encode("ascii")
        settled_by_client = delivery.settled
        method = getattr(queue, operation.replace("-", "_"))

        def perform() -> None:
            try:
                method(token, self._dispatcher.now(), *arguments)
            except Refused as refused:
                self._reject(delivery, refused)
                return
            delivery.update(state)
            delivery.settle()
            self._dispatcher.touch(self)

        def perform_silently() -> None:
            method(token, self._dispatcher.now(), *arguments)

        if settled_by_client:
            # The client expects no answer, but the settlement counts.
            with contextlib.suppress(Refused):
                perform_silently()
            delivery.settle()
            self._dispatcher.touch(self)
            return
        self._with_fault(
            operation,
            queue.name,
            perform=perform,
            refuse=lambda fault: self._reject(delivery, _refused(fault)),
            perform_silently=perform_silently,
        )

    # Requests to $cbs and management nodes

    def _on_request(self, node: Node, delivery: Any, encoded: bytes) -> None:
        delivery.update(proton.Delivery.ACCEPTED)
        delivery.settle()
        self._dispatcher.touch(self)
        try:
            message_id, reply_to, properties, body = message.request_value(encoded)
        except EncodingError:
            return  # without a readable id there is no request to answer
        operation = str(properties.get("operation", ""))
        is_cbs = node.queue is None
        short = operation.removeprefix(management.PREFIX)

        def execute() -> Answer:
            try:
                if node.queue is None:
                    return self._put_token(operation, properties, body)
                self._authorize(management.right_needed(short), node)
            except Refused as refused:
                return Answer.of(refused)
            return management.execute(node.queue, short, body, self._dispatcher.now())

        def answer(content: Answer) -> None:
            self._answer(node, reply_to, content.encode(message_id, for_cbs=is_cbs))

        self._with_fault(
            CBS if is_cbs else short,
            "" if node.queue is None else node.queue.name,
            perform=lambda: answer(execute()),
            refuse=lambda fault: answer(Answer.of(_refused(fault))),
            perform_silently=execute,
        )

    def _put_token(self, operation: str, properties: dict[str, Any], body: Any) -> Answer:
        if operation != "put-token":
            raise Refused(501, "amqp:not-implemented", f"{operation}: not emulated.")
        # The stated type is no guide: azure-servicebus calls its SAS tokens "jwt".
        grant = verify(str(body), self._dispatcher.rules, self._dispatcher.now())
        self._grants[str(properties.get("name"))] = grant
        return Answer(202, "Accepted")

    def _answer(self, node: Node, reply_to: str | None, encoded: bytes) -> None:
        candidates = [r for r in self._replies if r.node.address.lower() == node.address.lower()]
        exact = [reply for reply in candidates if reply.address == reply_to]
        for reply in (exact or candidates)[-1:]:
            link = reply.link
            delivery = link.delivery(link.delivery_tag())
            link.stream(encoded)
            link.advance()
            delivery.settle()
        self._dispatcher.touch(self)

    # Faults

    def _with_fault(
        self,
        operation: str,
        queue: str,
        *,
        perform: Callable[[], None],
        refuse: Callable[[Fault], None],
        perform_silently: Callable[[], Any] | None = None,
    ) -> None:
        """Carry out an operation, or the fault that was asked for in its place.

        The latency comes first.
        """
        fault = self._dispatcher.faults.next_fault(operation, queue)

        def act() -> None:
            if fault is None or (fault.condition is None and not fault.drop):
                perform()
                return
            if fault.performed and perform_silently is not None:
                with contextlib.suppress(Refused):
                    perform_silently()
                self._dispatcher.touch(self)
            if not fault.drop:
                refuse(fault)

        delay = self._dispatcher.latency.of(operation)
        self._after(delay if fault is None else delay + fault.delay_seconds, act)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        """Act after some seconds, unless the client has gone by then."""

        def act_if_open() -> None:
            closed = self._socket is None or self._socket.is_closing()
            if not closed and not self._connection.state & proton.Endpoint.LOCAL_CLOSED:
                act()

        if seconds:
            asyncio.get_running_loop().call_later(seconds, act_if_open)
        else:
            act()


def _refused(fault: Fault) -> Refused:
    return Refused(fault.status, fault.condition or "amqp:internal-error", "A fault was asked for.")


def _condition(name: str, description: str) -> Any:
    """Make an error with an info map: azure-servicebus fails on an error without one."""
    info = {proton.symbol("com.microsoft:tracking-id"): "local-broker"}
    return proton.Condition(name, description, info)


def _filters(terminus: Any) -> dict[Any, Any]:
    data = terminus.filter
    data.rewind()
    return (data.get_object() or {}) if data.next() else {}


def _dead_letter_arguments(delivery: Any) -> tuple[Any, ...]:
    condition = delivery.remote.condition
    info = dict((condition and condition.info) or {})
    reason = info.pop("DeadLetterReason", None)
    description = info.pop("DeadLetterErrorDescription", None)
    return (reason, description, info)


def _on_modified(delivery: Any) -> tuple[str, tuple[Any, ...]]:
    changes = delivery.remote.annotations or {}
    if delivery.remote.undeliverable:
        return "defer", (changes,)
    # The .NET and JavaScript SDKs do not say delivery-failed; the service counts the delivery.
    return "abandon", (changes,)


_SETTLEMENTS: dict[Any, Callable[[Any], tuple[str, tuple[Any, ...]]]] = {
    proton.Delivery.ACCEPTED: lambda _: ("complete", ()),
    proton.Delivery.REJECTED: lambda delivery: ("dead-letter", _dead_letter_arguments(delivery)),
    proton.Delivery.RELEASED: lambda _: ("release", ()),
    proton.Delivery.MODIFIED: _on_modified,
}

_HANDLERS: dict[Any, Callable[[Connection, Any], None]] = {
    _Event.CONNECTION_REMOTE_OPEN: Connection._on_connection_remote_open,
    _Event.CONNECTION_REMOTE_CLOSE: Connection._on_connection_remote_close,
    _Event.SESSION_REMOTE_OPEN: Connection._on_session_remote_open,
    _Event.SESSION_REMOTE_CLOSE: Connection._on_session_remote_close,
    _Event.LINK_REMOTE_OPEN: Connection._on_link_remote_open,
    _Event.LINK_REMOTE_CLOSE: Connection._on_link_remote_close,
    _Event.LINK_REMOTE_DETACH: Connection._on_link_remote_detach,
    _Event.LINK_FLOW: Connection._on_link_flow,
    _Event.DELIVERY: Connection._on_delivery,
    _Event.TRANSPORT_CLOSED: Connection._on_transport_closed,
}
