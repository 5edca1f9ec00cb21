from azure.servicebus import ServiceBusMessage, ServiceBusSender

# Keep one sender open for the life of your process, made with your managed identity:
# ServiceBusClient("<namespace>.servicebus.windows.net", DefaultAzureCredential())
#     .get_queue_sender("session-revoked")


def revoke(sender: ServiceBusSender, session_id: str, publication_id: str) -> None:
    """Publish. If the send may have failed, call this again with the same publication_id."""
    message = ServiceBusMessage(
        f'{{"sessionId": "{session_id}"}}',
        message_id=publication_id,
        subject="session-revoked",
        content_type="application/json",
    )
    sender.send_messages(message)
