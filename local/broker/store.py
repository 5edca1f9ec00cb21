"""What survives the process: messages, sequence numbers, seen message ids and the ledger.

Written to SQLite once per turn of the dispatcher, before any answer leaves. Safe against the death of
the process, not against loss of power (`synchronous=OFF`).
"""

import math
import sqlite3
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from .message import Message
from .queues import Entry, Event, Ledger, Namespace, State

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    queue TEXT, sequence_number INTEGER, encoded BLOB, state TEXT, enqueued_at REAL,
    expires_at REAL, delivery_count INTEGER, deferred INTEGER, scheduled_for REAL,
    PRIMARY KEY (queue, sequence_number));
CREATE TABLE IF NOT EXISTS sequence_numbers (queue TEXT PRIMARY KEY, last INTEGER);
CREATE TABLE IF NOT EXISTS identifiers (
    queue TEXT, message_id TEXT, seen_at REAL, PRIMARY KEY (queue, message_id));
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY, time REAL, queue TEXT, sequence_number INTEGER, message_id TEXT,
    event TEXT, reason TEXT, description TEXT, delivery_count INTEGER);
"""

_COLUMNS = attrgetter(*(column.name for column in fields(Event)))


class Store:
    """The state file; raises sqlite3.Error if it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.executescript(_SCHEMA)
        self._events_written = 0

    def load_ledger(self) -> Ledger:
        rows = self._database.execute("SELECT * FROM ledger ORDER BY seq")
        ledger = Ledger([Event(*row) for row in rows])
        self._events_written = len(ledger)
        return ledger

    def load(self, namespace: Namespace, now: float) -> None:
        """Load the stored messages into the namespace; ignore queues that are not configured."""
        for queue_name, message_id, seen_at in self._database.execute(
            "SELECT queue, message_id, seen_at FROM identifiers ORDER BY seen_at"
        ):
            queue = namespace.find(queue_name)
            if queue is not None:
                queue.restore_seen(message_id, seen_at)
        for row in self._database.execute(
            "SELECT queue, sequence_number, encoded, state, enqueued_at, expires_at,"
            " delivery_count, deferred, scheduled_for FROM messages ORDER BY sequence_number"
        ):
            queue = namespace.find(row[0])
            if queue is not None:
                queue.restore(
                    Entry(
                        sequence_number=row[1],
                        message=Message.decode(row[2]),
                        state=State(row[3]),
                        enqueued_at=row[4],
                        expires_at=math.inf if row[5] is None else row[5],
                        delivery_count=row[6],
                        deferred=bool(row[7]),
                        scheduled_for=row[8],
                    )
                )
        last = dict(self._database.execute("SELECT queue, last FROM sequence_numbers"))
        namespace.changes.clear()
        for queue in namespace.queues.values():
            if queue.dead_letters is not None:
                queue.dead_letters.recover(0, now)
            queue.recover(last.get(queue.name, 0), now)

    def commit(self, namespace: Namespace) -> None:
        """Store all changes in one transaction."""
        changes = namespace.changes
        events = namespace.ledger.after(self._events_written)
        if not changes and not events:
            return
        database = self._database
        database.execute("BEGIN")
        database.executemany(
            "DELETE FROM messages WHERE queue = ? AND sequence_number = ?",
            [key for key, entry in changes.entries.items() if entry is None],
        )
        database.executemany(
            "INSERT INTO messages VALUES (?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT DO UPDATE SET encoded=excluded.encoded, state=excluded.state,"
            " enqueued_at=excluded.enqueued_at, expires_at=excluded.expires_at,"
            " delivery_count=excluded.delivery_count, deferred=excluded.deferred",
            [_row(queue, entry) for (queue, _), entry in changes.entries.items() if entry],
        )
        database.executemany(
            "INSERT OR REPLACE INTO sequence_numbers VALUES (?,?)", changes.sequence_numbers.items()
        )
        database.executemany(
            "DELETE FROM identifiers WHERE queue = ? AND message_id = ?",
            changes.identifiers_forgotten,
        )
        database.executemany(
            "INSERT OR REPLACE INTO identifiers VALUES (?,?,?)", changes.identifiers_seen
        )
        database.executemany(
            "INSERT INTO ledger VALUES (?,?,?,?,?,?,?,?,?)", [_COLUMNS(event) for event in events]
        )
        database.execute("COMMIT")
        self._events_written += len(events)

    def close(self) -> None:
        self._database.close()


def _row(queue: str, entry: Entry) -> tuple[str | int | float | bytes | None, ...]:
    return (
        queue,
        entry.sequence_number,
        entry.message.encode(),
        entry.state,
        entry.enqueued_at,
        None if entry.expires_at == math.inf else entry.expires_at,
        entry.delivery_count,
        entry.deferred,
        entry.scheduled_for,
    )
