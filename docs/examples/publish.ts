import { ServiceBusSender } from "@azure/service-bus";

// Keep one sender open for the life of your process, made with your managed identity:
// new ServiceBusClient("<namespace>.servicebus.windows.net", new DefaultAzureCredential())
//   .createSender("session-revoked")

// If the send may have failed, call this again with the same publicationId.
export async function revoke(
  sender: ServiceBusSender,
  sessionId: string,
  publicationId: string,
): Promise<void> {
  await sender.sendMessages({
    body: { sessionId },
    messageId: publicationId,
    subject: "session-revoked",
    contentType: "application/json",
  });
}
