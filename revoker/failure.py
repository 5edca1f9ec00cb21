"""What ends a command early: a text for people, what to do about it, and the exit code."""

from enum import IntEnum

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.servicebus.exceptions import (
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
)


class Exit(IntEnum):
    """Exit codes, the same for every verb."""

    OK = 0
    WRONG = 1  # it worked, and something is wrong, was found or is left to do
    USAGE = 2  # the command line, a file it names or a setting
    UNREACHABLE = 3  # cannot connect, not authorized, or the other side failed
    INTERRUPTED = 130


class Failure(Exception):
    """A command cannot go on; never holds a token or a connection string.

    Args:
        cause: what is wrong, one sentence.
        cure: what to do about it, one sentence.
        code: the exit code.
    """

    def __init__(self, cause: str, cure: str, code: Exit = Exit.UNREACHABLE) -> None:
        super().__init__(f"{cause} {cure}")
        self.cause = cause
        self.cure = cure
        self.code = code


def of_service_bus(error: Exception, where: str, queue: str, right: str) -> Failure:
    """What an error of the Service Bus client means.

    Args:
        error: as the SDK or the credential raised it.
        where: the namespace, for people.
        queue: that was asked for.
        right: that the operation needs: Send or Listen.
    """
    role = {"Send": "Sender", "Listen": "Receiver"}[right]
    if isinstance(error, AzureError):
        inner = error.inner_exception
        if isinstance(inner, ClientAuthenticationError | OSError):
            error = inner  # the credential's or the socket's, which the SDK wraps
    match error:
        case MessagingEntityNotFoundError():
            return Failure(
                f"The queue {queue} does not exist in {where}.",
                "Name the right one with --queue or SESSION_REVOKED_QUEUE, or deploy infra/ first.",
            )
        case MessagingEntityDisabledError():
            return Failure(
                f"The queue {queue} in {where} is disabled for this ({right}).",
                "Set its status to Active in the portal, or with "
                "'az servicebus queue update --status Active'.",
            )
        case ServiceBusAuthenticationError() | ServiceBusAuthorizationError():
            return Failure(
                f"You have no right to {right} on the queue {queue} in {where}.",
                f"Assign yourself the role Azure Service Bus Data {role} on the queue (it takes "
                f"some minutes to work), or use a connection string whose key has the right "
                f"{right}.",
            )
        case ClientAuthenticationError():
            return Failure(
                f"No Microsoft Entra token: {first_line(error)}",
                "Log in with 'az login', to the tenant of the subscription.",
            )
        case ServiceBusConnectionError() | ServiceBusCommunicationError() | OSError():
            return Failure(
                f"{where} cannot be reached: {first_line(error)}",
                "Check the name, and that port 5671 is open from here; 'revoker doctor' tells more.",
            )
        case AzureError():
            return Failure(
                f"{where} failed: {type(error).__name__}: {first_line(error)}",
                "Try again; if it stays, see 'revoker doctor'.",
            )
        case _:
            raise error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 300 characters."""
    text = str(error).strip() or type(error).__name__
    return text.partition("\n")[0][:300]
