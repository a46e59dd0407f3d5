"""Enough answers or none: each cause once, and how often."""

import pytest

from ants_engine import errors
from ants_engine.dispatch.outcome import Outcome, enough
from ants_engine.protocol import Answer
from tests.unit.dispatch.fakes import make_request


def outcomes(good: int, *failures: Exception) -> list[Outcome]:
    endings: list[Exception | None] = [None] * good + list(failures)
    return [
        Outcome(make_request(f"{number}"), Answer("x") if error is None else None, error, "backend", 1, 0.1)
        for number, error in enumerate(endings)
    ]


@pytest.mark.parametrize(("good", "bad", "share"), [(8, 2, 0.8), (7, 3, 0.7), (0, 0, 1.0), (0, 5, 0.0), (3, 0, 1.0)])
def test_enough_is_enough(good: int, bad: int, share: float) -> None:
    enough(outcomes(good, *[errors.QuotaError("x")] * bad), share, "ens")


def test_too_few_name_each_cause_once_and_how_often() -> None:
    failures = [errors.RateLimitError("slow") for _ in range(3)] + [errors.QuotaError("spent")]
    for _ in range(2):
        with pytest.raises(errors.NotEnoughAnswersError) as caught:
            enough(outcomes(2, *failures), 0.8, "vsnl")
        group = caught.value
        assert isinstance(group, ExceptionGroup)
        assert [type(error) for error in group.exceptions] == [errors.RateLimitError, errors.QuotaError]
        assert group.exceptions[0].__notes__ == ['3 of 6 vsnl requests, the first: vsnl/v1, "2"']
        assert "vsnl: 2 of 6 requests were answered, 80% are needed (dispatch.min_success)" in str(group)
        assert "3 × RateLimitError: slow; 1 × QuotaError: spent" in str(group)
        assert group.subgroup(errors.QuotaError) is not None


def test_many_causes_do_not_flood_the_message() -> None:
    with pytest.raises(errors.NotEnoughAnswersError, match="; 35 further causes") as caught:
        enough(outcomes(0, *[errors.QuotaError(str(number)) for number in range(40)]), 0.8, "ens")
    assert len(caught.value.exceptions) == 40


def test_a_store_that_fails_is_never_outvoted() -> None:
    failures = [errors.ReplayMissError("never recorded: x"), errors.ReplayMissError("never recorded: y")]
    with pytest.raises(errors.ReplayMissError, match="never recorded: x") as caught:
        enough(outcomes(98, *failures), 0.8, "ens")
    assert caught.value.__notes__ == ["2 of 100 ens requests ended with a StoreError; this is the first"]
