"""The lag of the event loop, and the share of requests that is turned away for it."""

import pytest

from asgi_resilience.shedding.overload import LagController


@pytest.mark.parametrize("target", [0, -1.0, float("nan")])
def test_a_target_is_above_zero(target):
    """A target that could never be met is refused."""
    with pytest.raises(ValueError, match=r"^lag_target=.*: expected seconds above 0"):
        LagController(target)


def windows(controller, lag, count, start=0.0):
    """So many windows with this lag; returns when they end."""
    for number in range(count * 20):
        controller.update(lag if number % 20 == 7 else 0.0, start + number * 0.0051)
    return start + count * 20 * 0.0051


def test_the_longest_lag_of_a_window_counts():
    """Lag raises the share, up to 0.95; one long lag among short ones is enough."""
    controller = LagController(0.05)
    end = windows(controller, 0.15, 4)
    assert 0.2 < controller.share < 0.6
    windows(controller, 0.15, 40, end)
    assert controller.share == 0.95


def test_one_call_that_blocks_is_no_overload():
    """A single window with lag refuses nobody; a second one in a row does."""
    controller = LagController(0.05)
    for start in (0.0, 10.0, 20.0):
        end = windows(controller, 0.001, 3, start)
        end = windows(controller, 0.3, 1, end)
        assert controller.share == 0.0
        windows(controller, 0.001, 3, end)
    windows(controller, 0.3, 3, 30.0)
    assert controller.share > 0.3


def test_a_long_turn_is_no_pause():
    """A loop that needs more than a second for a turn is measured once in each, and is as overloaded as can be."""
    controller = LagController(0.05)
    for turn in range(1, 4):
        controller.update(1.5, 1.5 * turn)
    assert controller.share == 0.95


def test_it_settles():
    """A loop whose lag follows the share is kept at the target."""
    controller, now = LagController(0.05), 0.0
    for _ in range(300):
        for _ in range(11):
            controller.update(0.2 * (1 - controller.share), now)
            now += 0.01
    assert 0.2 * (1 - controller.share) == pytest.approx(0.05, rel=0.1)


def test_it_recovers():
    """Without lag the share is gone after a few seconds; after a pause at once."""
    controller = LagController(0.05)
    end = windows(controller, 0.2, 20)
    assert controller.share > 0.5
    windows(controller, 0.01, 50, end)
    assert controller.share < 0.01
    windows(controller, 0.2, 20, 100.0)
    controller.update(0.2, 200.0)
    assert controller.share == 0.0
