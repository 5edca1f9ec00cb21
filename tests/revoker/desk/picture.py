"""Draws the picture of the desk in the README: `python -m tests.revoker.desk.picture`."""

import sys
import tempfile
import time
from pathlib import Path

from local.cloud import Options
from local.run import serve_environment
from tests.revoker.clouds import CloudThread
from tests.revoker.conftest import revoker
from tests.revoker.desk.browser import launched
from tests.revoker.desk.test_browser import ROOT, at, serving

SECONDS = 25  # the flow has a point every five


def main(target: Path) -> None:
    """Revoke sessions, some of which the Face API rejects, and photograph the flow."""
    settings = {"FACE_MAX_CALLS_PER_SECOND": "8", "PYTHON_ENABLE_OPENTELEMETRY": "true"}
    options = Options(face_limit="10/1", settings=settings, app=ROOT)
    with (
        tempfile.TemporaryDirectory() as folder,
        CloudThread.running(options) as cloud,
        serving(serve_environment(cloud.cloud), Path(folder)) as (address, _),
    ):
        rejected = {"fault": "status", "status": 400, "code": "BadArgument", "count": 2}
        cloud.ask(cloud.cloud.face, "POST", "/_local/faults", rejected)
        ids = cloud.ask(cloud.cloud.face, "POST", "/_local/sessions", {"count": 300})
        revoker(cloud.cloud.environment, "publish", "--file", "-", stdin="\n".join(ids))
        time.sleep(SECONDS)
        with launched() as browser:
            page = browser.new_page(viewport={"width": 1000, "height": 790})
            page.goto(address)
            page.goto(at(page, "/flow"))
            page.screenshot(path=target)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "desk.png")
