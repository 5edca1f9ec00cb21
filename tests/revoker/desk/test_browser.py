"""The desk in a real browser, over a local cloud with its Functions host."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from playwright.sync_api import Browser, Locator, Page, expect

from local.cloud import Options
from local.run import FAST_SETTINGS, serve_environment
from revoker.publish import message, new_run, new_traceparent
from tests.revoker.clouds import CloudThread
from tests.revoker.desk.browser import EXECUTABLE, MISSING, launched

pytestmark = [
    pytest.mark.skipif(EXECUTABLE is None, reason=MISSING),
    pytest.mark.timeout(240),
]
ROOT = Path(__file__).parents[3]
PATIENCE = 60_000  # milliseconds: other tests run beside this one
SCRIPT = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
WIDTHS = (360, 1280)


@pytest.fixture(scope="module")
def cloud() -> Iterator[CloudThread]:
    """A local cloud in which efforts end after some seconds, so that a fault dead-letters."""
    settings = {
        **FAST_SETTINGS,
        "RETRY_DEADLINE_HOURS": "0.005",
        "FACE_MAX_CALLS_PER_SECOND": "100",
        "PYTHON_ENABLE_OPENTELEMETRY": "true",
    }
    with CloudThread.running(Options(settings=settings, app=ROOT)) as running:
        yield running


@contextmanager
def serving(cloud: CloudThread, folder: Path) -> Iterator[str]:
    """Run `revoker desk` as a process; the value is the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "revoker", "desk", "--record", str(folder / "record.jsonl")],
        env={**os.environ, **serve_environment(cloud.cloud)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().removeprefix("The desk: ").strip()
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
    with serving(cloud, tmp_path) as address:
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


def reload_until(page: Page, wanted: Locator) -> None:
    """Reload, as a person would, until something is there."""
    for _ in range(60):
        if wanted.count():
            return
        page.wait_for_timeout(500)
        page.reload()
    expect(wanted).to_be_visible()


def test_a_broken_role_from_the_first_sign_to_the_last_message(
    cloud: CloudThread, page: Page
) -> None:
    """Publish, watch, break the role, see the remedy, repair it, resubmit, and see it empty."""
    publish(cloud, "well")
    flow = page.locator("#flow")
    expect(flow.get_by_role("row", name="well")).to_contain_text("deleted")  # without a reload
    expect(flow.get_by_text("allowed rate:")).to_be_visible()

    with cloud.configured(cloud.cloud.face, deny_role=True):
        publish(cloud, "stuck")
        page.goto(page.url)
        remedy = page.get_by_text("assign it the role that infra/ defines").first
        reload_until(page, remedy)
        expect(page.get_by_text("PermissionDenied").first).to_be_visible()
        reload_until(page, page.get_by_role("link", name="RetriesExhausted"))

    page.get_by_role("link", name="RetriesExhausted").click()
    page.get_by_role("cell").get_by_role("link").first.click()  # its number
    expect(page.get_by_text("assign it the role that infra/ defines")).to_be_visible()
    expect(page.get_by_text("function (host-0)").first).to_be_visible()
    expect(page.get_by_text("broker").first).to_be_visible()
    page.get_by_role("button", name="Resubmit …").click()
    expect(page.get_by_role("heading", name="Resubmit 1 dead letter?")).to_be_visible()
    page.get_by_role("button", name="Resubmit 1").click()
    expect(page.get_by_text("1 of 1 resubmitted.")).to_be_visible()

    page.get_by_role("link", name="Overview").first.click()
    gone = (
        page.locator("#flow")
        .get_by_role("row")
        .filter(has_text="stuck")
        .filter(has=page.get_by_role("cell", name="deleted", exact=True))
    )
    expect(gone).to_be_visible()
    reload_until(page, page.get_by_text("There are no dead letters."))
    page.get_by_label("What happened to the session").fill("stuck")
    page.keyboard.press("Enter")
    expect(page.get_by_text("resubmitted through the desk")).to_be_visible()
    page.get_by_role("button", name="Ask the Face API").click()
    expect(page.get_by_text("It is gone")).to_be_visible()


def test_a_script_in_a_dead_letter_is_shown_as_text(cloud: CloudThread, page: Page) -> None:
    """Nothing that a message holds runs, wherever it is shown; it is discarded by keyboard."""

    async def dead_letter() -> None:
        connection_string = cloud.cloud.connection_string
        async with (
            ServiceBusClient.from_connection_string(connection_string) as client,
            client.get_queue_sender(cloud.cloud.options.queue) as sender,
        ):
            await sender.send_messages(
                ServiceBusMessage(f"not JSON {SCRIPT}", application_properties={"n": SCRIPT})
            )

    cloud.run(dead_letter())
    page.goto(re.sub(r"(:\d+)/.*", r"\1/dead-letters", page.url))
    reload_until(page, page.get_by_text("MalformedMessage").first)
    page.get_by_role("cell").get_by_role("link").first.click()
    page.get_by_role("link", name="Show it").click()
    expect(page.get_by_text(SCRIPT, exact=True)).to_be_visible()  # the property
    expect(page.locator("pre")).to_contain_text(f"not JSON {SCRIPT}")
    assert "taken" not in page.title()
    assert page.locator("script, img").count() == 0

    discard = page.get_by_role("button", name="Discard …")
    discard.focus()
    page.keyboard.press("Enter")
    sure = page.get_by_label("I am sure")
    expect(sure).to_be_visible()
    sure.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 of 1 discarded.")).to_be_visible()


def test_another_origin_gets_nothing(page: Page, browser: Browser, cloud: CloudThread) -> None:
    """A page of another site can neither read nor send anything, even in the same browser."""
    base = re.sub(r"(:\d+)/.*", r"\1", page.url)
    other = page.context.new_page()
    # Another port of this machine is another origin, and the same site to the browser's cookies.
    other.goto(f"{cloud.cloud.face.facts['endpoint']}/_local/stats")
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
            f"() => {{ const f = document.createElement('form'); f.method = 'post'; "
            f"f.action = '{base}/doctor'; document.body.append(f); f.submit(); }}"
        )
    expect(other.get_by_text("comes from a page that is not the desk's")).to_be_visible()
    other.close()
    page.goto(f"{base}/doctor")
    expect(page.get_by_role("button", name="Examine", exact=True)).to_be_visible()  # nothing ran


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("path", ["/", "/waiting", "/dead-letters", "/doctor", "/record"])
def test_pages_fit_the_screen(page: Page, path: str, width: int) -> None:
    """No page is wider than a small telephone, and each has one heading and a way past the menu."""
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(re.sub(r"(:\d+)/.*", rf"\1{path}", page.url))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
