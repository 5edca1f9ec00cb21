// Calls the documented example against a broker: run.js CONNECTION_STRING SESSION_ID…
declare const process: { argv: string[] };
import { ServiceBusClient } from "@azure/service-bus";
import { revoke } from "./publish.js";

const [connectionString, ...sessionIds] = process.argv.slice(2);
const client = new ServiceBusClient(connectionString!);
for (const sessionId of sessionIds) {
  await revoke(client, sessionId);
}
await client.close();
