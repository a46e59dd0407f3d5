"""Requests, tokens and money: never more than allowed, nothing stopped that would have been."""

import asyncio
import random

import pytest

from ants_engine.dispatch.limits.budget import Budget, BudgetResponder, Spent, TokenEstimate
from ants_engine.dispatch.request import Request, RequestProgress
from ants_engine.errors import BackendTimeoutError, BudgetSpentError, EmptyAnswerError, RateLimitError
from ants_engine.protocol import Answer
from ants_engine.settings.config import BudgetSettings, PriceSettings
from tests.unit.dispatch.fakes import make_request

PRICES = PriceSettings(million_prompt_tokens=2.0, million_completion_tokens=10.0, request=0.001)


def budget(**limits: float) -> Budget:
    return Budget(BudgetSettings(**limits), PRICES, TokenEstimate())


class Costly:
    """Answers after a moment, with what the prompt says that it cost."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.asked = 0

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        self.asked += 1
        await asyncio.sleep(self.rng.uniform(0, 0.003))
        progress.usage = (10, self.rng.randint(1, 16))
        return Answer("x")


async def spend(account: Budget, inner: Costly, count: int) -> list[object]:
    responder = BudgetResponder(inner, account)
    return await asyncio.gather(
        *(responder.answer(make_request(f"{number}"), RequestProgress()) for number in range(count)),
        return_exceptions=True,
    )


async def test_requests_are_counted_to_the_last() -> None:
    inner = Costly()
    endings = await spend(account := budget(requests=7), inner, 20)
    assert inner.asked == account.spent.requests == 7
    assert sum(isinstance(each, Answer) for each in endings) == 7
    failures = [each for each in endings if isinstance(each, BudgetSpentError)]
    assert len(failures) == 13
    assert "dispatch.budget.requests = 7" in str(failures[0])


@pytest.mark.parametrize("seed", range(5))
async def test_tokens_and_money_are_never_exceeded_and_used_up_as_far_as_can_be_foreseen(seed: int) -> None:
    account = budget(tokens=1000)
    await spend(account, Costly(seed), 300)
    # what is left is less than the next answer could have cost
    assert 1000 - (50 + 16 + 10) < account.spent.tokens <= 1000
    rich = budget(cost=0.05)
    await spend(rich, Costly(seed), 300)
    assert 0.05 - (0.001 + 100 * 2e-6 + 16e-5) < rich.spent.cost <= 0.05
    expected = 0.001 * rich.spent.requests + rich.spent.prompt_tokens * 2e-6 + rich.spent.completion_tokens * 1e-5
    assert rich.spent.cost == pytest.approx(expected)


async def test_without_limits_everything_is_asked_and_booked() -> None:
    account = budget()
    endings = await spend(account, Costly(), 50)
    assert all(isinstance(each, Answer) for each in endings)
    assert account.spent.requests == 50
    assert account.spent.prompt_tokens == 500


@pytest.mark.parametrize(
    ("error", "usage", "booked"),
    [
        (RateLimitError("x"), (None, None), 0),
        (EmptyAnswerError("x"), (12, 3), 15),
        (EmptyAnswerError("x"), (None, None), 50 + 2 + 16),
        (BackendTimeoutError("x"), (None, None), 50 + 2 + 16),
    ],
)
async def test_a_failure_is_booked_with_what_it_may_have_cost(
    error: Exception, usage: tuple[int | None, int | None], booked: int
) -> None:
    class Failing:
        async def answer(self, request: Request, progress: RequestProgress) -> Answer:
            progress.usage = usage
            raise error

    account = budget()
    with pytest.raises(type(error)):
        await BudgetResponder(Failing(), account).answer(make_request("six ch"), RequestProgress())
    assert account.spent == Spent(1, account.spent.prompt_tokens, account.spent.completion_tokens, account.spent.cost)
    assert account.spent.tokens == booked


async def test_one_who_is_cancelled_while_under_way_is_booked_and_leaves_nothing_reserved() -> None:
    class Hanging:
        async def answer(self, request: Request, progress: RequestProgress) -> Answer:
            await asyncio.Event().wait()
            raise AssertionError

    account = budget(requests=2)
    task = asyncio.create_task(BudgetResponder(Hanging(), account).answer(make_request(), RequestProgress()))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(spend(account, Costly(), 3))
    await asyncio.sleep(0.02)
    task.cancel()
    endings = await asyncio.wait_for(waiting, 5)
    assert sum(isinstance(each, Answer) for each in endings) == 1
    assert account.spent.requests == 2


def test_an_estimate_learns_the_most_that_a_prompt_has_cost() -> None:
    estimate, request = TokenEstimate(), make_request("x" * 300)
    assert estimate.of(request) == 50 + 100 + 16
    assert estimate.learn(request, (40, 5)) == 45
    assert estimate.learn(request, (30, None)) is None
    assert estimate.of(request) == 40 + 16
    pictured = make_request(task="ens", picture_sha256="ab" * 32)
    assert estimate.prompt(pictured) > 1000
