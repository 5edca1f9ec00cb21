"""The query that finds what the function logged about a session, as docs/operations.md has it."""

_QUERY = """\
let session = "<session id>";
AppTraces
| where Message startswith '{' and Message has session
| extend line = parse_json(Message)
| where tostring(line.event) == "revocation" and tostring(line.session_id) == session
| project TimeGenerated, outcome = tostring(line.outcome), reason = tostring(line.reason),
          code = tostring(line.code), status = toint(line.status), attempts = toint(line.attempts),
          seconds_since_published = todouble(line.ms_since_first_enqueued) / 1000,
          face_request_id = tostring(line.request_id), message_id = tostring(line.message_id),
          root_id = tostring(line.root_id)
| order by TimeGenerated asc
"""


def query(session_id: str = "<session id>") -> str:
    """Return the query, in KQL for Application Insights, for one valid session id."""
    return _QUERY.replace("<session id>", session_id)
