import { ServiceBusClient } from "@azure/service-bus";

// One client for the life of your process, made with your managed identity:
// new ServiceBusClient("<namespace>.servicebus.windows.net", new DefaultAzureCredential())

// If the send may have failed, call this again with the same publicationId.
export async function revoke(
  client: ServiceBusClient,
  sessionId: string,
  publicationId: string,
): Promise<void> {
  const sender = client.createSender("session-revoked");
  await sender.sendMessages({
    body: { sessionId },
    messageId: publicationId,
    subject: "session-revoked",
    contentType: "application/json",
  });
  await sender.close();
}
