"""The doctor's checks of the Face API: connection, token, version, right and clock."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from functools import cached_property
from urllib.parse import urlsplit

from delete_session.verdict import PERMISSION_DENIED, SESSION_NOT_FOUND, Meaning, Verdict
from revoker.caller import Caller
from revoker.connection import face_scope, setting
from revoker.doctor import network, tokens
from revoker.doctor.runner import Check, Skipped
from revoker.face import Face, Reply, remedy_for, token
from revoker.failure import Failure

MAX_SKEW_SECONDS = 30.0

# azure-rest-api-specs, specification/ai/data-plane/Face.
API_VERSIONS = ("v1.2-preview.1", "v1.2", "v1.3-preview.1", "v1.1-preview.1")


def checks(environment: Mapping[str, str]) -> list[Check]:
    """Return the checks of the Face API that these settings name."""
    probes = _Probes(environment)
    return [
        Check("Face name", (), probes.name),
        Check("Face TLS", ("Face name",), probes.tls),
        Check("Face token", (), probes.token),
        Check("API version", ("Face TLS", "Face token"), probes.version),
        Check("Face right to delete", ("API version",), probes.right),
        Check("clock", ("Face TLS",), probes.clock),
    ]


class _Probes:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._bearer: str | None = None  # by the check of the token, for that of the version
        self._verdict: Verdict | None = None  # by the check of the version, for that of the right
        self._seconds = 0.0  # that this answer took

    def _setting(self, field: str) -> str:
        try:
            return setting(field, self._environment)
        except Failure:
            raise Skipped("its settings are wrong") from None

    @cached_property
    def _endpoint(self) -> str:
        return self._setting("face_endpoint")

    @cached_property
    def _target(self) -> network.Target:
        tls = urlsplit(self._endpoint).scheme == "https"
        return network.Target.of(
            self._endpoint, 443 if tls else 80, tls=tls, setting="FACE_ENDPOINT"
        )

    async def name(self) -> str:
        return await network.resolve(self._target)

    async def tls(self) -> str:
        return await network.connect(self._target, Caller.of(environment=self._environment))

    async def token(self) -> str:
        try:
            scope = face_scope(self._environment)
        except Failure:
            raise Skipped("its settings are wrong") from None
        client_id = self._environment.get("AZURE_CLIENT_ID", "").strip() or None
        self._bearer = await token(scope, client_id)
        return tokens.read(self._bearer, scope)

    async def version(self) -> str:
        version = self._setting("face_api_version")
        async with Face.open(self._endpoint, self._bearer) as face:
            began = time.monotonic()
            self._verdict = (await _delete_nothing(face, version)).verdict
            self._seconds = time.monotonic() - began
            if not _is_unknown_path(self._verdict):
                return f"{version} is not refused as unknown"
            others = [each for each in API_VERSIONS if each != version]
            replies = await asyncio.gather(*(_delete_nothing(face, each) for each in others))
        known = [
            each
            for each, reply in zip(others, replies, strict=True)
            if not _is_unknown_path(reply.verdict)
        ]
        said, remedy = self._verdict.describe(), remedy_for(self._verdict)
        if known:
            raise Failure(
                f"The resource does not know the API version {version}: {said}",
                f"{remedy} The resource knows {', '.join(known)}.",
            )
        raise Failure(
            f"The endpoint does not know any version of the Face API: {said}",
            f"{remedy} The portal shows the endpoint of the Face resource.",
        )

    async def right(self) -> str:
        assert self._verdict is not None
        said = read_right(self._verdict, Caller.of(environment=self._environment))
        return f"{said} in {self._seconds:.1f} s"

    async def clock(self) -> str:
        # Without a token, because a wrong clock may prevent one.
        async with Face.open(self._endpoint, None) as face:
            reply = await _delete_nothing(face, API_VERSIONS[0])
        return read_skew(reply.clock_skew_seconds)


async def _delete_nothing(face: Face, api_version: str) -> Reply:
    """Delete a session that cannot exist, and return the answer."""
    return await face.call("DELETE", api_version, "livenessWithVerify", str(uuid.uuid4()))


def _is_unknown_path(verdict: Verdict) -> bool:
    return verdict.status == 404 and verdict.meaning is not Meaning.ALREADY_GONE


_OF_A_LOGIN = (
    (
        "may not delete",
        "To check this right yourself, assign your login the role that infra/ defines.",
    ),
    ("tenant", "Log in to the resource's tenant: az login --tenant TENANT."),
    (
        "network rules",
        "Run the doctor where the resource's network rules let it in, or in the network that has the "
        "private endpoint.",
    ),
    ("in front of", "Look for a proxy or a firewall between this machine and FACE_ENDPOINT."),
)
"""What to do if a person was refused on their own machine, by words of the function's remedy."""


def remedy_as(caller: Caller, verdict: Verdict) -> str:
    """Return what to do about a verdict, for who called."""
    remedy = remedy_for(verdict)
    if caller is Caller.LOGIN and verdict.remedy:
        for words, own in _OF_A_LOGIN:
            if words in remedy:
                return (
                    f"{own} This says nothing about the function: do not change the resource for it. "
                    "Its own errors are in 'revoker status' and in its log (deployment_fault)."
                )
    return remedy


def read_right(verdict: Verdict, caller: Caller) -> str:
    """Say what the answer to deleting a session that cannot exist shows.

    Raises:
        Failure: it is not SessionNotFound.
    """
    if verdict.meaning is Meaning.ALREADY_GONE:
        return f"deleting a session that cannot exist was answered with {SESSION_NOT_FOUND}"
    match verdict.status, verdict.code:
        case 401 | 403, code if code == PERMISSION_DENIED:
            cause = "The right to delete sessions is missing"
        case 401, _:
            cause = "The token was not accepted"
        case 403, "UnsupportedFeature":
            cause = "The resource is not approved for liveness"
        case 403, _:
            cause = "The call was refused"
        case 429, _:
            cause = "The rate limit is used up"
        case int(status), _ if 300 <= status < 400:
            cause = "The answer was a redirect"
        case _:
            cause = "The answer was unexpected"
    if verdict.status in (400, 401, 403):
        cause = f"{caller} was refused. {cause}"
    raise Failure(f"{cause}: {verdict.describe()}", remedy_as(caller, verdict))


def read_skew(seconds: float | None) -> str:
    """Say by how much this machine's clock is off.

    Raises:
        Failure: it is off by too much.
    """
    if seconds is None:
        raise Skipped("the Face API did not send its time")
    off = f"{abs(seconds):.0f} s"
    if abs(seconds) <= MAX_SKEW_SECONDS:
        return f"off by {off}"
    side = "ahead of" if seconds > 0 else "behind"
    raise Failure(
        f"This machine's clock is {off} {side} the Face API's",
        "Set the clock (NTP): once it is five minutes off, tokens are refused or seem to have "
        "expired.",
    )
