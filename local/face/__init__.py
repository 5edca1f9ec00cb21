"""The Face API's liveness sessions, for one machine: `python -m local.face`.

It serves both path shapes and both session types: create, get, delete. It checks bearer tokens
(issued by `local.identity`), enforces a rate limit over all calls (limit.py), answers errors as
documented (FaceError body, `x-ms-error-code`), can be changed while it runs (`/_local/config`) and
can be told to fail (`/_local/faults`, see faults.py).

It does not emulate: face recognition or any result of a session, session images and audit lists,
listing sessions, subscription keys (they are refused, as with local authentication disabled), the
session's own token, other operations of the Face API, and per-region or per-operation quotas.
"""
