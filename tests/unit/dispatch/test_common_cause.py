"""What would fail for every question is not asked of every question."""

import asyncio

import pytest

from ants_engine.dispatch.retry import ASK_AGAIN, FEW, MANY, CommonCause
from ants_engine.errors import (
    BackendTimeoutError,
    BackendUnavailableError,
    BadRequestError,
    NotEnoughAnswersError,
    ProtocolError,
    RefusedAnswerError,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def stops(common: CommonCause, task: str = "ens") -> bool:
    try:
        await asyncio.wait_for(common.enter(task), 5)
    except NotEnoughAnswersError:
        return True
    common.leave(task)
    return False


async def test_a_few_failures_of_one_cause_stop_a_task_and_the_error_quotes_it_once() -> None:
    common = CommonCause()
    for number in range(FEW):
        assert not await stops(common)
        common.ended("ens", BadRequestError(f"no pictures, request {number} of id 0f3a9c1d2e"))
    with pytest.raises(NotEnoughAnswersError, match=r"ens: 0 of 3 answers .*BadRequestError: no pictures") as caught:
        await common.enter("ens")
    assert str(caught.value).count("no pictures") == 1
    assert [type(each) for each in caught.value.exceptions] == [BadRequestError]
    assert not await stops(common, "vsnl"), "another kind of question may do"


@pytest.mark.parametrize(
    "between",
    [
        None,
        BadRequestError("the prompt is too long"),
        ProtocolError("no pictures"),
        RefusedAnswerError("I'd rather not"),
    ],
)
async def test_failures_that_are_scattered_or_differ_stop_nothing(between: BadRequestError | None) -> None:
    common = CommonCause()
    for _ in range(FEW - 1):
        common.ended("ens", BadRequestError("no pictures"))
    common.ended("ens", between)
    for _ in range(FEW - 1):
        common.ended("ens", BadRequestError("no pictures"))
    assert not await stops(common)


@pytest.mark.parametrize("error", [BackendTimeoutError("slow"), BackendUnavailableError("HTTP 500")])
async def test_what_may_pass_is_no_such_cause(error: BackendTimeoutError) -> None:
    common = CommonCause()
    for _ in range(100):
        common.ended("ens", error)
    assert not await stops(common)


async def test_an_answer_takes_longer_than_a_refusal_so_what_is_under_way_is_waited_for() -> None:
    common = CommonCause()
    await common.enter("ens")
    for _ in range(FEW):
        common.ended("ens", BadRequestError("this picture is too small"))
    waiting = asyncio.create_task(stops(common))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    common.leave("ens")
    common.ended("ens", None)
    assert await waiting is False


async def test_a_run_that_needs_no_answers_asks_every_question() -> None:
    common = CommonCause(enabled=False)
    for _ in range(100):
        common.ended("ens", BadRequestError("no pictures"))
    assert not await stops(common)


async def test_a_stream_asks_again_after_a_while() -> None:
    clock = Clock()
    common = CommonCause(clock=clock)
    for _ in range(FEW):
        common.ended("ens", BadRequestError("no pictures"))
    assert await stops(common)
    clock.now += ASK_AGAIN
    assert not await stops(common)
    assert await stops(common), "one question at a time"
    clock.now += ASK_AGAIN
    assert not await stops(common)
    common.ended("ens", None)
    assert not await stops(common)


async def test_a_server_that_changes_in_mid_run_is_asked_a_little_longer() -> None:
    common = CommonCause()
    common.ended("ens", None)
    for _ in range(MANY - 1):
        common.ended("ens", BadRequestError("no such model"))
    assert not await stops(common)
    common.ended("ens", None)
    for _ in range(MANY - 1):
        common.ended("ens", BadRequestError("no such model"))
    assert not await stops(common), "an answer begins the count anew"
    common.ended("ens", BadRequestError("no such model"))
    assert await stops(common)
