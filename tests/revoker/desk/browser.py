"""An installed Chromium or Chrome, driven over the desk. Nothing is installed here."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = next((path for path in map(shutil.which, NAMES) if path), None)
MISSING = f"the desk was not tried in a browser: there is none of {', '.join(NAMES)} on the PATH"

# It connects to nothing but the desk.
_ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def launched() -> Iterator[Browser]:
    """Run the browser, headless, with a new profile."""
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium has no sandbox.
        as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=EXECUTABLE, args=[*_ARGUMENTS, *as_root]
        )
        try:
            yield browser
        finally:
            browser.close()
