"""The desk in a real browser, over a local cloud with its Functions host."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import batched
from pathlib import Path
from typing import override

import pytest
from azure.servicebus import ServiceBusClient as SyncClient
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from playwright.sync_api import Browser, Page, expect

from local.cloud import Options
from local.run import FAST_SETTINGS, serve_environment
from revoker.publish import message, new_run, new_traceparent
from tests.local.broker_process import BrokerProcess
from tests.revoker.clouds import CloudThread
from tests.revoker.desk.browser import EXECUTABLE, MISSING, launched

pytestmark = [
    pytest.mark.skipif(EXECUTABLE is None, reason=MISSING),
    pytest.mark.timeout(240),
]
ROOT = Path(__file__).parents[3]
PATIENCE = 60_000  # milliseconds: other tests run beside this one
SCRIPT = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
BIDI = "\u202e\u2066"
MANY = int(os.environ.get("DESK_LETTERS", "500"))
"""Dead letters of one test, a multiple of the 50 on a page; before a release, 10,000."""
PATHS = ("/", "/waiting", "/dead-letters", "/flow", "/doctor", "/record")


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudThread]:
    """A local cloud in which efforts end after some seconds, so that a fault dead-letters."""
    settings = {
        **FAST_SETTINGS,
        "RETRY_DEADLINE_HOURS": "0.0015",
        "FACE_MAX_CALLS_PER_SECOND": "100",
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
    }
    with CloudThread.running(Options(settings=settings, app=ROOT)) as running:
        yield running


@contextmanager
def serving(environment: Mapping[str, str], folder: Path) -> Iterator[tuple[str, int]]:
    """Run `revoker desk`; the value is the address that it prints, and its process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", "revoker", "desk", "--record", str(folder / "record.jsonl")],
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("The desk: ").strip(), process.pid
    finally:
        process.terminate()
        assert process.wait(30) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as running:
        yield running


@pytest.fixture
def page(cloud: CloudThread, browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A tab in which the desk has been opened; whatever its console says is an error."""
    expect.set_options(timeout=PATIENCE)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    with serving(serve_environment(cloud.cloud), tmp_path) as (address, _):
        tab.goto(address)
        yield tab
        context.close()
    assert said == []


def publish(cloud: CloudThread, *session_ids: str) -> None:
    async def send() -> None:
        run = new_run()
        connection_string = cloud.cloud.connection_string
        async with (
            ServiceBusClient.from_connection_string(connection_string) as client,
            client.get_queue_sender(cloud.cloud.options.queue) as sender,
        ):
            for each in session_ids:
                await sender.send_messages(
                    message(each, "livenessWithVerify", None, run, new_traceparent())
                )

    cloud.ask(cloud.cloud.face, "POST", "/_local/sessions", {"ids": list(session_ids)})
    cloud.run(send())


def at(page: Page, path: str) -> str:
    """Return the address of a page of the desk."""
    return re.sub(r"(:\d+)/.*", rf"\1{path}", page.url)


def test_a_broken_role_from_the_first_sign_to_the_last_message(
    cloud: CloudThread, page: Page
) -> None:
    """Publish, watch, break the role, see the remedy, repair it, resubmit, and see it empty."""
    publish(cloud, "well")
    page.goto(at(page, "/flow"))
    recent = page.get_by_role("table")
    expect(recent.get_by_role("row", name="well")).to_contain_text("deleted")
    expect(page.get_by_text("allowed rate:")).to_be_visible()

    page.goto(at(page, "/"))  # from here on, without a reload
    expect(page.get_by_text("There are no dead letters.")).to_be_visible()
    with cloud.configured(cloud.cloud.face, deny_role=True):
        publish(cloud, "stuck")
        expect(page.get_by_text("assign it the role that infra/ defines").first).to_be_visible()
        expect(page.get_by_role("link", name="RetriesExhausted")).to_be_visible()

    page.get_by_role("link", name="RetriesExhausted").click()
    page.get_by_role("cell").get_by_role("link").first.click()  # its number
    expect(page.get_by_text("assign it the role that infra/ defines")).to_be_visible()
    expect(page.get_by_text("PermissionDenied").first).to_be_visible()
    expect(page.get_by_text("function (host-0)").first).to_be_visible()
    expect(page.get_by_text("broker").first).to_be_visible()
    page.get_by_role("button", name="Resubmit …").click()
    expect(page.get_by_role("heading", name="Resubmit 1 dead letter?")).to_be_visible()
    page.get_by_role("button", name="Resubmit 1").click()
    expect(page.get_by_text("1 of 1 resubmitted.")).to_be_visible()

    page.get_by_role("link", name="Flow").click()
    stuck = recent.get_by_role("row").filter(has_text="stuck")
    expect(stuck.get_by_role("cell", name="deleted", exact=True)).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_text("There are no dead letters.")).to_be_visible()
    page.get_by_label("What happened to the session").fill("stuck")
    page.keyboard.press("Enter")
    expect(page.get_by_text("resubmitted through the desk")).to_be_visible()
    page.get_by_role("button", name="Ask the Face API").click()
    expect(page.get_by_text("It is gone")).to_be_visible()


def test_another_port_or_site_gets_nothing(page: Page, tmp_path: Path) -> None:
    """A page on another port of this machine gets no cookie, and can neither read nor send."""
    cookies: list[str | None] = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers.get("cookie"))
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<p>bait</p>")

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    thief = ThreadingHTTPServer(("127.0.0.1", 0), Thief)
    threading.Thread(target=thief.serve_forever, daemon=True).start()
    base = at(page, "")
    other = page.context.new_page()
    try:
        for host in ("127.0.0.1", "localhost", "guessed.localhost"):
            other.goto(f"http://{host}:{thief.server_port}/")
        read = f"fetch('{base}/', {{credentials: 'include'}}).then(r => r.text(), e => 'refused')"
        assert other.evaluate(read) == "refused"
        send = (
            f"fetch('{base}/doctor', {{method: 'POST', mode: 'no-cors', credentials: 'include', "
            "headers: {'content-type': 'application/x-www-form-urlencoded'}, body: 'a=b'})"
            ".then(r => r.type, e => 'refused')"
        )
        assert other.evaluate(send) == "refused"
        with other.expect_navigation():
            other.evaluate(
                "() => { const f = document.createElement('form'); f.method = 'post'; "
                f"f.action = '{base}/doctor'; document.body.append(f); f.submit(); }}"
            )
        expect(other.get_by_text("comes from a page that is not the desk's")).to_be_visible()
    finally:
        thief.shutdown()
        thief.server_close()
    assert len(cookies) >= 3
    assert set(cookies) == {None}
    page.goto(f"{base}/doctor")
    expect(page.get_by_role("button", name="Examine")).to_be_visible()
    expect(page.get_by_text("Examined")).to_have_count(0)  # nothing ran


def fill(connection_string: str, queue: str) -> None:
    """Send messages that the broker dead-letters at once, and that try what they can."""
    with (
        SyncClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue) as sender,
    ):
        for some in batched(range(MANY), 200, strict=False):
            sender.send_messages(
                [
                    ServiceBusMessage(
                        f"not JSON {SCRIPT}{BIDI}"
                        if number % 2
                        else f'{{"sessionId": "s{number}"}}',
                        message_id=f"{number}{BIDI}{SCRIPT}",
                        application_properties={f"{BIDI}{SCRIPT}": "long" * 100 + SCRIPT + BIDI},
                        time_to_live=timedelta(seconds=1),
                    )
                    for number in some
                ]
            )


def check_that_it_is_text_and_fits(page: Page) -> None:
    for width in (375, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    assert page.locator("script:not([src]), img").count() == 0, page.url
    assert not re.search(f"[{BIDI}]", page.locator("body").inner_text()), page.url
    assert "taken" not in page.title(), page.url
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()


def test_many_hostile_dead_letters_until_nothing_answers(browser: Browser, tmp_path: Path) -> None:
    """Pages are text only, fit each screen, work by keyboard, and tell when they are out of date."""
    expect.set_options(timeout=PATIENCE)
    with BrokerProcess.with_queues(tmp_path, ["many"]) as broker:
        fill(broker.connection_string, "many")
        environment = {
            "ServiceBusConnection": broker.connection_string,
            "SESSION_REVOKED_QUEUE": "many",
        }
        context = browser.new_context(viewport={"width": 375, "height": 800}, color_scheme="dark")
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        with serving(environment, tmp_path) as (address, pid):
            page.goto(address)
            expect(page.locator(".counts .bad")).to_contain_text(f"{MANY:,}")
            page.goto(at(page, f"/dead-letters?page={MANY // 50}"))
            expect(page.get_by_text(f"{MANY - 49:,} to {MANY:,} of {MANY:,}").first).to_be_visible()
            page.get_by_role("link", name="Dead letters").click()
            page.get_by_role("cell").get_by_role("link").first.click()
            expect(page.get_by_text("\\u202e\\u2066").first).to_be_visible()
            number = page.url.rpartition("/")[2]
            for path in (*PATHS, f"/dead-letters/{number}", f"/dead-letters/{number}/body"):
                page.goto(at(page, path))
                check_that_it_is_text_and_fits(page)

            page.goto(at(page, f"/dead-letters/{number}"))
            page.get_by_role("button", name="Discard …").focus()
            page.keyboard.press("Enter")
            expect(page.get_by_label("I am sure")).to_be_visible()
            page.get_by_label("I am sure").focus()
            for key in ("Space", "Tab", "Enter"):
                page.keyboard.press(key)
            expect(page.get_by_text("1 of 1 discarded.")).to_be_visible()

            page.goto(at(page, "/"))
            expect(page.locator(".counts .bad")).to_contain_text(f"{MANY - 1:,}")
            broker.kill()
            expect(page.get_by_text("The queue cannot be read.")).to_be_visible()
            expect(page.get_by_text("What follows is out of date")).to_be_visible()
            for path in ("/dead-letters?reason=none", "/waiting"):
                page.goto(at(page, path))
                expect(page.get_by_text("The queue cannot be read.")).to_be_visible()
                expect(page.get_by_text("There are no")).to_have_count(0)
                expect(page.get_by_text("Nothing waits")).to_have_count(0)

            os.kill(pid, signal.SIGSTOP)
            try:
                expect(page.locator("#old")).to_contain_text("This page is out of date")
            finally:
                os.kill(pid, signal.SIGCONT)
            expect(page.locator("#old")).to_be_hidden()
        expect(page.locator("#old")).to_contain_text("The desk does not answer.")
        context.close()
