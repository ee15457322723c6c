import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windmill import errors
from windmill.core.retrying import DELAY_STEPS, backoff, decide, step
from windmill.errors import (
    BadReply,
    BrokerError,
    ConfigError,
    DeliveryLimit,
    ImageError,
    ImageUnavailable,
    MessageError,
    ServiceBusy,
    ServiceDown,
    ServiceFull,
    ServiceRejected,
    ServiceUnavailable,
    StaleBox,
    StoreError,
    StoreUnavailable,
    Verdict,
    WindmillError,
)
from windmill.model import Ack, Again, Bury

AGAIN = Again(delay=1.0, attempt=1)

TABLE = [
    (MessageError("m"), Bury(error="MessageError", reason="m")),
    (ImageError("gone"), Bury(error="ImageError", reason="gone")),
    (ServiceRejected("no", service="s"), Bury(error="ServiceRejected", reason="no")),
    (BadReply("odd", service="s", body="<html>"), Bury(error="BadReply", reason="odd")),
    (StoreError("row"), Bury(error="StoreError", reason="row")),
    (ConfigError("key"), Bury(error="ConfigError", reason="key")),
    (DeliveryLimit("poison"), Bury(error="DeliveryLimit", reason="poison")),
    (ImageUnavailable("503", retry_after=7), Again(delay=7.0, attempt=1)),
    (ServiceFull("full", service="s", retry_after=7), Again(delay=7.0, attempt=0)),
    (StaleBox("old"), Ack()),
    (ServiceDown("down", service="s"), Again(delay=1.0, attempt=0)),
    (ServiceUnavailable("down", service="s"), AGAIN),
    (ServiceBusy("busy", service="s"), AGAIN),
    (StoreUnavailable("down"), AGAIN),
    (BrokerError("down"), AGAIN),
    (ZeroDivisionError("a bug"), AGAIN),
]


@pytest.mark.parametrize(("error", "decision"), TABLE, ids=lambda value: type(value).__name__)
def test_what_becomes_of_a_first_failure(error, decision):
    assert decide(error, 0, 3) == decision


@pytest.mark.parametrize("error", [error for error, decision in TABLE if decision == AGAIN], ids=repr)
def test_what_may_pass_is_buried_once_its_attempts_are_used_up(error):
    assert isinstance(decide(error, 2, 3), Again)
    assert decide(error, 3, 3) == Bury(error=type(error).__name__, reason=str(error))
    assert isinstance(decide(error, 0, 0), Bury)


def test_every_error_has_a_verdict():
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, WindmillError) and kind is not WindmillError
    ]
    assert kinds
    assert all(isinstance(kind.verdict, Verdict) for kind in kinds)


def test_delays_climb_the_steps():
    assert [step(attempt) for attempt in range(7)] == [1, 5, 30, 120, 600, 600, 600]


@pytest.mark.parametrize(("wish", "expected"), [(None, 1), (0, 1), (1, 1), (2, 2), (31, 31), (9999, 600)])
def test_a_service_may_ask_for_longer(wish, expected):
    assert decide(ServiceBusy("busy", service="s", retry_after=wish), 0, 3) == Again(
        delay=expected, attempt=1
    )


@given(
    attempt=st.integers(0, 1000),
    limit=st.integers(0, 1000),
    wish=st.floats(0, 1e9),
    jitter=st.floats(0.75, 1),
)
def test_again_is_within_the_limit_and_never_before_the_service_wishes(attempt, limit, wish, jitter):
    decision = decide(ServiceBusy("busy", service="s", retry_after=wish), attempt, limit, jitter=jitter)
    if attempt < limit:
        assert isinstance(decision, Again)
        assert min(wish, DELAY_STEPS[-1]) <= decision.delay <= DELAY_STEPS[-1]
        assert decision.delay >= 0.75 * step(attempt)
        assert decision.attempt == attempt + 1
    else:
        assert isinstance(decision, Bury)


@given(st.integers(0, 10_000))
def test_backoff_grows_within_its_bounds(failures):
    assert 0.25 <= backoff(failures) <= backoff(failures + 1) <= 30
