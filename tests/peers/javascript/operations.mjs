// Every operation of a queue by the JavaScript SDK: node operations.mjs CONNECTION_STRING
// The queues have a lock of a minute, 10 deliveries, duplicate detection and dead-lettering on
// expiry.
import assert from "node:assert/strict";
import { ServiceBusClient } from "@azure/service-bus";
import { check, runAll } from "./checks.mjs";

const [connectionString] = process.argv.slice(2);
const options = { retryOptions: { maxRetries: 0, timeoutInMs: 10_000 } };
const client = new ServiceBusClient(connectionString, options);
const DEAD_LETTER = { subQueueType: "deadLetter" };
const HOUR = 3_600_000;

async function send(queue, ...messages) {
  await client.createSender(queue).sendMessages(messages);
}

async function one(receiver) {
  const [message] = await receiver.receiveMessages(1, { maxWaitTimeInMs: 5_000 });
  assert.ok(message, "no message arrived");
  return message;
}

async function none(receiver) {
  const messages = await receiver.receiveMessages(1, { maxWaitTimeInMs: 300 });
  assert.deepEqual(messages.map((message) => message.body), []);
}

async function refused(code, action) {
  await assert.rejects(action, (error) => {
    assert.equal(error.code, code, `${error.code}: ${error.message}`);
    return true;
  });
}

check("send and complete", async (queue) => {
  const sent = {
    body: { n: 1 }, messageId: "id", subject: "subject", contentType: "application/json",
    correlationId: "correlation", replyTo: "reply", to: "to", partitionKey: "key",
    applicationProperties: { text: "ä", number: 7, yes: true },
  };
  await send(queue, sent);
  const receiver = client.createReceiver(queue);
  const message = await one(receiver);
  for (const [name, value] of Object.entries(sent)) assert.deepEqual(message[name], value, name);
  assert.equal(message.deliveryCount, 0);
  assert.equal(message.state, "active");
  assert.ok(message.lockedUntilUtc > message.enqueuedTimeUtc);
  await receiver.completeMessage(message);
  await none(receiver);
});

check("messages without a body and of every AMQP body type", async (queue) => {
  const bodies = [
    { bodyType: "value", body: { list: [1, null] } },
    { bodyType: "sequence", body: [1, "two"] },
    { bodyType: "data", body: Buffer.from("three") },
  ];
  await send(queue, { body: undefined }, ...bodies);
  const receiver = client.createReceiver(queue);
  assert.equal((await one(receiver)).body ?? undefined, undefined);
  for (const { bodyType, body } of bodies) {
    const message = await one(receiver);
    assert.equal(message._rawAmqpMessage.bodyType, bodyType);
    assert.deepEqual(message.body, body);
  }
});

check("batch", async (queue) => {
  const sender = client.createSender(queue);
  const batch = await sender.createMessageBatch();
  assert.equal(batch.maxSizeInBytes, 262_144);
  while (batch.count < 50 && batch.tryAddMessage({ body: `${batch.count}` }));
  assert.equal(batch.count, 50);
  await sender.sendMessages(batch);
  const receiver = client.createReceiver(queue);
  const messages = [];
  while (messages.length < 50) {
    messages.push(...(await receiver.receiveMessages(50 - messages.length)));
  }
  assert.deepEqual(messages.map(({ body }) => body), [...Array(50).keys()].map(String));
});

check("a message that is too large is refused", async (queue) => {
  await refused("MessageSizeExceeded", () => send(queue, { body: "x".repeat(300_000) }));
});

check("schedule", async (queue) => {
  const sender = client.createSender(queue);
  const soon = new Date(Date.now() + 700);
  const numbers = await sender.scheduleMessages([{ body: "a" }, { body: "b" }], soon);
  assert.equal(numbers.length, 2);
  const receiver = client.createReceiver(queue);
  const peeked = await receiver.peekMessages(5);
  assert.deepEqual(peeked.map(({ state }) => state), ["scheduled", "scheduled"]);
  const message = await one(receiver);
  assert.ok(message.enqueuedTimeUtc >= soon);
  assert.equal(message.state, "active");
});

check("cancel a scheduled message", async (queue) => {
  const sender = client.createSender(queue);
  const numbers = await sender.scheduleMessages({ body: "a" }, new Date(Date.now() + HOUR));
  await sender.cancelScheduledMessages(numbers);
  assert.deepEqual(await client.createReceiver(queue).peekMessages(5), []);
  await refused("MessageNotFound", () => sender.cancelScheduledMessages(numbers));
});

check("peek", async (queue) => {
  await send(queue, ...[..."abcdefg"].map((body) => ({ body })));
  const receiver = client.createReceiver(queue);
  const bodies = async (count, options) =>
    (await receiver.peekMessages(count, options)).map(({ body }) => body).join("");
  assert.equal(await bodies(4), "abcd");
  assert.equal(await bodies(4), "efg");
  const { default: Long } = await import("long");
  assert.equal(await bodies(2, { fromSequenceNumber: Long.fromNumber(6) }), "fg");
});

check("ten peeks at once on one receiver", async (queue) => {
  await send(queue, ...[..."abcde"].map((body) => ({ body })));
  const receiver = client.createReceiver(queue);
  const { default: Long } = await import("long");
  const peeks = [...Array(10)].map(() =>
    receiver.peekMessages(5, { fromSequenceNumber: Long.fromNumber(1) }),
  );
  for (const peeked of await Promise.all(peeks)) assert.equal(peeked.length, 5);
});

check("defer and receive by number", async (queue) => {
  await send(queue, { body: "a" });
  const receiver = client.createReceiver(queue);
  const message = await one(receiver);
  await receiver.deferMessage(message, { seen: "yes" });
  await none(receiver);
  const [deferred] = await receiver.receiveDeferredMessages(message.sequenceNumber);
  assert.equal(deferred.state, "deferred");
  assert.equal(deferred.applicationProperties.seen, "yes");
  await receiver.completeMessage(deferred);
  await refused("MessageNotFound", () => receiver.receiveDeferredMessages(message.sequenceNumber));
});

check("abandon", async (queue) => {
  await send(queue, { body: "a" });
  const receiver = client.createReceiver(queue);
  await receiver.abandonMessage(await one(receiver), { again: 1 });
  const message = await one(receiver);
  assert.equal(message.deliveryCount, 1);
  assert.equal(message.applicationProperties.again, 1);
});

check("dead-letter and the sub-queue", async (queue) => {
  await send(queue, { body: "a" });
  const receiver = client.createReceiver(queue);
  await receiver.deadLetterMessage(await one(receiver), {
    deadLetterReason: "Reason", deadLetterErrorDescription: "Description", more: "property",
  });
  const deadLetters = client.createReceiver(queue, DEAD_LETTER);
  const message = await one(deadLetters);
  assert.equal(message.deadLetterReason, "Reason");
  assert.equal(message.deadLetterErrorDescription, "Description");
  assert.equal(message.applicationProperties.more, "property");
  await deadLetters.completeMessage(message);
  assert.deepEqual(await deadLetters.peekMessages(5), []);
});

check("renew a lock", async (queue) => {
  await send(queue, { body: "a" });
  const receiver = client.createReceiver(queue);
  const message = await one(receiver);
  const before = message.lockedUntilUtc;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok((await receiver.renewMessageLock(message)) > before);
  await receiver.completeMessage(message);
  await refused("MessageLockLost", () => receiver.renewMessageLock(message));
});

check("receive and delete", async (queue) => {
  await send(queue, { body: "a" });
  await one(client.createReceiver(queue, { receiveMode: "receiveAndDelete" }));
  assert.deepEqual(await client.createReceiver(queue).peekMessages(5), []);
});

check("a subscription settles by itself", async (queue) => {
  await send(queue, ...[..."abcdef"].map((body) => ({ body })));
  const receiver = client.createReceiver(queue);
  const seen = [];
  await new Promise((resolve, reject) => {
    receiver.subscribe(
      {
        processMessage: async ({ body, deliveryCount }) => {
          seen.push(body);
          if (body === "c" && deliveryCount === 0) throw new Error("this one fails once");
          if (seen.length === 7) resolve();
        },
        processError: async ({ error }) => {
          if (error.message !== "this one fails once") reject(error);
        },
      },
      { maxConcurrentCalls: 3 },
    );
  });
  await receiver.close();
  assert.deepEqual(seen.sort().join(""), "abccdef");
  assert.deepEqual(await client.createReceiver(queue).peekMessages(5), []);
});

check("sessions are refused with an error", async (queue) => {
  await assert.rejects(() => client.acceptSession(queue, "session"), /[Ss]ession/);
});

check("duplicate detection", async (queue) => {
  await send(queue, { body: "a", messageId: "same" });
  await send(queue, { body: "b", messageId: "same" });
  const peeked = await client.createReceiver(queue).peekMessages(5);
  assert.deepEqual(peeked.map(({ body }) => body), ["a"]);
});

check("time to live", async (queue) => {
  await send(queue, { body: "a", timeToLive: 200 });
  const message = await one(client.createReceiver(queue, DEAD_LETTER));
  assert.equal(message.deadLetterReason, "TTLExpiredException");
});

check("sixty abandons end in the dead-letter queue after maxDeliveryCount", async (queue) => {
  await send(queue, { body: "a" });
  const receiver = client.createReceiver(queue);
  const counts = [];
  for (let n = 0; n < 60; n += 1) {
    const [message] = await receiver.receiveMessages(1, { maxWaitTimeInMs: n < 10 ? 5_000 : 20 });
    if (message === undefined) continue;
    counts.push(message.deliveryCount);
    await receiver.abandonMessage(message);
  }
  assert.deepEqual(counts, [...Array(10).keys()]);
  const message = await one(client.createReceiver(queue, DEAD_LETTER));
  assert.equal(message.deadLetterReason, "MaxDeliveryCountExceeded");
});

check("settling twice is refused", async (queue) => {
  await send(queue, { body: "a" });
  const receiver = client.createReceiver(queue);
  const message = await one(receiver);
  await receiver.completeMessage(message);
  await assert.rejects(() => receiver.completeMessage(message), /settled/);
});

check("settling after another receiver closed the link", async (queue) => {
  await send(queue, { body: "a" });
  const first = client.createReceiver(queue);
  const message = await one(first);
  await first.close();
  await assert.rejects(() => first.completeMessage(message), /closed/);
  const [peeked] = await client.createReceiver(queue).peekMessages(1);
  assert.equal(peeked.body, "a");
});

check("an unknown queue is not found", async () => {
  await refused("MessagingEntityNotFound", () => send("nowhere", { body: "a" }));
  const receiver = client.createReceiver("nowhere");
  await refused("MessagingEntityNotFound", () => receiver.receiveMessages(1));
});

check("a wrong key is refused", async (queue) => {
  const wrong = connectionString.replace(/SharedAccessKey=[^;]*/, "SharedAccessKey=d3Jvbmc=");
  const other = new ServiceBusClient(wrong, options);
  await refused("UnauthorizedAccess", () => other.createSender(queue).sendMessages({ body: "a" }));
  await other.close();
});

await runAll();
