// Calls the documented example against a broker and prints what it hands over: run-receipts.js CONNECTION_STRING
declare const process: { argv: string[] };
import { ServiceBusClient } from "@azure/service-bus";
import { readReceipts } from "./receipts.js";

const client = new ServiceBusClient(process.argv[2]!);
await readReceipts(client, async (correlationId, gone, outcome) => {
  console.log(JSON.stringify([correlationId, gone, outcome]));
});
await client.close();
