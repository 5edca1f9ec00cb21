"""`revoker doctor`: every link of the chain, what is wrong with it and how to mend it."""

import asyncio
import base64
import ipaddress
import json
import socket
import ssl
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from delete_session.answer import Answer, describe
from delete_session.identity import SCOPE as FACE_SCOPE
from delete_session.settings import Settings, SettingsError
from revoker.connection import QueueAddress, setting
from revoker.face import Face, Reply, token
from revoker.failure import Failure, first_line
from revoker.messages import peek

SERVICE_BUS_SCOPE = "https://servicebus.azure.net/.default"
AMQPS_PORT = 5671
CONNECT_SECONDS = 10.0
MAX_SKEW_SECONDS = 30.0

# azure-rest-api-specs, specification/ai/data-plane/Face.
API_VERSIONS = ("v1.2-preview.1", "v1.2", "v1.3-preview.1", "v1.1-preview.1")


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was found, and what to do about it where it is wrong."""

    name: str
    state: State
    detail: str
    cure: str = ""


def _wrong(name: str, failure: Failure) -> Check:
    return Check(name, State.WRONG, failure.cause, failure.cure)


async def doctor(environment: Mapping[str, str]) -> list[Check]:
    """Check everything that can be checked with these settings."""
    bus, face = await asyncio.gather(_service_bus(environment), _face(environment))
    return [_settings(environment), *bus, *face]


def _settings(environment: Mapping[str, str]) -> Check:
    try:
        Settings.from_environment(environment)
    except SettingsError as error:
        return Check(
            "settings",
            State.WRONG,
            "; ".join(error.problems),
            "Correct them in the app's settings (infra/ sets them all) or in your shell.",
        )
    return Check("settings", State.OK, "all are there and can be read")


# ---- Service Bus ----


async def _service_bus(environment: Mapping[str, str]) -> list[Check]:
    names = [
        *("Service Bus name", "Service Bus TLS", "Service Bus token"),
        *("queue, right to receive", "dead letters, right to receive", "queue, right to send"),
    ]
    try:
        address = QueueAddress.read(environment)
    except Failure:
        return _skip(names, "see settings")
    connection = address.connection
    host, port = _host(f"sb://{address.where}", AMQPS_PORT)
    text = (connection.connection_string or "").lower().replace(" ", "")
    plain = "usedevelopmentemulator=true" in text
    checks = await _reach("Service Bus", host, port, tls=not plain)
    if _any_wrong(checks):
        return checks + _skip(names[2:], "not reached")
    if connection.connection_string:
        checks += _skip(names[2:3], "a connection string needs none")
    else:
        checks.append(await _token(names[2], SERVICE_BUS_SCOPE, connection.client_id))
    if _any_wrong(checks):
        return checks + _skip(names[3:], "no token")
    checks += await asyncio.gather(
        _may_receive(names[3], address, dead_letters=False),
        _may_receive(names[4], address, dead_letters=True),
        _may_send(names[5], address),
    )
    return checks


def _skip(names: Iterable[str], why: str) -> list[Check]:
    return [Check(name, State.SKIPPED, why) for name in names]


def _any_wrong(checks: Iterable[Check]) -> bool:
    return any(check.state is State.WRONG for check in checks)


async def _may_receive(name: str, address: QueueAddress, *, dead_letters: bool) -> Check:
    try:
        async with address.receiver(dead_letters=dead_letters) as receiver:
            async for _ in peek(receiver, limit=1):
                pass
    except Failure as failure:
        return _wrong(name, failure)
    return Check(name, State.OK, f"{address.queue} in {address.where}")


async def _may_send(name: str, address: QueueAddress) -> Check:
    try:
        async with address.sender():
            pass  # opening the link needs the right; nothing is sent
    except Failure as failure:
        return _wrong(name, failure)
    return Check(name, State.OK, "a sender was opened, nothing was sent")


# ---- the Face API ----


async def _face(environment: Mapping[str, str]) -> list[Check]:
    names = [
        *("Face name", "Face TLS", "Face token"),
        *("Face right to delete", "API version", "clock"),
    ]
    try:
        endpoint = setting("face_endpoint", environment)
        api_version = setting("face_api_version", environment)
    except Failure:
        return _skip(names, "see settings")
    url = urlsplit(endpoint)
    host, port = _host(endpoint, 443 if url.scheme == "https" else 80)
    checks = await _reach("Face", host, port, tls=url.scheme == "https")
    if _any_wrong(checks):
        return checks + _skip(names[2:], "not reached")
    client_id = environment.get("AZURE_CLIENT_ID", "").strip() or None
    try:
        bearer = await token(FACE_SCOPE, client_id)
    except Failure as failure:
        checks.append(_wrong(names[2], failure))
        return checks + _skip(names[3:], "no token")
    checks.append(_read_token(names[2], bearer, FACE_SCOPE))
    try:
        async with Face.open(endpoint, bearer) as face:
            reply = await _delete_nothing(face, api_version)
            known = (
                []
                if not _unknown_path(reply.answer)
                else [
                    version
                    for version in API_VERSIONS
                    if version != api_version
                    and not _unknown_path((await _delete_nothing(face, version)).answer)
                ]
            )
    except Failure as failure:
        checks.append(_wrong(names[3], failure))
        return checks + _skip(names[4:], "no answer")
    checks.append(_right(names[3], reply.answer))
    checks.append(_version(names[4], api_version, reply.answer, known))
    checks.append(_clock(names[5], reply.clock_skew_seconds))
    return checks


async def _delete_nothing(face: Face, api_version: str) -> Reply:
    """Delete a session that cannot exist: the answer shows all there is to know."""
    return await face.call("DELETE", api_version, "livenessWithVerify", str(uuid.uuid4()))


def _unknown_path(answer: Answer) -> bool:
    return answer.status == 404 and answer.code != "SessionNotFound"


def _right(name: str, answer: Answer) -> Check:
    said = describe(answer)
    match answer.status, answer.code:
        case 404, "SessionNotFound":
            detail = "a session that cannot exist was answered with SessionNotFound, as it must be"
            return Check(name, State.OK, detail)
        case 404, _:
            return Check(name, State.SKIPPED, "see API version")
        case 401, _:
            cure = (
                "See the check of the token. If that is well: FACE_ENDPOINT must be the resource's "
                "custom-subdomain endpoint, and the login of the tenant that the resource is in."
            )
            return Check(name, State.WRONG, f"The token was not accepted: {said}", cure)
        case 403, "PermissionDenied":
            cure = (
                "Assign the caller the role that infra/ defines, on the Face resource (data action "
                "Microsoft.CognitiveServices/accounts/Face/*/sessions/delete). A new assignment "
                "takes some minutes to work."
            )
            return Check(name, State.WRONG, f"The role to delete sessions is missing: {said}", cure)
        case 403, "UnsupportedFeature":
            cure = "Apply for limited access to Face liveness for this subscription and resource."
            return Check(name, State.WRONG, f"The resource is not approved: {said}", cure)
        case 403, _:
            cure = "If the resource allows selected networks only, run this from one of them."
            return Check(name, State.WRONG, f"Refused: {said}", cure)
        case 429, _:
            cure = "Wait and run it again; FACE_MAX_CALLS_PER_SECOND must stay below the quota."
            return Check(name, State.WRONG, f"The rate limit is used up: {said}", cure)
        case int(status), _ if 300 <= status < 400:
            cure = "FACE_ENDPOINT is not the endpoint of a Face resource, or a proxy is in between."
            return Check(name, State.WRONG, f"Answered with a redirect: {said}", cure)
        case _:
            cure = "Try again; if it stays, see Azure's status page for the resource's region."
            return Check(name, State.WRONG, f"Not the answer that must come: {said}", cure)


def _version(name: str, version: str, answer: Answer, known: list[str]) -> Check:
    if not _unknown_path(answer):
        return Check(name, State.OK, version)
    if known:
        return Check(
            name,
            State.WRONG,
            f"The resource does not know the API version {version} (FACE_API_VERSION): "
            f"{describe(answer)}",
            f"Set FACE_API_VERSION to one it knows: {', '.join(known)}.",
        )
    return Check(
        name,
        State.WRONG,
        f"The endpoint knows no version of the Face API: {describe(answer)}",
        "FACE_ENDPOINT is the wrong one: take the endpoint that the portal shows for the Face "
        "resource.",
    )


def _clock(name: str, skew: float | None) -> Check:
    if skew is None:
        return Check(name, State.SKIPPED, "the Face API did not tell its time")
    if abs(skew) <= MAX_SKEW_SECONDS:
        return Check(name, State.OK, f"off by {abs(skew):.0f} s")
    side = "ahead of" if skew > 0 else "behind"
    return Check(
        name,
        State.WRONG,
        f"This machine's clock is {abs(skew):.0f} s {side} the Face API's",
        "Set the clock (NTP): with five minutes, tokens are refused and seem to have expired.",
    )


# ---- names, TLS, tokens ----


def _host(url: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or default_port


async def _reach(what: str, host: str, port: int, *, tls: bool) -> list[Check]:
    """Name resolution and TLS (or, without it, a bare connection)."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        return [
            Check(
                f"{what} name",
                State.WRONG,
                f"The name {host} is not found: {first_line(error)}",
                f"Check the spelling of {_setting_of(what)}; behind a private endpoint, run this "
                "where its private DNS zone is known.",
            ),
            Check(f"{what} TLS", State.SKIPPED, "no address"),
        ]
    addresses = sorted({str(each[4][0]) for each in found})
    private = all(ipaddress.ip_address(each.split("%")[0]).is_private for each in addresses)
    note = " (private)" if private else ""
    name = Check(f"{what} name", State.OK, f"{host} is {', '.join(addresses)}{note}")
    return [name, await _tls(what, host, port, tls=tls)]


def _setting_of(what: str) -> str:
    return "FACE_ENDPOINT" if what == "Face" else "ServiceBusConnection__fullyQualifiedNamespace"


async def _tls(what: str, host: str, port: int, *, tls: bool) -> Check:
    name = f"{what} TLS"
    try:
        if not tls:
            await _certificate(host, port, None)
            return Check(name, State.SKIPPED, "a plain connection, for the local cloud only")
        issuer = _issuer(await _certificate(host, port, ssl.create_default_context()))
        return Check(name, State.OK, f"the certificate was issued by {issuer}")
    except ssl.SSLCertVerificationError as error:
        return Check(
            name,
            State.WRONG,
            f"The certificate of {host} is not to be trusted ({error.verify_message}); it was "
            f"issued by {await _untrusted_issuer(host, port)}",
            "If that is not Microsoft's or DigiCert's, a proxy intercepts TLS: have it pass this "
            "host through, or add its authority to the trusted ones (SSL_CERT_FILE). If it says "
            "expired or not yet valid, look at this machine's clock.",
        )
    except (OSError, TimeoutError) as error:
        return Check(
            name,
            State.WRONG,
            f"No connection to {host}:{port}: {first_line(error)}",
            f"Open port {port} to it in the firewall, check the resource's own network rules and "
            f"{_setting_of(what)}.",
        )


async def _certificate(host: str, port: int, context: ssl.SSLContext | None) -> bytes:
    """Connect, and return the other side's certificate (DER); empty without TLS."""
    async with asyncio.timeout(CONNECT_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        tls = writer.get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls else b""
    finally:
        writer.transport.abort()


async def _untrusted_issuer(host: str, port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # to look at it only; nothing is sent
    try:
        return _issuer(await _certificate(host, port, context))
    except (OSError, TimeoutError):
        return "an unknown authority"


def _issuer(certificate: bytes) -> str:
    return x509.load_der_x509_certificate(certificate).issuer.rfc4514_string()


async def _token(name: str, scope: str, client_id: str | None) -> Check:
    try:
        return _read_token(name, await token(scope, client_id), scope)
    except Failure as failure:
        return _wrong(name, failure)


def _read_token(name: str, bearer: str, scope: str) -> Check:
    """What a token says about itself: not a proof, but it names the usual causes."""
    claims = _claims(bearer)
    expires, audience = claims.get("exp"), str(claims.get("aud", ""))
    if isinstance(expires, int | float) and expires < time.time():
        return Check(
            name,
            State.WRONG,
            f"The token expired {time.time() - expires:.0f} s ago, by this machine's clock",
            "Log in anew ('az login'); within Azure, restart the app. If it stays, look at the "
            "clock.",
        )
    wanted = scope.removesuffix("/.default")
    if audience and audience.startswith("https://") and audience.rstrip("/") != wanted:
        return Check(
            name,
            State.WRONG,
            f"The token is for {audience}, not for {wanted}",
            "The identity endpoint hands out the wrong token: check what IDENTITY_ENDPOINT names.",
        )
    who = claims.get("upn") or claims.get("appid") or claims.get("oid") or "an unnamed caller"
    return Check(name, State.OK, f"for {who}")


def _claims(bearer: str) -> dict[str, Any]:
    try:
        part = bearer.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
