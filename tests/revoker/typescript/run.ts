// Calls the documented example against a broker: run.js CONNECTION_STRING SESSION_ID:PUBLICATION_ID…
declare const process: { argv: string[] };
import { ServiceBusClient } from "@azure/service-bus";
import { revoke } from "./publish.js";

const [connectionString, ...publications] = process.argv.slice(2);
const client = new ServiceBusClient(connectionString!);
const sender = client.createSender("session-revoked");
for (const publication of publications) {
  const [sessionId, publicationId] = publication.split(":");
  await revoke(sender, sessionId!, publicationId!);
}
await client.close();
