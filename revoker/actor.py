"""Who acts, and from where: what a line of the record says about it."""

import getpass
import platform
from dataclasses import dataclass

from delete_session.connection import ServiceBusConnection
from revoker.claims import claims

SERVICE_BUS_SCOPE = "https://servicebus.azure.net/.default"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or an identity, and the place."""

    object_id: str | None
    """From the Microsoft Entra token; None without one, as with a connection string."""
    name: str | None
    os_user: str
    machine: str

    @property
    def what(self) -> str:
        """The actor in a few words."""
        place = f"{self.os_user} on {self.machine}"
        who = self.name or self.object_id
        return f"{who} ({place})" if who else place


def actor_of(bearer: str | None) -> Actor:
    """Return the caller that a Microsoft Entra token names; it is not a proof of identity."""
    found = claims(bearer) if bearer else {}
    names = (found.get(name) for name in ("upn", "unique_name", "preferred_username", "appid"))
    name = next((each for each in names if isinstance(each, str)), None)
    object_id = found.get("oid")
    return Actor(
        object_id if isinstance(object_id, str) else None, name, _os_user(), platform.node()
    )


async def service_bus_actor(connection: ServiceBusConnection) -> Actor:
    """Return who acts on a namespace; the token is that of the login which the SDK uses.

    Raises:
        Failure: no token is available.
    """
    if connection.connection_string:
        return actor_of(None)
    from revoker.face import token  # loads the libraries for HTTP and login

    return actor_of(await token(SERVICE_BUS_SCOPE, connection.client_id, connection.resource_id))


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # such as a container's number without a name
        return "unknown"
