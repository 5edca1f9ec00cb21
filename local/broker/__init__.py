"""A broker for AMQP 1.0 that behaves like Azure Service Bus queues. Its README.md says how to use it.

Where the public documentation is silent, it does this: a dropped duplicate does not prolong the
window; a cancelled scheduled message still counts as seen; a dead letter keeps its sequence number
and enqueued time, and cannot be dead-lettered again; deferring counts as a delivery; a transfer
counts as a batch if its body consists of data sections that all are AMQP messages.

Unlike the service, it lets clients connect without SASL, though they still need tokens. Errors and
answers have its own wording, and all bytes of a lock token are below 0x80. With a latency, a waiting
receiver still gets its message at once.
"""
