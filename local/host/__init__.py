"""A Functions host for one machine: `python -m local.host`.

It receives from Service Bus, invokes the app with the production worker's own library, and settles
as the platform's host does for a Service Bus queue trigger: peek-lock, up to `maxConcurrentCalls`
invocations at once, locks renewed while the function runs, complete when it returns, abandon when it
raises, one error line and no abandon when the lock is gone.

It does not emulate: gRPC and the worker as a process of its own, scaling out, other triggers and
bindings, batches, sessions, AMQP values bound as text, `functionTimeout`,
`autoCompleteMessages: false`, function-level retries, the HTTP endpoints, extension bundles, Key
Vault references, and connections by identity (the local broker has no TLS; use a connection string).
"""
