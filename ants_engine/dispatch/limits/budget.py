"""Limits that the user sets: a budget for the run, quotas per minute, and the estimate of tokens behind both."""

import asyncio
from collections import deque
from dataclasses import dataclass

from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.errors import BackendTimeoutError, BudgetSpentError, UnusableAnswerError
from ants_engine.protocol import Answer
from ants_engine.settings.config import BudgetSettings, PriceSettings

CHARACTERS_PER_TOKEN = 3
"""Fewer than in English prose: an estimate should be too high rather than too low."""
PICTURE_TOKENS = 1500
"""For a picture, until an answer has said how many it was."""
OVERHEAD_TOKENS = 50
"""For what a chat template adds."""


class TokenEstimate:
    """Learns from answers what a prompt of each task costs: the most that it was so far."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._prompts: dict[str, int] = {}

    def prompt(self, request: Request) -> int:
        """Foresee the prompt's tokens."""
        known = self._prompts.get(request.task)
        if known is not None:
            return known
        picture = 0 if request.picture_sha256 is None else PICTURE_TOKENS
        return OVERHEAD_TOKENS + picture + len(request.prompt) // CHARACTERS_PER_TOKEN

    def of(self, request: Request) -> int:
        """Foresee what a request costs at most: its prompt, and an answer as long as it may be."""
        return self.prompt(request) + request.decoding.max_new_tokens

    def learn(self, request: Request, usage: tuple[int | None, int | None]) -> int | None:
        """Take in what a request has cost; return the sum if it is known."""
        prompt, completion = usage
        if prompt is not None:
            self._prompts[request.task] = max(prompt, self._prompts.get(request.task, 0))
        return None if prompt is None or completion is None else prompt + completion


SPAN = 60.0
"""Seconds."""


class Quota:
    """Counts what was taken in the last sixty seconds, and spreads it: a server counts by the second, too."""

    def __init__(self, limit: int, burst: float) -> None:
        """Allow ``limit`` in any sixty seconds, and at once no more than ``burst`` seconds' worth."""
        self._limit = limit
        self._rate = limit / SPAN
        self._burst = max(burst, 1.0 / self._rate)
        self._taken: deque[list[float]] = deque()
        self._sum = 0.0
        self._level = 0.0
        """When all that was taken would be used up at an even rate."""

    def opens(self, now: float, amount: float) -> float:
        """Say when so much more may be taken. What is more than the limit in itself has to have the span to itself."""
        self._forget(now)
        amount = min(amount, self._limit)
        opens = max(now, self._level + min(amount / self._rate, self._burst) - self._burst)
        over = self._sum + amount - self._limit
        for when, taken in self._taken:
            if over <= 0:
                break
            over -= taken
            opens = max(opens, when + SPAN)
        return opens

    def take(self, now: float, amount: float) -> None:
        """Note that so much is taken now."""
        self._taken.append([now, amount])
        self._sum += amount
        self._level = max(self._level, now) + amount / self._rate

    def correct(self, when: float, taken: float, amount: float) -> None:
        """Note that what was taken at ``when`` was in truth another amount."""
        for entry in reversed(self._taken):
            if entry[0] == when and entry[1] == taken:
                entry[1] = amount
                self._sum += amount - taken
                self._level += (amount - taken) / self._rate
                return

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - SPAN:
            self._sum -= self._taken.popleft()[1]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used up so far."""

    requests: int = 0
    """Calls that were sent, tried again or not."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the currency of the prices; 0 without prices."""

    @property
    def tokens(self) -> int:
        """Both kinds."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Spent", sign: int = 1) -> "Spent":
        """Add."""
        return Spent(
            self.requests + sign * other.requests,
            self.prompt_tokens + sign * other.prompt_tokens,
            self.completion_tokens + sign * other.completion_tokens,
            self.cost + sign * other.cost,
        )

    def minus(self, other: "Spent") -> "Spent":
        """Subtract."""
        return self.plus(other, -1)


class Budget:
    """Keeps an account, and lets nothing be asked that could exceed it.

    What is under way counts with the most that it can cost; what has come back, with what it did cost. A call whose
    cost nobody reports counts with its estimate.
    """

    def __init__(self, limits: BudgetSettings, prices: PriceSettings, estimate: TokenEstimate) -> None:
        """Start a new account."""
        self._limits = limits
        self._prices = prices
        self._estimate = estimate
        self._reserved: dict[object, Spent] = {}
        self._under_way = Spent()
        self._waiting: list[asyncio.Future[None]] = []
        self.spent = Spent()

    async def reserve(self, request: Request) -> object:
        """Set aside what a request can cost at most; waits while that depends on what is under way.

        Raises:
            BudgetSpentError: it would exceed the budget, whatever the calls under way turn out to cost.
        """
        while True:
            most = self._priced(self._estimate.prompt(request), request.decoding.max_new_tokens)
            over = self._over(self.spent.plus(most))
            if over is not None:
                raise BudgetSpentError(
                    f"the run's budget is used up: {over}. Everything answered is kept: raise dispatch.budget and "
                    "run again, and only what is missing is asked"
                )
            if self._over(self.spent.plus(self._under_way).plus(most)) is None:
                token = object()
                self._reserved[token] = most
                self._under_way = self._under_way.plus(most)
                return token
            settled = asyncio.get_running_loop().create_future()
            self._waiting.append(settled)
            await settled

    def settle(self, token: object, usage: tuple[int | None, int | None], *, known_free: bool) -> None:
        """Book what a call did cost.

        Args:
            token: from `reserve`.
            usage: its tokens, as far as they were reported.
            known_free: the call failed in a way that produces nothing, so that unreported tokens are none.
        """
        most = self._free(token)
        prompt, completion = usage
        missing = (0, 0) if known_free else (most.prompt_tokens, most.completion_tokens)
        cost = self._priced(missing[0] if prompt is None else prompt, missing[1] if completion is None else completion)
        self.spent = self.spent.plus(cost)

    def cancel(self, token: object) -> None:
        """Give back what was set aside: nothing was sent."""
        self._free(token)

    def _free(self, token: object) -> Spent:
        most = self._reserved.pop(token)
        self._under_way = self._under_way.minus(most) if self._reserved else Spent()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)
        return most

    def _priced(self, prompt: int, completion: int) -> Spent:
        prices = self._prices
        tokens = prompt * prices.million_prompt_tokens + completion * prices.million_completion_tokens
        return Spent(1, prompt, completion, prices.request + tokens / 1e6)

    def _over(self, spent: Spent) -> str | None:
        limits, now = self._limits, self.spent
        if limits.requests is not None and spent.requests > limits.requests:
            return f"{now.requests} of dispatch.budget.requests = {limits.requests}"
        if limits.tokens is not None and spent.tokens > limits.tokens:
            return f"{now.tokens} of dispatch.budget.tokens = {limits.tokens}, and the next request may need more"
        if limits.cost is not None and spent.cost > limits.cost:
            return f"{now.cost:.4f} of dispatch.budget.cost = {limits.cost:g}, and the next request may need more"
        return None


class BudgetResponder:
    """Asks only what the budget allows, and books what it cost."""

    def __init__(self, inner: Responder, budget: Budget) -> None:
        """Put ``budget`` before ``inner``."""
        self._inner = inner
        self._budget = budget

    async def answer(self, request: Request, trace: RequestProgress) -> Answer:
        """Answer within the budget.

        Raises:
            BudgetSpentError: this request could exceed it.
            ANTSError: what ``inner`` raises.
        """
        token = await self._budget.reserve(request)
        free = False
        try:
            return await self._inner.answer(request, trace)
        except Exception as error:
            # An answer that is of no use was generated all the same, and what was cut off may have been.
            free = not isinstance(error, UnusableAnswerError | BackendTimeoutError)
            raise
        finally:
            if trace.unsent:
                self._budget.cancel(token)
            else:
                self._budget.settle(token, trace.usage, known_free=free)
