"""The local Face API's rate limit, in each of its shapes, in simulated time."""

import math

import pytest

from local.face.limit import Limit, Shape, counter_for


def allowed(shape: Shape, times: list[float], count: int = 3, seconds: float = 10) -> list[bool]:
    """Which of the calls at these times may be made."""
    counter = counter_for(Limit(count, seconds, shape))
    return [counter.take(time) == 0 for time in times]


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        # A new window has begun, at 10, and nothing of the last one counts.
        (Shape.FIXED, [True, True]),
        # The calls of 7, 8 and 9 are still in the window that ends now.
        (Shape.SLIDING, [False, False]),
        (Shape.SLIDING_ALL, [False, False]),
        # A third of a token a second: there is one token after 3 s, and then none.
        (Shape.BUCKET, [True, False]),
    ],
)
def test_shapes_differ_in_what_they_allow_next(shape: Shape, last: list[bool]) -> None:
    """After three calls at 7, 8 and 9, the shapes answer differently at 11."""
    assert allowed(shape, [7, 8, 9, 11, 11]) == [True, True, True, *last]


@pytest.mark.parametrize(("shape", "comes_through"), [(Shape.SLIDING, 6), (Shape.SLIDING_ALL, 3)])
def test_refused_calls_count_only_where_the_shape_says_so(shape: Shape, comes_through: int) -> None:
    """A client that calls every second is locked out where refused calls count."""
    assert sum(allowed(shape, [float(second) for second in range(20)])) == comes_through


@pytest.mark.parametrize("shape", list(Shape))
def test_wait_is_exact(shape: Shape) -> None:
    """A call after the stated wait is allowed; a moment earlier, it is not."""
    counter = counter_for(Limit(3, 10, shape))
    for now in (1.0, 1.5, 2.0):
        assert counter.take(now) == 0
    wait = counter.take(2.0)
    assert 0 < wait <= 10
    if shape is not Shape.SLIDING_ALL:  # there, asking too early is what makes it longer
        assert counter.take(2.0 + wait - 0.001) > 0
    assert counter.take(2.0 + wait) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("shape", list(Shape))
def test_limit_is_kept_over_a_long_time(shape: Shape) -> None:
    """A client that waits as told gets the limit's rate: not more, and hardly less."""
    counter = counter_for(Limit(5, 2, shape))
    now = made = 0.0
    while now < 1000:
        if wait := counter.take(now):
            now += wait + 1e-6
        else:
            made += 1
    assert made == pytest.approx(2500, abs=6)


def test_no_limit_refuses_nothing() -> None:
    """Without a limit each call may be made."""
    counter = counter_for(Limit.parse("none"))
    assert not any(counter.take(0.0) for _ in range(1000))


def test_limit_is_read_from_text() -> None:
    """COUNT/SECONDS is what the command line and the control take."""
    assert Limit.parse("20/60", "bucket") == Limit(20, 60, Shape.BUCKET)
    assert Limit.parse("10/0.5") == Limit(10, 0.5, Shape.FIXED)


@pytest.mark.parametrize(
    ("text", "shape"),
    [*((text, "fixed") for text in ("", "10", "x/1", "0/1", "1/0", "1/-1", "1/inf", "1.5/1")),
     ("10/1", "round")],
)  # fmt: skip
def test_limit_that_cannot_be_read_is_an_error(text: str, shape: str) -> None:
    """Anything else is refused with the form that is expected."""
    with pytest.raises(ValueError, match="expected"):
        Limit.parse(text, shape)


def test_every_window_of_a_sliding_limit_holds() -> None:
    """No window of that length holds more calls than the limit, wherever it begins."""
    counter = counter_for(Limit(4, 1, Shape.SLIDING))
    made = [now for step in range(4000) if counter.take(now := step * 0.013) == 0]
    for start in made:
        assert sum(start <= each < start + 1 - 1e-9 for each in made) <= 4
    assert len(made) >= math.floor(made[-1] - made[0]) * 3
