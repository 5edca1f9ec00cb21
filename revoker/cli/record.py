"""The verb for the record."""

import os

from revoker import output
from revoker.cli.options import AsJson, RecordFile
from revoker.cli.running import WORK_SECONDS, reporting, run
from revoker.failure import Exit, Failure


def upload_record(record: RecordFile = None, as_json: AsJson = False) -> None:
    """Upload the record to the workspace to which REVOKER_RECORD_URL leads.

    Each command does so with its own lines. This uploads all lines of the file, for example after an
    upload has failed: a line that arrives twice has the same Id.
    """
    from revoker.record import DEFAULT, URL
    from revoker.upload import entries_of, upload

    with reporting(as_json):
        path = record or DEFAULT
        if not path.is_file():
            raise Failure(f"There is no record {path}.", "Name it with --record.", Exit.USAGE)
        unreadable: list[str] = []
        entries = entries_of(path, unreadable)
        count = run(upload(os.environ.get(URL, "").strip(), entries), WORK_SECONDS)
        output.uploaded(count, unreadable, as_json)
