import { ServiceBusClient } from "@azure/service-bus";

// The role Azure Service Bus Data Receiver on this queue is enough.

export interface Outcome {
  sessionId?: string; // none if the message was malformed and named none
  outcome: "deleted" | "already_gone" | "dead_lettered";
  reason?: string;
  description?: string;
  rootMessageId: string;
}

// Reports each outcome: the correlation id, whether it was deleted or not found, and the data.
export async function readReceipts(
  client: ServiceBusClient,
  report: (correlationId: string, gone: boolean, outcome: Outcome) => Promise<void>,
): Promise<void> {
  const receiver = client.createReceiver("session-outcomes");
  for (const message of await receiver.receiveMessages(100, { maxWaitTimeInMs: 5000 })) {
    const gone = message.body.type.endsWith(".completed");
    // A receipt may come twice: make this harmless to repeat, or remember message.body.id.
    await report(String(message.correlationId), gone, message.body.data);
    await receiver.completeMessage(message);
  }
  await receiver.close();
}
