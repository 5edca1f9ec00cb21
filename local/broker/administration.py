"""The management interface over HTTP, read only: a queue's properties and counts as Atom XML.

Source: "Service Bus REST API: entities". Administration clients and explorers read from it. The
token must grant Manage, as in Azure.
"""

import datetime
import math
import xml.etree.ElementTree as ET

import isodate  # type: ignore[import-untyped]
from aiohttp import web

from .dispatcher import Dispatcher
from .queues import Queue, Refused
from .tokens import verify

_ATOM = "http://www.w3.org/2005/Atom"
_SERVICE_BUS = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
_COUNTS = "http://schemas.microsoft.com/netservices/2011/06/servicebus"
_FOREVER = "P10675199DT2H48M5.4775807S"
_EPOCH = "1970-01-01T00:00:00Z"  # creation and access are not recorded


def routes(dispatcher: Dispatcher) -> list[web.RouteDef]:
    """Return the routes for a queue and for the list of queues."""

    def answer(content: ET.Element) -> web.Response:
        return web.Response(
            body=ET.tostring(content, encoding="utf-8", xml_declaration=True),
            content_type="application/atom+xml",
        )

    async def get_queues(request: web.Request) -> web.Response:
        _authorize(dispatcher, request, "")
        first = int(request.query.get("$skip", "0"))
        count = int(request.query.get("$top", "100"))
        queues = list(dispatcher.namespace.queues.values())[first : first + count]
        return answer(_feed([_entry(request, queue) for queue in queues]))

    async def get_queue(request: web.Request) -> web.Response:
        name = request.match_info["queue"]
        _authorize(dispatcher, request, name)
        dispatcher.namespace.advance(dispatcher.now())
        dispatcher.touch()
        queue = dispatcher.namespace.queues.get(name.lower())
        # The service answers for a queue that does not exist with an empty feed.
        return answer(_feed([]) if queue is None else _entry(request, queue))

    async def refuse(_: web.Request) -> web.Response:
        raise web.HTTPNotImplemented(text="The management interface is read only.")

    return [
        web.get("/$Resources/queues", get_queues),
        web.get("/$Resources/Queues", get_queues),
        web.get("/{queue:[^$].*}", get_queue),
        web.put("/{queue:[^$].*}", refuse),
        web.delete("/{queue:[^$].*}", refuse),
    ]


def _authorize(dispatcher: Dispatcher, request: web.Request, path: str) -> None:
    try:
        token = request.headers.get("Authorization", "")
        grant = verify(token, dispatcher.rules, dispatcher.now())
    except Refused as refused:
        raise web.HTTPUnauthorized(text=refused.description) from refused
    if not grant.allows("Manage", path, dispatcher.now()):
        raise web.HTTPUnauthorized(text="Manage claim is required for this operation.")


def _feed(entries: list[ET.Element]) -> ET.Element:
    feed = _element(_ATOM, "feed")
    _add(feed, _ATOM, "title", "Publicly Listed Services")
    _add(feed, _ATOM, "updated", _EPOCH)
    feed.extend(entries)
    return feed


def _entry(request: web.Request, queue: Queue) -> ET.Element:
    name = queue.settings.name
    entry = _element(_ATOM, "entry")
    _add(entry, _ATOM, "id", f"{request.scheme}://{request.host}/{name}")
    _add(entry, _ATOM, "title", name)
    _add(entry, _ATOM, "published", _EPOCH)
    _add(entry, _ATOM, "updated", _EPOCH)
    content = _add(entry, _ATOM, "content")
    content.set("type", "application/xml")
    content.append(_description(queue))
    return entry


def _description(queue: Queue) -> ET.Element:
    """Return the elements in the order in which the service has them: some clients rely on it."""
    settings, counts = queue.settings, queue.counts()
    description = _element(_SERVICE_BUS, "QueueDescription")

    def add(name: str, value: str | int | bool) -> None:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        _add(description, _SERVICE_BUS, name, text)

    add("LockDuration", _duration(settings.lock_seconds))
    add("MaxSizeInMegabytes", 1024)
    add("RequiresDuplicateDetection", settings.duplicate_detection)
    add("RequiresSession", False)
    add("DefaultMessageTimeToLive", _duration(settings.default_ttl_seconds))
    add("DeadLetteringOnMessageExpiration", settings.dead_letter_on_expiration)
    add("DuplicateDetectionHistoryTimeWindow", _duration(settings.duplicate_window_seconds))
    add("MaxDeliveryCount", settings.max_delivery_count)
    add("EnableBatchedOperations", True)
    add("SizeInBytes", queue.size())
    total = counts.active + counts.scheduled + counts.deferred + counts.dead_lettered
    add("MessageCount", total)
    add("IsAnonymousAccessible", False)
    add("Status", "Active")
    for name in ("CreatedAt", "UpdatedAt", "AccessedAt"):
        add(name, _EPOCH)
    add("SupportOrdering", True)
    details = _add(description, _SERVICE_BUS, "CountDetails")
    for name, count in (
        ("ActiveMessageCount", counts.active),
        ("DeadLetterMessageCount", counts.dead_lettered),
        ("ScheduledMessageCount", counts.scheduled),
        ("TransferMessageCount", 0),
        ("TransferDeadLetterMessageCount", 0),
    ):
        _add(details, _COUNTS, name, str(count))
    add("AutoDeleteOnIdle", _FOREVER)
    add("EnablePartitioning", False)
    add("EntityAvailabilityStatus", "Available")
    add("EnableExpress", False)
    return description


def _duration(seconds: float) -> str:
    if seconds == math.inf:
        return _FOREVER
    return str(isodate.duration_isoformat(datetime.timedelta(seconds=seconds)))


def _element(namespace: str, name: str) -> ET.Element:
    return ET.Element(f"{{{namespace}}}{name}")


def _add(parent: ET.Element, namespace: str, name: str, text: str | None = None) -> ET.Element:
    child = ET.SubElement(parent, f"{{{namespace}}}{name}")
    child.text = text
    return child
