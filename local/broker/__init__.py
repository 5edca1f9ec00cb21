"""A broker for AMQP 1.0 that behaves like an Azure Service Bus queue, as a process of its own.

    python -m local.broker --port 0 --control-port 0 [--config FILE] [--state FILE]

Azure's own client libraries use it unmodified, with the connection string from its ready line.

It emulates queues with peek-lock and receive-and-delete, all settlements (on the receiving link and
by lock token), lock renewal, deferral, scheduling, peeking, time to live, dead-letter queues,
duplicate detection, batches, shared access signatures, and the service's error conditions.

It does NOT emulate:

- sessions, topics, subscriptions and rules, transactions, auto-forwarding, partitioning;
- TLS, AMQP over WebSockets, Microsoft Entra tokens, the HTTP management interface;
- throttling, quotas on a queue's size or on connections, messages above 256 KiB (Premium);
- geo-replication, the transfer dead-letter queue, `autoDeleteOnIdle`, disabled queues;
- the end of a link when its token expires (a token is checked when a link attaches and, for a
  management node, at each request).

Where the public documentation is silent, it does this: a dropped duplicate does not prolong the
window; a cancelled scheduled message still counts as seen; a dead letter keeps its sequence number
and enqueued time, and cannot be dead-lettered again; deferring counts as a delivery; a transfer
counts as a batch when all its data sections are AMQP messages.
"""
