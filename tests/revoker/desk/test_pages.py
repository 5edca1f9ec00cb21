"""What the desk shows and does, over a real broker."""

import asyncio
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from urllib.parse import urlencode

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from delete_session.message import FIRST_ENQUEUED, History
from delete_session.receipt import Data, make_receipt
from revoker.copies import AT
from revoker.desk.desk import Desk
from revoker.desk.filters import AGES, PAGE, Filter
from revoker.failure import Failure
from revoker.log_query import query
from revoker.messages import Seen
from revoker.remedies import for_reason, plain
from revoker.status import findings
from tests.local.broker_process import until
from tests.revoker.conftest import KILLED, LETTERS, OneQueue, dead_letter, retry_copy_of, revoker
from tests.revoker.desk.conftest import Browser, opened, shown

SCRIPT = "<script>document.title='taken'</script>"
HOSTILE = f"{SCRIPT}\u202e\x1b[31m"
SHOWN = f"{SCRIPT}\\u202e\\x1b[31m"
"""What a page has to show of it."""


def test_overview_shows_what_waits_and_what_was_given_up(desk: Browser, seeded: OneQueue) -> None:
    """Counts, reasons and what to do about each are on the first page."""
    until(lambda: "Dead letters 4" in desk.text("/"), "the first reading")
    page = desk.text("/")
    assert "Nothing waits" in page
    for reason in set(LETTERS.values()):
        assert f"{reason} : 2" in page
        known = for_reason(reason)
        assert plain(known.remedy)[1:] in page
    assert "workbook" in desk.text("/flow")  # no local cloud was named


def test_waiting_messages_tell_what_they_met(queue: OneQueue, record: Path) -> None:
    """A retry shows its last error; the overview has what to do about a fault of the deployment."""
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue.name) as sender,
    ):
        history = History(
            root_id="m-1",
            first_enqueued_at=datetime.now(UTC),
            attempts=3,
            copies=1,
            last_error="HTTP 403 PermissionDenied: No access.",
        )
        retry = ServiceBusMessage(
            '{"sessionId": "a"}',
            message_id=history.copy_id,
            application_properties=dict(history.write()),  # type: ignore[arg-type]
        )
        sender.schedule_messages(retry, datetime.now(UTC) + timedelta(hours=1))
    with opened(queue.environment, record) as desk:
        until(lambda: "PermissionDenied" in desk.text("/waiting"), "the first reading")
        assert "assign it the role that infra/ defines" in desk.text("/")
        assert "scheduled" in desk.text("/waiting")


def test_overview_says_what_status_says(seeded: OneQueue, record: Path) -> None:
    """Nothing ends, and sessions were not found: both name the same causes, in the same order."""
    environment = seeded.environment | {"OUTCOME_QUEUE": KILLED}
    now = datetime.now(UTC)
    with ServiceBusClient.from_connection_string(environment["ServiceBusConnection"]) as client:
        with client.get_queue_sender(seeded.name) as sender:
            sender.send_messages(ServiceBusMessage('{"sessionId": "a"}'))
        with client.get_queue_sender(environment["OUTCOME_QUEUE"]) as sender:
            for number in range(3):
                history = History(root_id=f"m{number}", first_enqueued_at=now)
                data = Data(
                    outcome="already_gone",
                    attempts=1,
                    published_at=now,
                    root_message_id=history.root_id,
                    publisher="shop",
                )
                sender.send_messages(
                    make_receipt(
                        data,
                        history=history,
                        correlation_id=None,
                        trace={},
                        queue=seeded.name,
                        time=now,
                    )
                )
    advice = revoker(environment, "status", "--json").json["advice"]
    assert advice[0].startswith("Look at the function's log.")
    assert advice[1].startswith("shop: 3 of 3 sessions were not found")
    with opened(environment, record) as desk:
        until(lambda: "Active 1" in desk.text("/"), "the first reading")
        snapshots = desk.desk.snapshots
        began, first = snapshots._unended
        snapshots._unended = began - 60, first
        snapshots.outdate()
        page = desk.text("/")
        assert "None of the waiting messages has ended for 6" in page
        assert " ".join(advice) in page


def test_dead_letters_are_filtered_by_reason_session_and_age(desk: Browser) -> None:
    """Each condition leaves out what does not meet it; the buttons name what they are about."""
    until(lambda: "all 4" in desk.text("/dead-letters"), "the first reading")

    def listed(query: str) -> set[str]:
        page = desk.get(f"/dead-letters?{query}").text
        return set(re.findall(r'href="/sessions/(\w+)"', page))

    assert listed("") == set(LETTERS)
    assert listed("reason=Two") == {"b", "d"}
    assert listed("reason=Two&session=b") == {"b"}
    assert listed("reason=One&session=b") == set()
    assert listed("age=last-1h") == set()  # they were first enqueued long ago
    assert listed("age=over-48h") == set(LETTERS)
    assert listed("age=nonsense&page=nonsense&number=-1") == set(LETTERS)
    assert "Resubmit all 2" in desk.text("/dead-letters?reason=Two")


def test_ages_divide_time() -> None:
    """What one choice of an age takes, its opposite leaves."""
    now = datetime(2026, 1, 10, tzinfo=UTC)
    last, over = (Filter(age=age).selection(now) for age in ("last-24h", "over-24h"))
    assert last.since == over.before == now - timedelta(hours=24)
    assert (last.before, over.since) == (None, None)
    for age in AGES:
        selection = Filter(age=age).selection(now)
        assert (selection.since is None) != (selection.before is None)


def test_a_dead_letter_has_its_history_and_its_body_on_request(
    desk: Browser, seeded: OneQueue
) -> None:
    """Properties and history are shown at once, the body only on request."""
    number = seeded.messages(dead=True)[0]["sequence_number"]
    page = desk.text(f"/dead-letters/{number}")
    assert "first enqueued" in page
    assert "after 7 attempts; the last error: HTTP 503" in page
    assert "property team fraud" in page
    assert "sessionId" not in page
    assert query("a").splitlines()[0] in page
    assert '{"sessionId": "a"}' in desk.text(f"/dead-letters/{number}/body")
    missing = desk.get("/dead-letters/999")
    assert missing.status_code == 404
    assert "no dead letter number 999" in missing.text


def test_whatever_a_message_holds_is_shown_as_text(
    desk: Browser, seeded: OneQueue, record: Path
) -> None:
    """No page obeys markup, control or bidi characters, or breaks because of an absurd date."""
    absurd = "0001-01-01T00:00:00+14:00"
    lines = [{"at": at, "session_id": "x\ud800", "reason": HOSTILE} for at in (absurd, None, 9)]
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    properties = {HOSTILE: HOSTILE, AT: absurd, FIRST_ENQUEUED: absurd}
    dead_letter(seeded, f'{{"sessionId": "{HOSTILE}"}}', HOSTILE, f"why: {HOSTILE}", properties)
    number = seeded.messages(dead=True)[-1]["sequence_number"]
    desk.desk.snapshots.outdate()
    until(lambda: SHOWN in desk.text("/"), "a reading of the queue")
    filtered = f"/dead-letters?{urlencode({'reason': HOSTILE})}"
    paths = ["/", "/dead-letters", filtered, f"/dead-letters/{number}", "/record"]
    pages = [desk.get(path) for path in [*paths, f"/dead-letters/{number}/body"]]
    pages.append(desk.post("/plans", action="discard", number=str(number)))
    for page in pages:
        assert page.status_code == 200
        assert SCRIPT not in page.text, page.url
        assert SHOWN in shown(page), page.url
        assert "\u202e" not in shown(page), page.url
    assert "Resubmit this one" in desk.text(filtered)  # the filter has the reason as it is
    assert SCRIPT not in desk.get(f"/sessions?id={SCRIPT}").text


def test_resubmits_what_was_shown(desk: Browser, seeded: OneQueue, record: Path) -> None:
    """The plan names the dead letters, the job puts back these and no others, and records it."""
    plan = desk.post("/plans", action="resubmit", reason="Two")
    assert "Resubmit 2 dead letters?" in plan.text
    assert str(record) in plan.text
    assert seeded.counts["active"] == 0
    dead_letter(seeded, '{"sessionId": "later"}', "Two", "after the plan was made")
    (path,) = re.findall(r'action="(/plans/\w+)"', plan.text)
    desk.post(path)
    job = path.replace("plans", "jobs")
    until(lambda: "2 of 2 resubmitted." in desk.text(job), "the end of the job")
    assert (seeded.counts["active"], seeded.counts["dead_lettered"]) == (2, 3)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(line["done"], line["session_id"], line["through"]) for line in lines] == [
        ("resubmitting", "b", "desk"),
        ("resubmitted", "b", "desk"),
        ("resubmitting", "d", "desk"),
        ("resubmitted", "d", "desk"),
    ]
    assert len({line["operation"] for line in lines}) == 1
    page = desk.text("/record")
    assert lines[0]["who"]["os_user"] in page
    assert "the desk" in page
    assert str(record) in page
    assert "Other folders may have others" in page
    assert "resubmitted through the desk; it was Two; by" in desk.text("/sessions/b")
    assert "resubmitted (number 1) after Two" in desk.text("/sessions/b")
    assert desk.post(path).status_code == 404  # a plan is carried out once
    assert seeded.counts["active"] == 2


def test_discards_only_if_one_is_sure(desk: Browser, seeded: OneQueue, record: Path) -> None:
    """It says what else carries each session, warns where nothing does, and wants a tick."""
    assert seeded.revoker("publish", "a").code == 0
    plan = desk.post("/plans", action="discard", reason="One")
    assert "carries the sessions of 1 of these 2 publications" in plan.text
    assert "a message that is active" in plan.text
    (path,) = re.findall(r'action="(/plans/\w+)"', plan.text)
    refused = desk.post(path)
    assert refused.status_code == 400
    assert "Nothing was discarded" in refused.text
    assert (seeded.counts["dead_lettered"], record.exists()) == (4, False)
    assert "2 of 2 discarded" in desk.carry_out("discard", reason="One")
    assert seeded.counts["dead_lettered"] == 2
    assert record.read_text().count('"done": "discarded"') == 2
    assert "discarded" in desk.text("/record")


def test_the_record_shows_what_the_command_did(
    desk: Browser, seeded: OneQueue, record: Path
) -> None:
    """A publication, a look at a body by either, and an audit, with who did it."""
    assert seeded.revoker("publish", "p1", "--record", str(record)).code == 0
    desk.get(f"/dead-letters/{seeded.messages(dead=True)[0]['sequence_number']}/body")
    with record.open("a") as file:
        who = {"object_id": "7", "name": "ada@example.com", "os_user": "ada", "machine": "m"}
        audited = {"done": "audited", "through": "command", "evidence": "e.jsonl", "who": who}
        file.write(json.dumps(audited) + "\n" + "[" * 100_000 + "\n")
    page = desk.text("/record")
    assert "1 could not be read: line 5 of the record." in page
    assert "p1" in desk.text("/sessions/p1")
    for text in ("published", "p1", "body_viewed", "e.jsonl", "ada@example.com (ada on m)"):
        assert text in page, text
    assert "None" not in page


def test_what_the_desk_records_is_uploaded(desk: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each act sends its own lines, and a failure is no failure of the act."""
    sent: list[str] = []

    async def upload(_: str, lines: Iterable[bytes]) -> int:
        sent.extend(json.loads(line)["Line"]["done"] for line in lines)
        raise Failure("HTTP 403", "")

    monkeypatch.setenv("REVOKER_RECORD_URL", "https://workspace")
    monkeypatch.setattr("revoker.upload.upload", upload)
    assert desk.get("/dead-letters/1/body").status_code == 200
    assert "2 of 2 discarded" in desk.carry_out("discard", reason="One")
    until(lambda: sent == ["body_viewed", *["discarding", "discarded"] * 2], "both uploads")


def test_an_original_and_its_copy_are_one_publication(
    desk: Browser, seeded: OneQueue, record: Path
) -> None:
    """Where both are dead letters, a plan says so, and what else is known of each publication."""
    copy = retry_copy_of("m-1")
    body = '{"sessionId": "s"}'
    dead_letter(seeded, body, "Three", message_id="m-1")
    dead_letter(seeded, body, "Three", properties=dict(copy.write()), message_id=copy.copy_id)
    dead_letter(seeded, body, "Four", message_id="m-2")
    dead_letter(seeded, '{"sessionId": "t"}', "Three", message_id="m-1" + ":resubmit:1")
    original, retried, again, other = (
        each["sequence_number"] for each in seeded.messages(dead=True)[-4:]
    )
    plan = shown(desk.post("/plans", action="discard", reason="Three"))
    assert "Discard 3 dead letters?" in plan
    assert "These 3 dead letters are 2 publications" in plan
    assert f"{original}, {retried} s Three dead letter number {again}, Four" in plan
    assert "carries the sessions of 1 of these 2 publications" in plan  # t, not s
    assert f"{other} t Three nothing else" in plan
    plan = shown(desk.post("/plans", action="discard", number=str(retried)))
    assert f"the same publication: dead letter number {original}, Three" in plan
    assert "Warning" not in plan
    page = desk.text(f"/dead-letters/{original}")
    same, _, others = page.partition("Other publications of its session")
    assert f"dead letter number {retried}" in same
    assert f"dead letter number {again}" in others


def test_says_that_nothing_is_there_only_while_it_knows(
    queue: OneQueue, record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty queue is one only if it was read in the last ten seconds, and could be read now."""
    empty = "There are no dead letters."
    paths = ("/", "/dead-letters", "/waiting", "/sessions/a")

    async def hangs() -> list[list[Seen]]:
        return await asyncio.Future()

    async def fails() -> list[list[Seen]]:
        raise Failure("It cannot be reached.", "Check the name.")

    with opened(queue.environment, record) as desk:
        until(lambda: empty in desk.text("/dead-letters"), "the first reading")
        assert f"Nothing waits. {empty}" in desk.text("/")
        snapshots = desk.desk.snapshots
        monkeypatch.setattr(snapshots, "_look", hangs)
        until(lambda: snapshots._reading is not None or not desk.text("/"), "the next reading")
        assert snapshots._last is not None
        long_ago = datetime.now(UTC) - timedelta(seconds=600)
        snapshots._last = replace(snapshots._last, taken_at=long_ago)
        for path in paths:
            page = desk.text(path)
            assert "What follows is out of date: it was read" in page
            assert "10 min ago" in page
            assert "There are no" not in page
            assert "Nothing waits" not in page
        assert snapshots._reading is not None
        assert desk.client.portal is not None
        desk.client.portal.call(snapshots.close)
        monkeypatch.setattr(snapshots, "_look", fails)
        until(lambda: "cannot be read" in desk.text("/"), "the failure")
        for path in paths:
            page = desk.text(path)
            assert "The queue cannot be read. It cannot be reached." in page
            assert "What follows is out of date" in page
            assert "There are no" not in page
            assert "Nothing waits" not in page


def test_does_nothing_without_a_record(seeded: OneQueue, tmp_path: Path) -> None:
    """A record that cannot be written ends the job before it begins."""
    with opened(seeded.environment, tmp_path / "no" / "record.jsonl") as desk:
        page = desk.carry_out("resubmit")
    assert "cannot be written" in page
    assert "0 of 4 were resubmitted" in page
    assert seeded.counts["dead_lettered"] == 4


def test_says_when_the_queue_cannot_be_read(seeded: OneQueue, record: Path) -> None:
    """A missing right is named with its remedy, on a page that still works."""
    connection = seeded.broker.with_key("sender", "c2Vj")
    with opened(seeded.environment | {"ServiceBusConnection": connection}, record) as desk:
        until(lambda: "no right to Listen" in desk.text("/"), "the first reading")
        assert "Data Receiver" in desk.text("/dead-letters")
        failed = desk.post("/plans", action="resubmit")
        assert failed.status_code == 502
        assert "no right to Listen" in failed.text


def test_the_doctor_examines_on_request(desk: Browser) -> None:
    """Nothing is examined before the button is pressed; then each check has its result."""
    assert "Examined" not in desk.text("/doctor")
    page = desk.post("/doctor").text
    assert "Service Bus right to receive" in page or "receive" in page
    assert "failed" in page  # no Face API was named
    assert "What to do:" in page


def test_wrong_questions_have_an_answer(desk: Browser) -> None:
    """What is no session id, no action or no page is said to be so."""
    assert desk.get("/sessions?id=..%2Fbad").status_code == 400
    assert desk.get("/sessions/a%20b").status_code == 400
    assert desk.post("/plans", action="destroy").status_code == 400
    assert desk.get("/nothing").status_code == 404
    assert desk.get("/jobs/0").status_code == 404


def test_wants_its_settings() -> None:
    """Without a namespace there is nothing to show."""
    with pytest.raises(Failure, match="ServiceBusConnection"):
        Desk({}, Path("record.jsonl"), 1)


@pytest.fixture
def three_pages(record: Path, queue: OneQueue) -> Iterator[Browser]:
    """A desk over a queue whose messages fill two pages and a bit of a third."""
    ids = [f"s{number:03}" for number in range(2 * PAGE + 1)]
    assert queue.revoker("publish", *ids).code == 0
    with opened(queue.environment, record) as browser:
        yield browser


def test_ten_thousand_dead_letters_take_no_second_a_page(
    desk: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the list is, a page of it is there at once, whatever it is filtered by."""
    until(lambda: "all 4" in desk.text("/dead-letters"), "the first reading")
    snapshots = desk.desk.snapshots
    snapshot = snapshots._last
    assert snapshot is not None
    dead = [
        replace(snapshot.dead[number % 4], sequence_number=number, session_id=f"s{number}")
        for number in range(10_000)
    ]
    reading = replace(snapshot.reading, waiting=[], dead=dead)
    many = replace(snapshot, reading=reading, status=findings(reading))
    monkeypatch.setattr(snapshots, "_last", many)
    monkeypatch.setattr(snapshots, "_is_fresh", lambda: True)
    for wanted in ("", "page=200", "reason=Two&page=100", "session=s9999", "age=over-48h&page=7"):
        began = time.process_time()
        page = desk.text(f"/dead-letters?{wanted}")
        assert time.process_time() - began < 1, wanted
        assert re.search(r" of (10,000|5,000|1) ", page), wanted


def test_long_lists_have_pages(three_pages: Browser) -> None:
    """Every message is on one page, in order, and a page beyond the last is the last."""
    until(lambda: "1 to 50 of 101" in three_pages.text("/waiting"), "the first reading")
    seen = [
        re.findall(r'href="/sessions/(s\d+)"', three_pages.get(f"/waiting?page={page}").text)
        for page in (1, 2, 3)
    ]
    assert [len(each) for each in seen] == [PAGE, PAGE, 1]
    assert sorted(chain.from_iterable(seen)) == [f"s{number:03}" for number in range(2 * PAGE + 1)]
    assert "101 to 101 of 101" in three_pages.text("/waiting?page=77")
