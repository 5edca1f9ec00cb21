using Azure.Messaging.ServiceBus;

// Keep one sender for the life of your process, made with your managed identity:
// new ServiceBusClient("<namespace>.servicebus.windows.net", new DefaultAzureCredential())
//     .CreateSender("session-revoked")

// If the send may have failed, call this again with the same publicationId.
static async Task Revoke(ServiceBusSender sender, string sessionId, string publicationId)
{
    var body = BinaryData.FromObjectAsJson(new { sessionId });
    var message = new ServiceBusMessage(body)
    {
        MessageId = publicationId,
        Subject = "session-revoked",
        ContentType = "application/json",
    };
    await sender.SendMessageAsync(message);
}
