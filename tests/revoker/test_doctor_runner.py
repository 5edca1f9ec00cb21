"""The runner of the doctor's checks: what it skips, and what it runs concurrently."""

import asyncio

import pytest

from revoker.doctor.runner import Check, Result, Skipped, State, run
from revoker.failure import Failure
from revoker.output import conclusion


async def passes() -> str:
    return "fine"


async def fails() -> str:
    raise Failure("It is broken.", "Repair it.")


async def has_nothing_to_do() -> str:
    raise Skipped("nothing to look at")


async def must_not_run() -> str:
    raise AssertionError("ran although what it needs did not pass")


async def test_a_result_has_the_cause_and_the_remedy_of_the_failure() -> None:
    """A probe's text, failure or reason to skip becomes the check's result, in the given order."""
    results = await run(
        [
            Check("one", (), passes),
            Check("two", (), fails),
            Check("three", (), has_nothing_to_do),
        ]
    )
    assert results == [
        Result("one", State.OK, "fine"),
        Result("two", State.FAILED, "It is broken.", "Repair it."),
        Result("three", State.SKIPPED, "nothing to look at"),
    ]


async def test_skips_what_rests_on_a_failed_check() -> None:
    """Checks that rest on a failed one, directly or not, are skipped, and the failed one is named."""
    results = await run(
        [
            Check("root", (), fails),
            Check("other", (), passes),
            Check("middle", ("other", "root"), must_not_run),
            Check("leaf", ("middle",), must_not_run),
            Check("apart", ("other",), passes),
        ]
    )
    by_name = {each.name: (each.state, each.detail) for each in results}
    assert by_name["middle"] == (State.SKIPPED, "root failed")
    assert by_name["leaf"] == (State.SKIPPED, "root failed")
    assert by_name["apart"] == (State.OK, "fine")


async def test_skips_what_rests_on_a_skipped_check_for_the_same_reason() -> None:
    """The reason of a skipped check is also the reason of those that rest on it."""
    results = await run(
        [Check("root", (), has_nothing_to_do), Check("leaf", ("root",), must_not_run)]
    )
    assert [each.detail for each in results] == ["nothing to look at"] * 2


async def test_runs_independent_checks_concurrently() -> None:
    """Of two checks without needs, neither waits for the other to end."""
    barrier = asyncio.Barrier(2)

    async def meets() -> str:
        async with asyncio.timeout(5):
            await barrier.wait()
        return "met"

    results = await run([Check("one", (), meets), Check("two", (), meets)])
    assert [each.detail for each in results] == ["met", "met"]


async def test_a_result_is_known_as_soon_as_its_check_ends() -> None:
    """A check that is done does not wait for a slower one before it."""
    known: list[str] = []

    async def until_the_other_is_known() -> str:
        async with asyncio.timeout(5):
            while not known:
                await asyncio.sleep(0)
        return ""

    checks = [Check("slow", (), until_the_other_is_known), Check("quick", (), passes)]
    await run(checks, lambda result: known.append(result.name))
    assert known == ["quick", "slow"]


async def test_runs_a_check_after_what_it_needs() -> None:
    """A probe starts only after the probes of its needs have ended."""
    left: list[str] = []

    async def leave() -> str:
        await asyncio.sleep(0)
        left.append("a token")
        return ""

    async def find() -> str:
        return left[0]

    results = await run([Check("first", (), leave), Check("second", ("first",), find)])
    assert results[1] == Result("second", State.OK, "a token")


async def test_refuses_a_check_that_needs_one_that_does_not_come_before_it() -> None:
    """A misspelt name or a circle is an error, and not a check that waits for ever."""
    with pytest.raises(ValueError, match="'one' needs"):
        await run([Check("one", ("two",), passes), Check("two", (), passes)])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        ({"ok": 13}, "All 13 checks passed."),
        ({"ok": 12, "skipped": 1}, "12 of 13 checks passed, 1 was skipped."),
        ({"ok": 11, "failed": 2}, "2 of 13 checks failed."),
        ({"ok": 6, "failed": 2, "skipped": 5}, "2 of 13 checks failed, 5 were skipped."),
    ],
)
def test_the_last_line_sums_up_the_checks(count: dict[str, int], text: str) -> None:
    """The last line counts the failed and the skipped checks, if any."""
    assert conclusion(count) == text
