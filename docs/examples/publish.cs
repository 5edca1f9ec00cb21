using Azure.Messaging.ServiceBus;

// One client for the life of your process, made with your managed identity:
// new ServiceBusClient("<namespace>.servicebus.windows.net", new DefaultAzureCredential())

// If the send may have failed, call this again with the same publicationId.
static async Task Revoke(ServiceBusClient client, string sessionId, string publicationId)
{
    var body = BinaryData.FromObjectAsJson(new { sessionId });
    var message = new ServiceBusMessage(body)
    {
        MessageId = publicationId,
        Subject = "session-revoked",
        ContentType = "application/json",
    };
    await using var sender = client.CreateSender("session-revoked");
    await sender.SendMessageAsync(message);
}
