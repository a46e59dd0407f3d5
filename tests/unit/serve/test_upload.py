import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ants_engine.serve.options import ServeOptions
from ants_engine.serve.refusal import Refusal
from ants_engine.serve.upload import ByteBudget, Upload

OPTIONS = ServeOptions(max_body=100, max_held=150, upload_timeout=0.2)


def sending(*chunks: bytes, end: bool = True) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left and not end:
            await asyncio.sleep(60)
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left) or not end}

    return receive


async def read(headers: dict[str, str], receive: Any, budget: ByteBudget) -> bytes:
    async with Upload(headers, receive, OPTIONS, budget) as upload:
        return b"".join([chunk async for chunk in upload.chunks()])


async def test_what_is_held_is_given_back_whatever_happens() -> None:
    budget = ByteBudget(150)
    assert await read({}, sending(b"a" * 60, b"", b"b" * 40), budget) == b"a" * 60 + b"b" * 40
    assert await read({"content-length": "3"}, sending(b"abc"), budget) == b"abc"
    for headers, receive, status in (
        ({"content-length": "101"}, sending(), 413),
        ({}, sending(b"a" * 60, b"a" * 60), 413),
        # more than was announced
        ({"content-length": "3"}, sending(b"a" * 101), 413),
        ({}, sending(b"a", end=False), 408),
    ):
        with pytest.raises(Refusal) as refused:
            await read(headers, receive, budget)
        assert refused.value.status == status
    assert budget.held == 0


async def test_the_budget_is_of_all_uploads() -> None:
    budget = ByteBudget(150)
    async with Upload({"content-length": "100"}, sending(), OPTIONS, budget):
        assert budget.held == 100
        with pytest.raises(Refusal) as refused:
            await read({"content-length": "51"}, sending(b"a" * 51), budget)
        assert (refused.value.status, dict(refused.value.headers)) == (429, {"Retry-After": "1"})
        with pytest.raises(Refusal) as refused:
            await read({}, sending(b"a" * 51), budget)
        assert refused.value.status == 429
        assert await read({}, sending(b"a" * 50), budget) == b"a" * 50
        assert budget.held == 100
    assert budget.held == 0


async def test_one_that_is_broken_off_is_told_from_one_that_ends() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Refusal) as refused:
        await read({}, receive, ByteBudget(10))
    assert refused.value.kind == "broken_off"
