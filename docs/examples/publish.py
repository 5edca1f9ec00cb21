from azure.servicebus import ServiceBusClient, ServiceBusMessage

# One client for the life of your process, made with your managed identity:
# ServiceBusClient("<namespace>.servicebus.windows.net", DefaultAzureCredential())


def revoke(client: ServiceBusClient, session_id: str) -> None:
    message = ServiceBusMessage(
        f'{{"sessionId": "{session_id}"}}',
        message_id=session_id,
        subject="session-revoked",
        content_type="application/json",
    )
    with client.get_queue_sender("session-revoked") as sender:
        sender.send_messages(message)
