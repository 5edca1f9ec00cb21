"""The rights that infra/README.md gives to operators, against what the verbs use."""

import json
import re
from pathlib import Path

import pytest

from revoker.failure import Exit
from tests.revoker.conftest import OneQueue, revoker

ROOT = Path(__file__).parents[2]
README = (ROOT / "infra/README.md").read_text("utf-8")
TABLE = re.search(r"<!-- rights -->(.*?)<!-- /rights -->", README, re.DOTALL)
ROWS = [line.split("|")[1:4] for line in TABLE[1].strip().splitlines()[2:]] if TABLE else []
VERBS = {
    verb: (receive.strip(), send.strip())
    for verbs, receive, send in ROWS
    for verb in re.findall("`([^`]+)`", verbs)
}
ARGUMENTS = {
    "publish": ["an-id"],
    "dead-letters show": ["1"],
    "dead-letters resubmit": ["--all"],
    "dead-letters discard": ["--all", "--yes"],
    "dead-letters receipts": ["--reason", "One"],
}
DECIDES = [verb for verb in VERBS if verb not in ("doctor", "desk", "session", "audit", "trial")]
"""Not the doctor and the trial, which report a missing right, nor the desk, which does what the others
do; `session` and `audit` ask the Face API only."""
KEYS = {(False, True): "sender", (True, False): "listener", (True, True): "both"}


def test_every_verb_is_in_the_table() -> None:
    """The table names each verb of the command once."""
    runbook = (
        (ROOT / "docs/operations.md")
        .read_text("utf-8")
        .partition("## The command")[2]
        .partition("\n## ")[0]
    )
    verbs = re.findall(r"^\| `(dead-letters \w+|\w+)[` ]", runbook, re.MULTILINE)
    assert sorted(verbs) == sorted(VERBS)


def run(queue: OneQueue, verb: str, rights: tuple[bool, bool]) -> int:
    """The exit code of a verb with a key that has these rights, to receive and to send."""
    another = "q1" if queue.name == "q0" else "q0"
    environment = queue.environment | {
        "ServiceBusConnection": queue.broker.with_key(KEYS[rights], "c2Vj"),
        "OUTCOME_QUEUE": another if verb == "dead-letters receipts" else "",
    }
    return revoker(environment, *verb.split(), *ARGUMENTS.get(verb, [])).code


@pytest.mark.parametrize("verb", DECIDES)
def test_a_verb_needs_exactly_its_rights(verb: str, seeded: OneQueue) -> None:
    """It fails without a right that the table gives, and works with these alone."""
    receive, send = map(bool, VERBS[verb])
    lacking = [(False, True)] * receive + [(True, False)] * send
    assert [run(seeded, verb, rights) for rights in lacking] == [Exit.UNREACHABLE] * len(lacking)
    assert run(seeded, verb, (receive, send)) in (Exit.OK, Exit.WRONG)


def test_operators_get_the_union_of_the_table() -> None:
    """In the snapshot of the landing zone, an operator has these roles and can read the logs."""
    [operator] = re.findall("`OPERATOR_PRINCIPAL_IDS=([^`]+)`", README)
    snapshot = json.loads((ROOT / "infra/snapshots/landing-zone.json").read_bytes())
    found = {
        (
            one["id"].partition("/providers/Microsoft.Authorization/")[0].rpartition("/")[2],
            one["properties"]["roleDefinitionId"].rpartition("/")[2][:8],
        )
        for one in snapshot["resources"]
        if one.get("properties", {}).get("principalId") == operator
    }
    roles = {x["name"][:8] for x in snapshot["resources"] if x["type"].endswith("roleDefinitions")}
    receive, send = "4f6d3b9b", "69a216fc"
    queues = {"the queue": "session-revoked", "the receipts": "session-outcomes"}
    wanted = {(queues[on], receive) for on, _ in VERBS.values() if on}
    wanted |= {(queues[on], send) for _, on in VERBS.values() if on}
    components = {each for each in found if each[1] == "43d0d8ad"}
    assert len(components) == 1
    assert found - components == wanted | {("face-bank", role) for role in roles}
