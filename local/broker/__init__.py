"""A broker for AMQP 1.0 that behaves like an Azure Service Bus queue, as a process of its own.

    python -m local.broker [--config FILE] [--state FILE] [--websocket-port 0] [--latency-ms 15] …

Azure's own client libraries use it unmodified, with the connection string from its ready line.

It emulates queues with peek-lock and receive-and-delete, all settlements (on the receiving link and
by lock token), lock renewal, deferral, scheduling, peeking, time to live, dead-letter queues,
duplicate detection, batches, shared access signatures, and the service's error conditions. If asked
to, it serves AMQP over WebSockets with TLS, answers administration clients on the same port, and
is as slow as a network.

`make peers` holds it against azure-servicebus's own queue tests, every operation of
@azure/service-bus, and rhea; the .NET SDK's operations were tried by hand.

It does NOT emulate:

- sessions, topics, subscriptions and rules, transactions, auto-forwarding, partitioning;
- TLS on the AMQP port, Microsoft Entra tokens;
- changes by administration clients: queues come from the configuration, when they were created or used
  is not recorded, and only the port with TLS answers;
- throttling, quotas on a queue's size or on connections, messages above 256 KiB (Premium);
- geo-replication, the transfer dead-letter queue, `autoDeleteOnIdle`, disabled queues;
- the end of a link when its token expires (a token is checked when a link attaches and, for a
  management node, at each request);
- the recovery of a link: a delivery that a client had not settled when it lost its link stays locked
  until the lock expires, and can be settled by its lock token only;
- with a latency, the time that a message takes to a receiver that waits for it.

Unlike the service, it lets clients connect without SASL; they need tokens all the same. It sends
errors and answers with its own wording, and a lock token's bytes are all below 0x80.

Where the public documentation is silent, it does this: a dropped duplicate does not prolong the
window; a cancelled scheduled message still counts as seen; a dead letter keeps its sequence number
and enqueued time, and cannot be dead-lettered again; deferring counts as a delivery; a transfer
counts as a batch if its body consists of data sections that all are AMQP messages.
"""
