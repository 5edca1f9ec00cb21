"""`revoker publish` and what every verb shares."""

import asyncio
import codecs
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from azure.identity import CredentialUnavailableError
from azure.servicebus import ServiceBusClient
from azure.servicebus.exceptions import (
    MessagingEntityDisabledError,
    ServiceBusAuthorizationError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from delete_session.contract import SessionRevoked, parse
from revoker import publish as publishing
from revoker.failure import Exit, Failure
from revoker.ids import read_ids
from revoker.publish import message_id, new_run, new_traceparent
from revoker.service_bus_errors import explain
from tests.local.broker_process import until
from tests.revoker.conftest import LETTERS, OneQueue, revoker


def test_publishes_each_session_once_with_a_message_id_and_a_trace_context(
    queue: OneQueue, tmp_path: Path
) -> None:
    """Every id of the arguments and of the file becomes one message that the contract allows."""
    ids = [str(uuid4()) for _ in range(250)]
    file = tmp_path / "ids.txt"
    file.write_text("# from the incident\n\n" + "\n".join([*ids, ids[3]]) + "\n")
    ran = queue.revoker("publish", "one", "--file", str(file), "--reason", "fraud", "--json")
    assert (ran.code, ran.json["published"]) == (0, 251)
    run = UUID(ran.json["run"])
    messages = queue.messages()
    assert [each["message_id"] for each in messages] == [
        message_id(run, each, None) for each in ["one", *ids]
    ]
    assert {each["properties"]["subject"] for each in messages} == {"session-revoked"}
    traces = {each["application_properties"]["traceparent"] for each in messages}
    assert len(traces) == 251
    publishers = {each["application_properties"]["publisher"] for each in messages}
    assert publishers == {f"revoker publish {run}"}


def test_each_run_is_a_publication_of_its_own(queue: OneQueue) -> None:
    """What is published again is not dropped, whatever the outcome of the first message."""
    for _ in range(2):
        assert queue.revoker("publish", "a", "b").code == 0
    assert queue.counts["active"] == 4


def test_resumed_run_sends_nothing_twice(queue: OneQueue) -> None:
    """Under the id of the interrupted run, the queue drops what had already arrived."""
    run = queue.revoker("publish", "a", "--json").json["run"]
    assert queue.revoker("publish", "a", "b", "--resume", run).code == 0
    assert queue.counts["active"] == 2
    assert queue.revoker("publish", "a", "--type", "liveness", "--resume", run).code == 0
    assert queue.counts["active"] == 3
    ran = queue.revoker("publish", "a", "--resume", "yesterday")
    assert ran.code == 2
    assert "'yesterday' is not the id of a run" in ran.err


def test_an_unknown_run_is_not_resumed(queue: OneQueue, tmp_path: Path) -> None:
    """It would publish everything: the error names the record and the runs in it."""
    record, other = tmp_path / "default-record.jsonl", str(uuid4())
    ran = queue.revoker("publish", "a", "--resume", other)
    assert (ran.code, record.exists()) == (2, False)
    assert f"{record} has no run {other}. Its latest runs: none." in ran.err
    runs = [queue.revoker("publish", "a", "--json").json["run"] for _ in range(2)]
    ran = queue.revoker("publish", "a", "--resume", other)
    assert f"Its latest runs: {runs[1]}, {runs[0]}." in ran.err
    assert queue.counts["active"] == 2


def test_says_what_else_carries_the_session(seeded: OneQueue) -> None:
    """A dead letter or a waiting message of the same session is named, with what will happen."""
    session = next(iter(LETTERS))
    ran = seeded.revoker("publish", session, "fresh")
    assert ran.code == 0
    assert f"{session} is also named by dead letter number" in ran.out
    assert LETTERS[session] in ran.out
    assert "whichever message comes first deletes the session" in ran.out
    assert "fresh is also" not in ran.out
    ran = seeded.revoker("publish", "fresh", "--json")
    assert ran.json["also_carried_by"] == {"fresh": ["a message that is active"]}


def test_publishes_without_the_right_to_look(queue: OneQueue) -> None:
    """A publisher with the right to send alone can publish; other messages are not shown."""
    environment = queue.environment | {
        "ServiceBusConnection": queue.broker.with_key("sender", "c2Vj")
    }
    ran = revoker(environment, "publish", "a", "--json")
    assert (ran.code, ran.json["also_carried_by"]) == (0, None)
    assert queue.counts["active"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"a1\nb2\n",
        b"a1\r\nb2\r\n",
        codecs.BOM_UTF8 + b"a1\nb2",
        codecs.BOM_UTF16_LE + "a1\r\nb2\r\n".encode("utf-16-le"),
        b"\"a1\"\n 'b2'\n",
        b"sessionId\na1\nb2\n",
        codecs.BOM_UTF8 + b'"Session ID","note"\r\n"a1","one, two"\r\n"b2","three\r\nfour"\r\n',
        b"session_id;name\na1;x,y\nb2;z\n",
        b"id\tx\na1\tx\nb2\ty\n",
        b"# from the incident\n\nuser, id\nx, a1\n# more\n,b2\n,\n",
    ],
)
def test_a_file_may_come_from_anywhere(content: bytes) -> None:
    """Byte order marks, line ends, quotes, comments, headings and other columns do no harm."""
    read = read_ids([], BytesIO(content))
    assert (list(read.valid), read.invalid) == (["a1", "b2"], [])


def test_an_id_that_is_called_like_a_heading_is_published() -> None:
    """Only the first line of a file is a heading, and no argument is."""
    assert list(read_ids(["id"], BytesIO(b"a\nsession\n")).valid) == ["id", "a", "session"]


def test_invalid_ids_are_listed_with_their_lines(queue: OneQueue, tmp_path: Path) -> None:
    """Each has the number of its line in the file, also after comments and broken lines."""
    file = tmp_path / "ids.csv"
    file.write_text('sessionId,note\ngood,"two\nlines"\n# no\n../bad,x\n,no id\na b,y\n../bad,z\n')
    ran = queue.revoker("publish", "--file", str(file), "c/d")
    assert ran.code == 2
    assert "'c/d'; line 5: '../bad'; line 6: ',no id'; line 7: 'a b'." in ran.err
    assert queue.counts["active"] == 0
    ran = queue.revoker("publish", "--file", str(file), "--skip-invalid")
    assert ran.code == 1
    assert "1 message was published" in ran.out
    assert "Skipped: not valid as a session id: line 6: ',no id'" in ran.err
    ran = queue.revoker("publish", "--file", str(file), "--skip-invalid", "--json")
    assert ran.json["skipped"][0] == {"line": 5, "text": "../bad"}
    assert queue.counts["active"] == 2


def test_many_invalid_ids_take_no_longer_than_valid_ones() -> None:
    """The time grows with the file, and not with its square."""
    file = BytesIO("".join(f"id{n}\nno id {n}\n" for n in range(5_000)).encode())
    started = time.process_time()
    assert len(read_ids([], file, skip_invalid=True).invalid) == 5_000
    assert time.process_time() - started < 0.5


def test_a_dash_is_not_published_as_an_id() -> None:
    """Who writes '-' means standard input, and must not believe that its ids were published."""
    with pytest.raises(Failure) as failed:
        read_ids(["-"])
    assert "--file -" in failed.value.remedy
    assert list(read_ids([], known=["-"]).valid) == ["-"]  # from a receipt, it is an id


def test_what_a_receipt_names_need_not_be_an_id() -> None:
    """One receipt that anybody may have sent does not stop an audit of the others."""
    read = read_ids(["a"], known=["../b", "c"])
    assert (list(read.valid), [each.text for each in read.invalid]) == (["a", "c"], ["../b"])
    with pytest.raises(Failure, match="Not valid"):
        read_ids(["../b"], known=["../b"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"good\n\xff\xfa\n", "line 2: 'ÿú'"),
        (b'good\n"' + b"x" * 200_000, "Line 2 of the file cannot be read"),
        (b'good\n"open\nnext\n', "Line 2 of the file cannot be read: unexpected end"),
        (b"../bad\n", "line 1: '../bad'"),
        (b"sessionId\n", "No session id was found"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(content: bytes, said: str) -> None:
    """The line is named, and nothing is published."""
    with pytest.raises(Failure) as failed:
        read_ids([], BytesIO(content))
    assert said in failed.value.cause


A, B = "3f1f4b0c-6d2a-4a57-9c3e-0d9e5b7a1c01", "3f1f4b0c-6d2a-4a57-9c3e-0d9e5b7a1c02"


@pytest.mark.parametrize(
    ("content", "read"),
    [
        (f"userId,sessionId\n1001,{A}\n1002,{B}\n", {A: None, B: None}),
        (
            f"sessionId,sessionType\n{A},livenessWithVerify\n{B},LIVENESS\n",
            {A: "livenessWithVerify", B: "liveness"},
        ),
        (f"name;session_id;Session Type\nMüller;{A};\n", {A: None}),
        (f'comment,ID\n"two\nlines, ""quoted""",{A}\n', {A: None}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_is_read_by_its_heading(
    content: str, read: dict[str, str | None], encoding: str
) -> None:
    """The ids are in the column that is called so, wherever it stands, and their types beside it."""
    assert read_ids([], BytesIO(content.encode(encoding))).valid == read


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'sessionId,comment\n{A},ok\n{B},"customer said stop\nnext,ok\n', "Line 3"),
        (f'sessionId,comment\n{A},"open "and shut\n', "Line 2"),
        (
            f"SessionId\n------------------------------------\n{A}\n",
            "Line 2 of the file cannot be read",
        ),
        (f"sep=;\nsessionId;x\n{A};1\n", "Line 1 of the file cannot be read: it is an instruction"),
        (f"id,sessionId\n1,{A}\n", "more than one column may have the ids: id, sessionId"),
        (f"id,Liveness session\n1,{A}\n", "may have the ids: id, Liveness session"),
        ("customerId\n4711\n", "the heading customerId is unknown"),
        (f"1001,{A}\n", "it has several columns, and no heading"),
        (f"{A}\n\n1001,{B}\n", "Line 3 of the file cannot be read: it has several columns"),
        (f"sessionId,sessionType\n{A},face\n", "Line 2 of the file cannot be read: 'face'"),
        (f"sessionId,sessionType\n{A},\n{A},liveness\n", "Line 3"),
        (
            f"name,sessionId\nDoe, John,{A}\n",
            "Line 2 of the file cannot be read: it has more cells",
        ),
        ("customer,sessionId\n\nACME-1\n", "Line 3 of the file cannot be read: it has no cell"),
    ],
)
def test_a_file_is_refused_rather_than_guessed_at(content: str, said: str) -> None:
    """Whatever might make another session's id, or a part of the file, go unnoticed is named."""
    with pytest.raises(Failure) as failed:
        read_ids([], BytesIO(content.encode()), skip_invalid=True)
    assert said in failed.value.cause
    assert failed.value.code is Exit.USAGE


def test_the_type_of_a_table_is_published(queue: OneQueue, tmp_path: Path) -> None:
    """Where it is empty, --type counts. Other columns are ignored, which is said."""
    file = tmp_path / "ids.csv"
    file.write_text(f"reason,sessionId,sessionType,x\nf,{A},livenessWithVerify,\n,{B},\n")
    ran = queue.revoker("publish", "--file", str(file), "--type", "liveness")
    assert (ran.code, ran.err) == (
        0,
        f"Column sessionId, first session id {A}\n"
        "These columns of the file are ignored: reason, x\n",
    )
    connection_string = queue.environment["ServiceBusConnection"]
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_receiver(queue.name) as receiver,
    ):
        bodies = [json.loads(b"".join(each.body)) for each in receiver.peek_messages(9)]
    assert [each["sessionType"] for each in bodies] == ["livenessWithVerify", "liveness"]


@pytest.mark.parametrize("reason", ["x" * 70_000, "half \udcff"])
def test_a_reason_that_the_contract_forbids_is_refused(queue: OneQueue, reason: str) -> None:
    """The function would find the message malformed; so nothing is published."""
    ran = queue.revoker("publish", "a", "--reason", reason)
    assert ran.code == 2
    assert "The reason cannot be sent" in ran.err
    assert queue.counts["active"] == 0


def test_json_always_says_how_many_and_which_run(
    queue: OneQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published, failed or interrupted: a program finds out what was confirmed and how to go on."""
    failed = queue.revoker("publish", "a", "b", "--queue", "nowhere", "--json").json
    run = failed["run"]
    assert (failed["published"], failed["of"]) == (0, 2)
    assert f"--resume {run}" in failed["remedy"]
    how = ("publish", "a", "b", "--resume", run, "--json")
    published = queue.revoker(*how).json
    assert (published["published"], published["of"], published["run"]) == (2, 2, run)

    def interrupt(*_: object) -> None:
        raise asyncio.CancelledError  # as Ctrl-C does

    monkeypatch.setattr(publishing, "message", interrupt)
    ran = queue.revoker(*how)
    assert (ran.code, ran.json["published"], ran.json["run"]) == (130, 0, run)


def test_skipping_everything_publishes_nothing() -> None:
    """Where no valid id is left, that is said."""
    with pytest.raises(Failure, match="No session id"):
        read_ids(["../bad"], skip_invalid=True)


def test_publishes_nothing_if_one_id_is_wrong(queue: OneQueue) -> None:
    """One invalid id among many means that none is published."""
    ran = queue.revoker("publish", "--file", "-", stdin="good\n../bad\n")
    assert ran.code == 2
    assert "../bad" in ran.err
    assert "Nothing was done" in ran.err
    assert queue.counts["active"] == 0


MODULES_OF_PUBLISH = """
import json, sys
from revoker.cli.app import app
app(["publish", "a", "--json"], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""


def test_publishing_with_a_connection_string_loads_only_what_it_needs(queue: OneQueue) -> None:
    """The libraries for HTTP, login, the Functions host and tables are not loaded."""
    ran = subprocess.run(
        [sys.executable, "-c", MODULES_OF_PUBLISH],
        env={**os.environ, **queue.environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ran.returncode == 0, ran.stderr
    published, modules = (json.loads(line) for line in ran.stdout.splitlines())
    assert published["published"] == queue.counts["active"] == 1
    assert "azure.servicebus" in modules
    not_needed = ("aiohttp", "httpx", "azure.identity", "azure.functions", "cryptography", "rich")
    assert not [name for name in not_needed if name in modules]


def test_says_how_many_were_published_when_the_broker_fails(queue: OneQueue) -> None:
    """If the broker refuses a later batch, the count is printed, and resuming it does the rest."""
    ids = "\n".join(str(uuid4()) for _ in range(3000))
    fault = {"operation": "send", "queue": queue.name, "count": None}
    refused = {"condition": "com.microsoft:argument-error"}

    def refuse_once_begun() -> None:
        until(lambda: queue.counts["active"] > 0, "the first batch")
        queue.broker.control("POST", "/faults", fault | refused)

    with ThreadPoolExecutor(1) as pool:
        refusing = pool.submit(refuse_once_begun)
        ran = queue.revoker("publish", "--file", "-", stdin=ids)
        refusing.result()
    queue.broker.control("DELETE", "/faults")
    assert ran.code == 3
    confirmed = queue.counts["active"]
    assert 0 < confirmed < 3000
    assert f"{confirmed} of 3000 messages were published" in ran.err
    resume = re.findall(r"--resume [0-9a-f-]+", ran.err)[-1].split()
    assert queue.revoker("publish", "--file", "-", *resume, stdin=ids).code == 0
    assert queue.counts["active"] == 3000


@pytest.mark.parametrize("verb", [["status"], ["publish", "a"], ["dead-letters", "list"]])
def test_names_the_setting_that_is_missing(verb: list[str]) -> None:
    """Without a connection, every verb ends with 2 and names what to set."""
    ran = revoker({}, *verb)
    assert ran.code == 2
    assert "ServiceBusConnection" in ran.err


def test_a_wrong_connection_string_is_not_repeated() -> None:
    """Half a connection string is a wrong setting, and its contents are not repeated."""
    ran = revoker({"ServiceBusConnection": "Endpoint=sb://x;SharedAccessKeyName=secret"}, "status")
    assert ran.code == 2
    assert "ServiceBusConnection is not a usable connection string" in ran.err
    assert "secret" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (
            ServiceBusError("x", error=CredentialUnavailableError("Please run 'az login'")),
            "No Microsoft Entra token",
            "az login",
        ),
        (ServiceBusError("it broke"), "it broke", "Try again"),
        (ServiceBusServerBusyError(message="busy"), "ServiceBusServerBusyError", "Try again"),
        (MessagingEntityDisabledError(message="off"), "is disabled", "Active"),
        (ServiceBusAuthorizationError(message="no"), "no right to Send", "Data Sender"),
    ],
)
def test_an_error_of_service_bus_has_a_cause_and_a_remedy(
    error: Exception, cause: str, remedy: str
) -> None:
    """Each error has its cause and remedy, also a missing login, which the SDK wraps."""
    failure = explain(error, "ns", "q", "Send")
    assert cause in failure.cause
    assert remedy in failure.remedy
    assert failure.code is Exit.UNREACHABLE


def test_the_remedy_names_the_port_and_the_trust_of_the_connection() -> None:
    """Over WebSockets the port is 443; for an untrusted certificate, the remedy is no port."""
    refused = ServiceBusConnectionError(message="refused")
    assert "port 443 is open" in explain(refused, "ns", "q", "Send", port=443).remedy
    assert "port 99 is open" in explain(refused, "ns:99", "q", "Send").remedy
    local = explain(refused, "127.0.0.1:99", "q", "Send").remedy
    assert local == "Is the local cloud still running at 127.0.0.1:99?"
    untrusted = ServiceBusConnectionError(message="[SSL: CERTIFICATE_VERIFY_FAILED] no")
    assert "SSL_CERT_FILE" in explain(untrusted, "ns", "q", "Send").remedy


def test_needs_no_setting_that_the_verb_does_not_use(queue: OneQueue) -> None:
    """`status` works without FACE_ENDPOINT and whatever else only the function needs."""
    assert queue.revoker("status").code == 0


def test_cannot_connect_ends_with_3_and_never_shows_the_key(queue: OneQueue) -> None:
    """For a closed port, the namespace is named, and nothing else of the connection string."""
    closed = "Endpoint=sb://127.0.0.1:9;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0;"
    environment = {"ServiceBusConnection": closed + "UseDevelopmentEmulator=true;"}
    ran = revoker(environment, "publish", "a", "--json")
    assert ran.code == 3
    assert "127.0.0.1:9" in ran.json["error"]
    assert "c2VjcmV0" not in ran.out + ran.err


def test_the_right_that_is_missing_is_named(queue: OneQueue) -> None:
    """With the right to listen alone, publishing fails for want of the right to send."""
    environment = queue.environment | {
        "ServiceBusConnection": queue.broker.with_key("listener", "c2Vj")
    }
    ran = revoker(environment, "publish", "a")
    assert ran.code == 3
    assert "no right to Send" in ran.err
    assert revoker(environment, "status").code == 0


def test_an_option_goes_before_the_environment(queue: OneQueue) -> None:
    """--queue names another queue than SESSION_REVOKED_QUEUE does."""
    ran = queue.revoker("status", "--queue", "nowhere")
    assert ran.code == 3
    assert "The queue nowhere does not exist" in ran.err


def test_message_id_names_the_publication() -> None:
    """It differs between runs, sessions and types, and is the same when a run is resumed."""
    run = new_run()
    ids = {
        message_id(each, session, kind)
        for each in (run, new_run())
        for session in ("a", "b" * 128)
        for kind in ("livenessWithVerify", "liveness")
    }
    assert len(ids) == 8
    assert message_id(run, "a", "liveness") in ids
    assert all(len(each) <= 128 for each in ids)


def test_the_callers_trace_goes_on() -> None:
    """TRACEPARENT names the trace that the messages belong to."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    mine = new_traceparent({"TRACEPARENT": f"00-{trace}-00f067aa0ba902b7-01"})
    assert mine.split("-")[1] == trace
    assert new_traceparent({"TRACEPARENT": "nonsense"}) != new_traceparent({})


def test_what_is_published_is_what_the_contract_reads() -> None:
    """Ids are read as the function reads them."""
    assert list(read_ids([" a ", "a"], BytesIO(b"b\n# c\n\na\n")).valid) == ["a", "b"]
    assert parse(b'{"sessionId":"a","sessionType":"liveness"}', "application/json") == (
        SessionRevoked("a", "liveness")
    )
