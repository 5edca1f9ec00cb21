"""The Face API's liveness sessions, for one machine: `python -m local.face`.

It serves both path shapes and both session types: create, get, delete, as openapi.yaml has them. It
checks bearer tokens (issued by `local.identity`), enforces a rate limit over all calls (limit.py),
answers errors as documented (FaceError body, `x-ms-error-code`), can be changed while it runs
(`/_local/config`), and fails on request (`/_local/faults`, see faults.py), also with the answers of
the platform in front of the API (answers.py).

What differs from the service:

- The shape of the service's limit is not public. Here `--limit` and `--limit-shape` set it. It
  counts all calls equally, and only `Retry-After` in whole seconds shows how long to wait.
- A token carries its right to delete; there are no roles, tenants or regional endpoints behind it.
- Nothing happens in a session: its status stays `NotStarted`, it has no results, and its own token
  opens nothing.
- A wrong body is answered with `BadArgument` or `InvalidRequestBody` and our wording. A method
  that a path does not have is answered with 405 and a FaceError.
- `modelVersion`, query parameters and the image of a session with verify are ignored.

It does not emulate: listing sessions, session images and audit lists, subscription keys (they are
refused, as with local authentication disabled), other operations of the Face API, and limits for a
region, an operation or a session.
"""
