"""What a process learns from answers, and from pairs of calls."""

import pytest

from delete_session.beliefs import Beliefs
from delete_session.pair import Pair


def beliefs(instances: int = 2) -> Beliefs:
    """What a process believes that had ten calls through at four a second, and one refused."""
    made = Beliefs(0.2, 8.0, instances)
    made.start(found=4.0, rate=4.0, successes=10)
    return made


def test_success_raises_the_limit_and_a_refusal_lowers_it() -> None:
    """The limit that is probable follows the answers."""
    allowed, refused = beliefs(), beliefs()
    before = allowed.limit(0.25)
    allowed.learn(4.0, 20, refused=False)
    refused.learn(4.0, 1, refused=True)
    assert refused.limit(0.25) < before < allowed.limit(0.25)


def test_refusals_that_go_on_at_a_low_rate_have_other_reasons() -> None:
    """Where cutting the rate did not help, the rate is not the reason."""
    made = beliefs()
    made.learn(4.0, 3, refused=True)
    first = made.ours(4.0)
    for rate in (2.0, 1.0, 0.5, 0.5, 0.5):
        made.learn(rate, 5, refused=False)
        made.learn(rate, 1, refused=True)
    assert made.ours(0.5) < 0.5 < first


def test_second_of_two_calls_tells_whether_the_quota_was_used_up() -> None:
    """If it comes through, it was not; if it is refused as well, it was."""
    made, through, refused = (beliefs() for _ in range(3))
    through.learn_from_second(2.0, refused=False)
    refused.learn_from_second(2.0, refused=True)
    assert through.ours(2.0) < made.ours(2.0) / 1.5
    assert refused.ours(2.0) > made.ours(2.0)


def test_calls_that_changed_places_on_their_way_do_not_deceive() -> None:
    """Though now and then a second call comes through at the limit, most are refused: it is ours."""
    made = beliefs()
    made.learn(2.0, 5, refused=True)
    for _ in range(4):
        made.learn_from_second(2.0, refused=False)
        for _ in range(2):
            made.learn_from_second(2.0, refused=True)
    assert made.ours(2.0) > 0.5


@pytest.mark.parametrize("instances", [1, 2, 20, 1000])
def test_any_number_of_instances_makes_sense(instances: int) -> None:
    """Probabilities stay such, and the limit is one of those supposed."""
    made = Beliefs(8 / 20 / instances, 8.0, instances)
    assert 0 <= made.ours(1.0) <= 1
    assert 8 / 20 / instances / 2 < made.limit(0.25) < 24


@pytest.mark.parametrize("second_first", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "told"),
    [(False, False, None), (False, True, None), (True, False, False), (True, True, True)],
)
def test_pair_tells_once_both_are_answered(
    first: bool, second: bool, told: bool | None, second_first: bool
) -> None:
    """In whatever order the answers come; and only where the first was refused."""
    pair = Pair(1.0, second_at=1.01)
    answers = [(1.0, first), (1.01, second)]
    if second_first:
        answers.reverse()
    assert pair.answered(*answers[0]) is None
    assert pair.answered(0.5, refused=True) is None
    assert pair.answered(*answers[1]) is told
    assert pair.answered(*answers[1]) is None


def test_pair_of_calls_at_the_same_moment() -> None:
    """Clocks are coarse: two calls may have the same time, and the first answer is the first call's."""
    pair = Pair(1.0, second_at=1.0)
    assert pair.answered(1.0, refused=True) is None
    assert pair.answered(1.0, refused=False) is False


def test_second_call_after_the_first_answer_makes_no_pair() -> None:
    """What has happened in between would be taken for the quota's state at the first call."""
    pair = Pair(1.0)
    assert pair.answered(1.0, refused=True) is None
    pair.call_second(1.01)
    assert pair.answered(1.01, refused=False) is None
