"""A Functions host for one machine: `python -m local.host`.

It receives from Service Bus, invokes the app as the platform's worker for Python 3.13 does (its
runtime, protobuf messages, uvloop, its kind of tasks), and settles as the platform's host does for
a Service Bus queue trigger: peek-lock, up to `maxConcurrentCalls` invocations at once, locks
renewed while the function runs, complete when it returns, abandon when it raises, one error line
and no abandon when the lock is gone. An invocation that outlasts `functionTimeout` fails with all
others in flight, and the process restarts.

It ends in the platform's two ways. SIGTERM ends it at once, like the platform's worker: locks expire,
and the broker delivers again. Only a handler that the app installs at its import runs first. SIGUSR1
drains it, like the platform's host: invocations are aborted after one to three seconds and their
messages abandoned, whatever the worker has done by then.

What differs from the platform:

- Worker and host are one process, without gRPC between them: what blocks the app blocks the host. A
  timeout restarts both.
- Each invocation has a separate link. The platform's processor has one link with credit for all; an
  error on it stops them together.
- A link lost while it waits for a message is reopened after half a second.
- An unknown key of host.json is an error here; the platform ignores it.

It does not emulate: scaling out, other triggers and bindings, batches, sessions, AMQP values bound as
text, `autoCompleteMessages: false`, function-level retries, the HTTP endpoints, extension bundles,
Key Vault references, and connections by identity (use a connection string).
"""
