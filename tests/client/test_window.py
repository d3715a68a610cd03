"""When a circuit trips: a streak, or a share of a full window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgi_resilience.client.window import BreakerPolicy, OutcomeWindow


def trips_at(outcomes, policy):
    """The number of the outcome that trips, or None; `F` is a failure, `S` a success."""
    window = OutcomeWindow(policy)
    for number, outcome in enumerate(outcomes, start=1):
        reason = window.failure(0.0) if outcome == "F" else window.success()
        if reason is not None:
            return number
    return None


@pytest.mark.parametrize(
    ("outcomes", "trip"),
    [
        ("FFFF", None),
        ("FFFFF", 5),
        ("FFFFSFFFF", None),
        ("FFFSFFFS", None),
        ("FFSFFSFFS", None),
        ("SFSFSFSFSF", 10),
        ("FSFSFSFSFS", 10),
        ("FFFFSFSSSS", 10),
        ("FFFFSSSSSS", None),
        ("SSSSSSFFFF", None),
        ("SSSSSSFFFFF", 11),
        ("SSSSSSSSSSFFFFSFFFF", 16),
        ("SSSSSSSSSSFFSFFSFF", 17),
        ("FFFFSSSSSSF", None),
        ("SSSFFSFSSFSFSF", 12),
        ("", None),
    ],
)
def test_five_in_a_row_or_half_of_ten(outcomes, trip):
    """The default policy trips at exactly this outcome."""
    assert trips_at(outcomes, BreakerPolicy()) == trip


@pytest.mark.parametrize(
    ("ratio", "window", "outcomes", "trip"),
    [
        # The late success of MicroProfile Fault Tolerance: the window is judged when it is full, on a success, too.
        (0.75, 4, "FFFS", 4),
        (0.75, 4, "FFSS", None),
        # Its initial success.
        (0.75, 4, "SFFF", 4),
        # resilience4j: the ratio is reached at exactly the threshold, and not before the window is full.
        (0.5, 2, "F", None),
        (0.5, 2, "FS", 2),
        (1.0, 3, "FFF", 3),
        (1.0, 3, "FFSFFF", 6),
        (0.3, 10, "SSSSSSSFFF", 10),
        (0.3, 10, "SSSSSSSSFF", None),
        # failsafe-go: a threshold of one.
        (1.0, 1, "S", None),
        (1.0, 1, "F", 1),
        (1.0, 1, "SF", 2),
        (1.5, 4, "FFFFFFFF", None),
    ],
)
def test_a_share_of_a_window(ratio, window, outcomes, trip):
    """Published cases of other breakers, with the streak out of the way."""
    assert trips_at(outcomes, BreakerPolicy(failures_in_a_row=99, failure_ratio=ratio, window=window)) == trip


@given(
    st.text("SF", max_size=60), st.integers(1, 6), st.integers(1, 12), st.sampled_from((0.25, 0.5, 0.75, 1.0))
)
def test_the_trip_point(outcomes, row, window, ratio):
    """On any sequence, it trips at the first place where a plain reading of the rule says so."""
    expected = None
    for end in range(1, len(outcomes) + 1):
        recent = outcomes[max(0, end - window) : end]
        streak = outcomes[:end].endswith("F" * row)
        if streak or (len(recent) == window and recent.count("F") >= ratio * window):
            expected = end
            break
    policy = BreakerPolicy(failures_in_a_row=row, failure_ratio=ratio, window=window)
    assert trips_at(outcomes, policy) == expected


def test_old_outcomes_can_be_forgotten():
    """With `forget_after`, failures days apart are no streak."""
    window = OutcomeWindow(BreakerPolicy(forget_after=60.0))
    assert [window.failure(day * 86_400.0) for day in range(20)] == [None] * 20
    window.clear()
    assert [window.failure(second * 59.0) for second in range(5)][-1] == "5 failures in a row"


def test_without_it_they_count_for_ever():
    """By default, silence forgives nothing."""
    window = OutcomeWindow(BreakerPolicy())
    assert [window.failure(day * 86_400.0) for day in range(5)][-1] is not None


def test_what_can_be_read():
    """The streak, and the ratio once the window is full."""
    window = OutcomeWindow(BreakerPolicy(failures_in_a_row=99, window=4, failure_ratio=2.0))
    window.failure(0.0)
    window.failure(0.0)
    window.success()
    assert (window.streak, window.ratio) == (0, None)
    window.failure(0.0)
    assert (window.streak, window.ratio) == (1, 0.75)
    for _ in range(5):
        window.success()
    assert (window.streak, window.ratio) == (0, 0.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("failures_in_a_row", 0),
        ("failures_in_a_row", 1.5),
        ("window", 0),
        ("close_after", 0),
        ("failure_ratio", 0.0),
        ("open_for", -1.0),
        ("open_for", float("inf")),
        ("half_open_for", 0.0),
        ("forget_after", float("nan")),
    ],
)
def test_values_out_of_range(option, value):
    """A policy names the value that it can't have."""
    with pytest.raises(ValueError, match=f"{option}="):
        BreakerPolicy(**{option: value})
