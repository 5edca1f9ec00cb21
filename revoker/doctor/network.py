"""The doctor's connection to a host: its name, its port and its certificate."""

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from revoker.caller import Caller
from revoker.failure import Failure, first_line, is_local

CONNECT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A host to be reached, and the setting that names it."""

    host: str
    port: int
    tls: bool
    setting: str

    @classmethod
    def of(cls, url: str, default_port: int, *, tls: bool, setting: str) -> Self:
        """Read host and port from a URL.

        Raises:
            Failure: its port is not a number.
        """
        parts = urlsplit(url)
        try:
            port = parts.port or default_port
        except ValueError as error:
            raise Failure(f"{url} is not an address: {error}", f"Correct {setting}.") from None
        return cls(host=parts.hostname or "", port=port, tls=tls, setting=setting)


async def resolve(target: Target) -> str:
    """Return the addresses of the name, in words.

    Raises:
        Failure: the name cannot be resolved.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        raise Failure(
            f"The name {target.host} cannot be resolved: {first_line(error)}",
            f"Check the spelling of {target.setting}; for a private endpoint, run this where its "
            "private DNS zone is known.",
        ) from None
    addresses = sorted({str(each[4][0]) for each in found})
    private = all(ipaddress.ip_address(each.split("%")[0]).is_private for each in addresses)
    return f"{target.host} is {', '.join(addresses)}{' (private)' if private else ''}"


async def connect(target: Target, caller: Caller) -> str:
    """Connect, and name the issuer of the certificate.

    Raises:
        Failure: there is no connection, or the certificate cannot be trusted.
    """
    try:
        if not target.tls:
            await _certificate(target, None)
            return "connected without TLS, as only the local cloud allows"
        # As the function trusts: SSL_CERT_FILE, else certifi, and not what the system trusts.
        issuer = _issuer(await _certificate(target, httpx.create_ssl_context()))
        return f"the certificate was issued by {issuer}"
    except ssl.SSLCertVerificationError as error:
        raise Failure(
            f"The certificate of {target.host} cannot be trusted ({error.verify_message}); it was "
            f"issued by {await _untrusted_issuer(target)}",
            "If that is neither Microsoft nor DigiCert, a proxy intercepts TLS: let it pass this "
            "host through, or add its authority to the trusted ones (SSL_CERT_FILE). If the "
            "certificate has expired or is not yet valid, check this machine's clock.",
        ) from None
    except (OSError, TimeoutError) as error:
        remedy = (
            f"Open port {target.port} in the firewall, and check the resource's own network rules "
            f"and {target.setting}."
        )
        if caller is Caller.LOGIN:
            remedy = (
                f"Check {target.setting}, and whether this machine's network lets port {target.port} "
                "out. If only the function's network may reach it, run the doctor there. This says "
                "nothing about the function: do not open a firewall for it."
            )
        if is_local(target.host):
            remedy = (
                f"Is the local cloud still running, with port {target.port}? See {target.setting}."
            )
        raise Failure(
            f"No connection from here to {target.host}:{target.port}: {first_line(error)}", remedy
        ) from None


async def _certificate(target: Target, context: ssl.SSLContext | None) -> bytes:
    """Connect, and return the other side's certificate (DER), which is empty without TLS."""
    async with asyncio.timeout(CONNECT_SECONDS):
        _, writer = await asyncio.open_connection(target.host, target.port, ssl=context)
    try:
        tls = writer.get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls else b""
    finally:
        writer.transport.abort()


async def _untrusted_issuer(target: Target) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only to read the certificate; nothing is sent
    try:
        return _issuer(await _certificate(target, context))
    except (OSError, TimeoutError):
        return "an unknown authority"


def _issuer(certificate: bytes) -> str:
    return x509.load_der_x509_certificate(certificate).issuer.rfc4514_string()
