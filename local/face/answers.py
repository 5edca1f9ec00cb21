"""Answers by name: those of the platform in front of the operation, and unforeseen ones.

Statuses, codes and texts are those of public reports. The platform's answers have no `x-ms-error-code`:
only the operation sets that header.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

_GATEWAY_PAGE = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n"
    "<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it goes over the wire."""

    status: int
    body: Mapping[str, object] | str
    """JSON, or a page."""
    code_header: str | None = None
    """The value of `x-ms-error-code`."""


def _error(status: int, code: str, message: str, inner: str | None = None) -> Answer:
    if inner is None:
        return Answer(status, {"error": {"code": code, "message": message}})
    wrapped = {"code": inner, "message": message}
    outer = {"code": code, "message": "Invalid request has been sent.", "innererror": wrapped}
    return Answer(status, {"error": outer})


NO_ROLE = _error(401, "PermissionDenied", "Principal does not have access to API/Operation.")

ANSWERS: Mapping[str, Answer] = {
    "role_missing": NO_ROLE,
    "network_rules": _error(403, "403", "Access denied due to Virtual Network/Firewall rules."),
    "public_access_disabled": _error(
        403, "AccessDenied", "Public access is disabled. Please configure private endpoint."
    ),
    "tenant_mismatch": _error(
        400,
        "Tenant provided in token does not match resource token",
        "Token tenant 00000000-0000-0000-0000-000000000002 does not match resource tenant.",
    ),
    "no_subdomain": _error(
        400,
        "BadRequest",
        "Please provide a custom subdomain for token authentication, otherwise API key is required.",
    ),
    "quota": Answer(
        403,
        {
            "statusCode": 403,
            "message": "Out of call volume quota. Quota will be replenished in 2.12:30:00.",
        },
    ),
    "not_approved": _error(
        403,
        "InvalidRequest",
        "Feature is not supported, missing approval for one or more of the following features: "
        "Identification,Verification. Please apply for access at https://aka.ms/facerecognition",
        inner="UnsupportedFeature",
    ),
    "gateway_html": Answer(502, _GATEWAY_PAGE),
    "unknown_code": replace(
        _error(400, "SomethingNobodyKnows", "This error is not documented."),
        code_header="SomethingNobodyKnows",
    ),
}
