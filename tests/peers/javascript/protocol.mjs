// The broker's AMQP by a client that is no Azure SDK:
// node protocol.mjs CONNECTION_STRING CONTROL_PORT
// It logs in by SASL PLAIN with a shared access key, and settles by hand.
import assert from "node:assert/strict";
import { once } from "node:events";
import rhea from "rhea";
import { check, runAll } from "./checks.mjs";

const [connectionString, controlPort] = process.argv.slice(2);
const port = Number(/:(\d+);/.exec(connectionString)[1]);
const { message: outcomes } = rhea;

function connect(options = {}) {
  const container = rhea.create_container();
  const connection = container.connect({
    host: "127.0.0.1", port, username: "k", password: "c2Vj", reconnect: false, ...options,
  });
  // Each check listens where it matters; elsewhere an unheard error would end the process.
  for (const event of ["connection_error", "disconnected", "receiver_error", "sender_error"]) {
    connection.on(event, () => {});
  }
  return connection;
}

async function next(emitter, event, milliseconds = 5_000) {
  const signal = AbortSignal.timeout(milliseconds);
  try {
    return (await once(emitter, event, { signal }))[0];
  } catch {
    throw new Error(`no ${event}`);
  }
}

async function receiver(connection, source, options = {}) {
  const link = connection.open_receiver({
    source, credit_window: 0, autoaccept: false, autosettle: false, rcv_settle_mode: 1, ...options,
  });
  await next(link, "receiver_open");
  return link;
}

async function send(queue, ...bodies) {
  const connection = connect();
  const sender = connection.open_sender(queue);
  await next(sender, "sendable");
  for (const body of bodies) {
    sender.send({ body, message_id: `${Math.random()}` });
    await next(sender, "accepted");
  }
  connection.close();
}

async function one(link) {
  const arrived = next(link, "message");
  link.add_credit(1);
  return arrived;
}

async function none(link, milliseconds = 300) {
  let count = 0;
  const countOne = () => (count += 1);
  link.on("message", countOne);
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  link.off("message", countOne);
  assert.equal(count, 0, "a message arrived");
}

// Settles with an outcome and returns the state that the broker settles with.
async function settle(link, delivery, outcome) {
  const settled = next(link, "settled");
  delivery.update(false, outcome.described());
  assert.equal((await settled).delivery, delivery);
  delivery.update(true);
  return delivery.remote_state;
}

const kind = (state) => state?.constructor.composite_type;

const control = (method, path) => fetch(`http://127.0.0.1:${controlPort}${path}`, { method });

async function counts(queue) {
  return (await (await control("GET", "/queues")).json())[queue];
}

check("PLAIN lets a key in, and no wrong one", async (queue) => {
  const wrong = connect({ password: "d3Jvbmc=" });
  const { error } = await next(wrong, "connection_error");
  assert.match(`${error.condition} ${error.description}`, /unauthorized|auth/i);
  const right = connect();
  await next(right, "connection_open");
  await receiver(right, queue);
});

check("without a token nothing may be used", async (queue) => {
  const connection = connect({ username: "anonymous", password: undefined });
  const link = connection.open_receiver(queue);
  const { receiver: refused } = await next(link, "receiver_error");
  assert.equal(refused.error.condition, "amqp:unauthorized-access");
});

check("a link to an unknown queue is closed with an error", async () => {
  const connection = connect();
  const sender = connection.open_sender("nowhere");
  const { sender: refused } = await next(sender, "sender_error");
  assert.equal(refused.error.condition, "amqp:not-found");
  const link = connection.open_receiver("nowhere");
  assert.equal((await next(link, "receiver_error")).receiver.error.condition, "amqp:not-found");
  assert.ok(connection.is_open());
});

check("a transfer is accepted, or rejected with an error, and settled", async (queue) => {
  const sender = connect().open_sender(queue);
  await next(sender, "sendable");
  assert.equal(sender.get_option("max_message_size", sender.remote.attach.max_message_size), 262_144);
  let settled = next(sender, "settled");
  sender.send({ body: "small" });
  assert.equal(kind((await settled).delivery.remote_state), "accepted");
  settled = next(sender, "settled");
  sender.send({ body: "x".repeat(300_000) });
  const { delivery } = await settled;
  assert.equal(kind(delivery.remote_state), "rejected");
  assert.equal(delivery.remote_state.error.condition, "amqp:link:message-size-exceeded");
});

check("a batch arrives as its messages", async (queue) => {
  const sender = connect().open_sender(queue);
  await next(sender, "sendable");
  const inner = ["a", "b"].map((body) => rhea.message.encode({ body, subject: body }));
  const batch = rhea.message.encode({ body: rhea.message.data_sections(inner) });
  sender.send(batch, undefined, 0x80013700);
  await next(sender, "accepted");
  const link = await receiver(connect(), queue);
  for (const body of ["a", "b"]) assert.equal((await one(link)).message.body, body);
});

check("the delivery tag is the lock token", async (queue) => {
  await send(queue, "a");
  const { delivery, message } = await one(await receiver(connect(), queue));
  const token = message.delivery_annotations["x-opt-lock-token"];
  const bytes = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map((at) => delivery.tag[at]);
  assert.deepEqual(Buffer.from(token), Buffer.from(bytes));
  assert.equal(delivery.remote_settled, false);
});

for (const [name, outcome, expected] of [
  ["accepted completes", () => outcomes.accepted(), {}],
  ["released gives back uncounted", () => outcomes.released(), { active: 1, deliveries: 0 }],
  ["modified gives back counted", () => outcomes.modified(), { active: 1, deliveries: 1 }],
  [
    "modified with delivery-failed gives back counted",
    () => outcomes.modified({ delivery_failed: true }),
    { active: 1, deliveries: 1 },
  ],
  [
    "modified with undeliverable-here defers",
    () => outcomes.modified({ undeliverable_here: true }),
    { deferred: 1 },
  ],
  [
    "rejected dead-letters",
    () => outcomes.rejected({ error: { condition: "com.microsoft:dead-letter" } }),
    { dead_lettered: 1 },
  ],
]) {
  check(`${name}, and the broker settles with the same outcome`, async (queue) => {
    await send(queue, "a");
    const link = await receiver(connect(), queue);
    const { delivery } = await one(link);
    const state = await settle(link, delivery, outcome());
    assert.equal(kind(state), kind(outcome()));
    const { deliveries, ...where } = expected;
    const all = { active: 0, locked: 0, scheduled: 0, deferred: 0, dead_lettered: 0, ...where };
    assert.deepEqual(await counts(queue), all);
    if (deliveries !== undefined) {
      assert.equal((await one(link)).message.delivery_count, deliveries);
    }
  });
}

check("settling without an answer settles", async (queue) => {
  await send(queue, "a");
  const link = await receiver(connect(), queue, { rcv_settle_mode: 0 });
  const { delivery } = await one(link);
  delivery.accept();
  for (let n = 0; n < 50 && (await counts(queue)).active; n += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal((await counts(queue)).active, 0);
});

check("an expired lock is refused with message-lock-lost", async (_, brief) => {
  await send(brief, "a");
  const link = await receiver(connect(), brief);
  const { delivery } = await one(link);
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  const state = await settle(link, delivery, outcomes.accepted());
  assert.equal(kind(state), "rejected");
  assert.equal(state.error.condition, "com.microsoft:message-lock-lost");
  assert.equal((await one(link)).message.delivery_count, 1);
});

check("what a lost connection had received stays locked until its locks expire", async (_, brief) => {
  await send(brief, "a", "b");
  const first = connect();
  const { delivery } = await one(await receiver(first, brief));
  const received = Date.now();
  first.socket.destroy();
  // The same link name and the unsettled delivery, as a client that recovers the link would say.
  const link = await receiver(connect(), brief, {
    unsettled: { [delivery.tag.toString("latin1")]: outcomes.accepted().described() },
  });
  assert.equal((await one(link)).message.body, "b");
  assert.equal((await counts(brief)).locked, 2);
  link.add_credit(1);
  const { message } = await next(link, "message");
  assert.ok(Date.now() - received > 900);
  assert.equal(message.body, "a");
  assert.equal(message.delivery_count, 1);
});

check("as many messages come as there is credit", async (queue) => {
  await send(queue, ..."abcdef");
  const link = await receiver(connect(), queue);
  const bodies = [];
  link.on("message", ({ message }) => bodies.push(message.body));
  await none(link);
  link.add_credit(2);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(bodies, ["a", "b"]);
  link.add_credit(3);
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.deepEqual(bodies, ["a", "b", "c", "d", "e"]);
});

check("draining returns the credit that no message needs", async (queue) => {
  await send(queue, "a");
  const link = await receiver(connect(), queue);
  const arrived = next(link, "message");
  link.add_credit(5);
  await arrived;
  const drained = next(link, "receiver_drained");
  link.drain_credit();
  await drained;
  assert.equal(link.credit, 0);
  await send(queue, "b");
  await none(link);
  link.drain = false;
  assert.equal((await one(link)).message.body, "b");
});

check("a settled link deletes what it sends", async (queue) => {
  await send(queue, "a");
  const link = await receiver(connect(), queue, { snd_settle_mode: 1, rcv_settle_mode: 0 });
  assert.equal((await one(link)).delivery.remote_settled, true);
  assert.equal((await counts(queue)).active, 0);
});

check("a session filter is refused", async (queue) => {
  const filter = { "com.microsoft:session-filter": rhea.types.wrap_string("session") };
  const link = connect().open_receiver({ source: { address: queue, filter } });
  const { receiver: refused } = await next(link, "receiver_error");
  assert.equal(refused.error.condition, "amqp:not-allowed");
});

check("a link can be opened again after the broker detached it", async (queue) => {
  const connection = connect();
  const link = await receiver(connection, queue);
  const closed = next(link, "receiver_error");
  await control("POST", "/detach");
  assert.equal((await closed).receiver.error.condition, "amqp:link:detach-forced");
  await send(queue, "a");
  assert.equal((await one(await receiver(connection, queue))).message.body, "a");
});

check("the broker closes a connection with an error", async (queue) => {
  const connection = connect();
  await receiver(connection, queue);
  const closed = next(connection, "connection_error");
  await control("POST", "/disconnect");
  assert.equal((await closed).connection.error.condition, "amqp:connection:forced");
});

await runAll();
