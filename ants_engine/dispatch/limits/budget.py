"""Limits that the user sets: a budget for the run, quotas per minute, and the estimate of tokens behind both."""

import asyncio
from collections import deque
from dataclasses import dataclass

from ants_engine.dispatch.limits import constants
from ants_engine.dispatch.request import Request, RequestProgress, Responder
from ants_engine.errors import BackendTimeoutError, BudgetSpentError, UnusableAnswerError
from ants_engine.protocol import Answer
from ants_engine.settings.config import BudgetSettings, PriceSettings


class TokenEstimate:
    """Estimates tokens per task: the most that a prompt of the task has cost so far."""

    def __init__(self) -> None:
        """Begin without experience."""
        self._prompts: dict[str, int] = {}

    def prompt(self, request: Request) -> int:
        """Estimate the prompt's tokens."""
        known = self._prompts.get(request.task)
        if known is not None:
            return known
        picture = 0 if request.picture_sha256 is None else constants.PICTURE_TOKENS
        return constants.OVERHEAD_TOKENS + picture + len(request.prompt) // constants.CHARACTERS_PER_TOKEN

    def of(self, request: Request) -> int:
        """Estimate the most that a request costs: its prompt and an answer of maximal length."""
        return self.prompt(request) + request.decoding.max_new_tokens

    def learn(self, request: Request, usage: tuple[int | None, int | None]) -> int | None:
        """Learn what a request has cost; return the sum if known."""
        prompt, completion = usage
        if prompt is not None:
            self._prompts[request.task] = max(prompt, self._prompts.get(request.task, 0))
        return None if prompt is None or completion is None else prompt + completion


class Quota:
    """A limit in any sixty seconds that the user has set, spread evenly: a server also counts by the second."""

    def __init__(self, limit: int, burst: float, unit: str = "requests") -> None:
        """Allow ``limit`` in any sixty seconds, and bursts of at most ``burst`` seconds' worth."""
        self.unit = unit
        self._limit = limit
        self._rate = limit / constants.QUOTA_SPAN
        self._burst = max(burst, 1.0 / self._rate)
        self._taken: deque[list[float]] = deque()
        self._sum = 0.0
        self._level = 0.0
        """When everything taken would be used up at an even rate."""

    def cost(self, tokens: int) -> int:
        """Return what a call counts for."""
        return tokens if self.unit == "tokens" else 1

    def opens(self, now: float, amount: float) -> float:
        """Return when ``amount`` more may be taken; more than the limit needs a span of its own."""
        self._forget(now)
        amount = min(amount, self._limit)
        opens = max(now, self._level + min(amount / self._rate, self._burst) - self._burst)
        over = self._sum + amount - self._limit
        for when, taken in self._taken:
            if over <= 0:
                break
            over -= taken
            opens = max(opens, when + constants.QUOTA_SPAN)
        return opens

    def take(self, now: float, amount: float) -> None:
        """Take ``amount`` now."""
        self._taken.append([now, amount])
        self._sum += amount
        self._level = max(self._level, now) + amount / self._rate

    def correct(self, when: float, taken: float, amount: float) -> None:
        """Correct an amount that was taken at ``when``."""
        for entry in reversed(self._taken):
            if entry[0] == when and entry[1] == taken:
                entry[1] = amount
                self._sum += amount - taken
                self._level += (amount - taken) / self._rate
                return

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - constants.QUOTA_SPAN:
            self._sum -= self._taken.popleft()[1]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used so far."""

    requests: int = 0
    """Calls sent, retries included."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """In the currency of the prices; 0 without prices."""

    @property
    def tokens(self) -> int:
        """Both kinds."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: "Spent", sign: int = 1) -> "Spent":
        """Add, or subtract with ``sign=-1``."""
        return Spent(
            self.requests + sign * other.requests,
            self.prompt_tokens + sign * other.prompt_tokens,
            self.completion_tokens + sign * other.completion_tokens,
            self.cost + sign * other.cost,
        )


class Budget:
    """Sends nothing that could exceed the budget.

    A call in flight counts with the most that it can cost, a finished one with its real cost, or with the estimate when
    no tokens were reported.
    """

    def __init__(self, limits: BudgetSettings, prices: PriceSettings, estimate: TokenEstimate) -> None:
        """Start at zero."""
        self._limits = limits
        self._prices = prices
        self._estimate = estimate
        self._reserved: dict[object, Spent] = {}
        self._under_way = Spent()
        self._waiting: list[asyncio.Future[None]] = []
        self.spent = Spent()

    async def reserve(self, request: Request) -> object:
        """Reserve the most that a request can cost; waits while that depends on calls in flight.

        Raises:
            BudgetSpentError: it would exceed the budget, whatever the calls in flight cost.
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
        """Book the real cost of a call.

        Args:
            token: from `reserve`.
            usage: its tokens, as far as reported.
            known_free: the call failed without generating anything, so unreported tokens are zero.
        """
        most = self._free(token)
        prompt, completion = usage
        missing = (0, 0) if known_free else (most.prompt_tokens, most.completion_tokens)
        cost = self._priced(missing[0] if prompt is None else prompt, missing[1] if completion is None else completion)
        self.spent = self.spent.plus(cost)

    def cancel(self, token: object) -> None:
        """Return a reservation: nothing was sent."""
        self._free(token)

    def _free(self, token: object) -> Spent:
        most = self._reserved.pop(token)
        self._under_way = self._under_way.plus(most, -1) if self._reserved else Spent()
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
    """Asks within the budget, and books the cost."""

    def __init__(self, inner: Responder, budget: Budget) -> None:
        """Put ``budget`` before ``inner``."""
        self._inner = inner
        self._budget = budget

    async def answer(self, request: Request, progress: RequestProgress) -> Answer:
        """Answer within the budget.

        Raises:
            BudgetSpentError: this request could exceed it.
            ANTSError: what ``inner`` raises.
        """
        token = await self._budget.reserve(request)
        free = False
        try:
            return await self._inner.answer(request, progress)
        except Exception as error:
            # an unusable answer was generated nonetheless, and a timed-out one may have been
            free = not isinstance(error, UnusableAnswerError | BackendTimeoutError)
            raise
        finally:
            if progress.unsent:
                self._budget.cancel(token)
            else:
                self._budget.settle(token, progress.usage, known_free=free)
