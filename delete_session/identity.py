"""Who the function is: one Microsoft Entra credential per process, and the token it holds."""

import asyncio
import os
import time

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential

# A token is renewed this long before it expires, so that none expires on the way. Managed identity
# endpoints themselves hand out a cached token until shortly before.
_RENEW_BEFORE_SECONDS = 300


def credential(client_id: str | None, *, resource_id: str | None = None) -> AsyncTokenCredential:
    """Return the platform's managed identity where there is one, the Azure CLI's login elsewhere.

    Which of the two is certain from the environment: App Service and Functions set
    IDENTITY_ENDPOINT. Nothing else is ever tried. Neither needs to be told the cloud's authority:
    the platform asks its own, and the CLI the one of `az cloud set`.

    Args:
        client_id: of a user-assigned identity; None for the system-assigned one.
        resource_id: of a user-assigned identity, instead of its client id.
    """
    if "IDENTITY_ENDPOINT" in os.environ:
        return ManagedIdentityCredential(
            client_id=client_id,
            # As App Service calls it: azure-identity hands it on under the name it is given.
            identity_config={"mi_res_id": resource_id} if resource_id else None,
            # No retries of its own: the message's retry schedule and the circuit breaker do that.
            retry_total=0,
            # No proxy from the environment: it would be told the secret in IDENTITY_HEADER.
            use_env_settings=False,
        )
    return AzureCliCredential()


class TokenUnavailable(Exception):
    """No token could be had; the text says why. It never holds a token."""


class TokenSource:
    """Hands out the Face API's token: fetched once for all who wait, renewed before it expires.

    Args:
        client_id: of a user-assigned identity; None for the system-assigned one.
        scope: what the token is for.
        timeout: seconds that fetching a token may take.
    """

    def __init__(self, client_id: str | None, scope: str, timeout: float) -> None:
        self._client_id = client_id
        self._scope = scope
        self._timeout = timeout
        self._token: AccessToken | None = None
        self._fetching: asyncio.Task[AccessToken] | None = None

    async def get(self) -> str:
        """The token.

        Raises:
            TokenUnavailable: the identity endpoint failed or did not answer in time, and the token
                held has expired.
        """
        left = self._token.expires_on - time.time() if self._token else 0.0
        if self._token and left > _RENEW_BEFORE_SECONDS:
            return self._token.token
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        try:
            # Shielded: one waiter's cancellation must not fail the others.
            self._token = await asyncio.shield(self._fetching)
        except TokenUnavailable:
            if self._token is None or left <= 0:
                raise
        return self._token.token

    async def _fetch(self) -> AccessToken:
        try:
            async with asyncio.timeout(self._timeout), credential(self._client_id) as fresh:
                # A credential opened for one fetch, once in an hour or so: what an open one holds
                # in its own cache cannot be dropped, and it hands it out until the last second.
                return await fresh.get_token(self._scope)
        except TimeoutError:
            raise TokenUnavailable(f"no token within {self._timeout:g} s") from None
        except Exception as error:  # every credential has failures of its own
            text = str(error).partition("\n")[0][:300]
            raise TokenUnavailable(f"{type(error).__name__}: {text}") from error
        finally:
            self._fetching = None

    def drop(self, token: str) -> None:
        """Forget a token that was refused, unless another call has replaced it by now."""
        if self._token is not None and self._token.token == token:
            self._token = None
