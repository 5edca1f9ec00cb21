import { ServiceBusClient } from "@azure/service-bus";

// One client for the life of your process, made with your managed identity:
// new ServiceBusClient("<namespace>.servicebus.windows.net", new DefaultAzureCredential())

export async function revoke(client: ServiceBusClient, sessionId: string): Promise<void> {
  const sender = client.createSender("session-revoked");
  await sender.sendMessages({
    body: { sessionId },
    messageId: sessionId,
    subject: "session-revoked",
    contentType: "application/json",
  });
  await sender.close();
}
