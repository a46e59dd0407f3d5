"""What a run may use up: requests, tokens, money."""

import asyncio
from dataclasses import dataclass

from ants_engine.dispatch.limits.token_estimate import TokenEstimate
from ants_engine.dispatch.request import Request
from ants_engine.dispatch.request_progress import RequestProgress
from ants_engine.dispatch.responder import Responder
from ants_engine.errors import BackendTimeoutError, BudgetSpentError, UnusableAnswerError
from ants_engine.protocol import Answer
from ants_engine.settings.config import BudgetSettings, PriceSettings


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
