"""Failures, with cause and remedy, for the errors of the Service Bus SDK."""

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.servicebus.exceptions import (
    MessagingEntityDisabledError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusCommunicationError,
    ServiceBusConnectionError,
)

from revoker.caller import Caller
from revoker.failure import Failure, first_line, is_local

QUEUE_NAMED_BY = "--queue or SESSION_REVOKED_QUEUE"


def explain(
    error: Exception,
    where: str,
    queue: str,
    right: str,
    named_by: str = QUEUE_NAMED_BY,
    caller: Caller = Caller.LOGIN,
    port: int = 5671,
) -> Failure:
    """Return the failure for an error of the Service Bus client.

    Args:
        error: the error that the SDK or the credential raised; any other is raised again.
        where: the namespace, for people.
        queue: the queue that was asked for.
        right: the right that the operation needs: Send or Listen.
        named_by: the option or setting that names the queue.
        caller: who was refused, if somebody was.
        port: the port that the connection uses.
    """
    role = {"Send": "Sender", "Listen": "Receiver"}[right]
    if isinstance(error, AzureError):
        inner = error.inner_exception
        if isinstance(inner, ClientAuthenticationError | OSError):
            error = inner  # the credential's or the socket's error, which the SDK wraps
    match error:
        case MessagingEntityNotFoundError():
            return Failure(
                f"The queue {queue} does not exist in {where}.",
                f"Name the right one with {named_by}, or deploy infra/ first.",
            )
        case MessagingEntityDisabledError():
            return Failure(
                f"The queue {queue} in {where} is disabled for this operation ({right}).",
                "Set its status to Active in the portal, or with "
                "'az servicebus queue update --status Active'.",
            )
        case ServiceBusAuthenticationError() | ServiceBusAuthorizationError():
            role = f"the role Azure Service Bus Data {role} on the queue and wait some minutes"
            return Failure(
                f"{caller} has no right to {right} on the queue {queue} in {where}.",
                {
                    Caller.LOGIN: f"Assign yourself {role}. The function's rights are its own.",
                    Caller.FUNCTION: f"Assign the function's identity {role}.",
                    Caller.KEY: f"Use a key with the right {right}, or assign yourself {role}.",
                }[caller],
            )
        case ClientAuthenticationError():
            return Failure(
                f"No Microsoft Entra token: {first_line(error)}",
                "Log in with 'az login' to the tenant of the subscription.",
            )
        case TimeoutError() | OperationTimeoutError():
            return Failure(
                f"{where} does not answer.",
                "Try again; if it fails again, look for what is between it and this machine.",
            )
        case _ if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Failure(
                f"The certificate of {where} cannot be trusted: {first_line(error)}",
                "If a proxy intercepts TLS, set SSL_CERT_FILE to a file with its authority; 'revoker "
                "doctor' tells you who issued the certificate.",
            )
        case ServiceBusConnectionError() | ServiceBusCommunicationError() | OSError():
            host, _, own_port = where.partition(":")
            return Failure(
                f"{where} cannot be reached: {first_line(error)}",
                f"Is the local cloud still running at {where}?"
                if is_local(host)
                else f"Check the name, and that port {own_port or port} is open from here.",
            )
        case AzureError():
            return Failure(
                f"{where} failed: {type(error).__name__}: {first_line(error)}",
                "Try again.",
            )
        case _:
            raise error
