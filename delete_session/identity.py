"""The function's Microsoft Entra credential, and the token for the Face API."""

import asyncio
import os
import time
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential

from .verdict import hide_tokens

# A token is renewed this long before it expires, so that none expires during a call.
_RENEW_BEFORE_SECONDS = 300


class _ManagedIdentity(ManagedIdentityCredential):
    """A managed identity whose errors never contain a token."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        try:
            return await super().get_token(*scopes, **options)  # type: ignore[no-any-return]
        except Exception as error:  # its text may repeat the endpoint's answer
            status = getattr(getattr(error, "response", None), "status_code", None)
            why = f"HTTP {status}" if status else type(error).__name__
            raise ClientAuthenticationError(f"the identity endpoint gave no token: {why}") from None


def credential(client_id: str | None, *, resource_id: str | None = None) -> AsyncTokenCredential:
    """Return the platform's managed identity where there is one, the Azure CLI's login elsewhere.

    App Service and Functions set IDENTITY_ENDPOINT. A client id or a resource id names a user-assigned
    identity; without either, it is the system-assigned one.
    """
    if "IDENTITY_ENDPOINT" in os.environ:
        return _ManagedIdentity(
            client_id=client_id,
            # azure-identity passes this parameter on to App Service as it is.
            identity_config={"mi_res_id": resource_id} if resource_id else None,
            retry_total=0,  # the function retries messages anyway
            use_env_settings=False,  # a proxy would see the secret in IDENTITY_HEADER
        )
    return AzureCliCredential()


class TokenUnavailable(Exception):
    """No token is available; the text says why, and never contains a token."""


class TokenSource:
    """Provides the Face API's token: fetched once for all waiters, renewed before it expires.

    `timeout` is for fetching a token, in seconds.
    """

    def __init__(self, client_id: str | None, scope: str, timeout: float) -> None:
        self._client_id = client_id
        self._scope = scope
        self._timeout = timeout
        self._token: AccessToken | None = None
        self._fetching: asyncio.Task[AccessToken] | None = None

    async def get(self) -> str:
        """Return the token.

        Raises:
            TokenUnavailable: the identity endpoint failed or timed out, and no valid token is left.
        """
        left = self._token.expires_on - time.time() if self._token else 0.0
        if self._token and left > _RENEW_BEFORE_SECONDS:
            return self._token.token
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        try:
            # Shielded: if one waiter is cancelled, the others still get the token.
            self._token = await asyncio.shield(self._fetching)
        except TokenUnavailable:
            if self._token is None or left <= 0:
                raise
        return self._token.token

    async def _fetch(self) -> AccessToken:
        try:
            async with asyncio.timeout(self._timeout), credential(self._client_id) as fresh:
                # A new credential for each fetch, because the cache of a used one cannot be cleared
                # and returns a token until its last second.
                return await fresh.get_token(self._scope)
        except TimeoutError:
            raise TokenUnavailable(f"no token within {self._timeout:g} s") from None
        except Exception as error:  # each credential raises other types
            text = hide_tokens(str(error)).partition("\n")[0][:300]
            raise TokenUnavailable(f"{type(error).__name__}: {text}") from error
        finally:
            self._fetching = None

    def drop(self, token: str) -> None:
        """Forget a token that was refused, unless another call has replaced it."""
        if self._token is not None and self._token.token == token:
            self._token = None
