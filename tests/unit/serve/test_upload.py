import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

import ants_engine.serve.inputs as uploads
from ants_engine.serve.inputs import ByteBudget, Upload
from ants_engine.serve.options import Refusal, ServeOptions

OPTIONS = ServeOptions(max_body=100, max_held=150, upload_timeout=0.2)


def sending(*chunks: bytes, end: bool = True) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left and not end:
            await asyncio.sleep(60)
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left) or not end}

    return receive


async def read(headers: dict[str, str], receive: Any, budget: ByteBudget, options: ServeOptions = OPTIONS) -> bytes:
    async with Upload(headers, receive, options, budget) as upload:
        return b"".join([chunk async for chunk in upload.chunks()])


async def attempt(headers: dict[str, str], receive: Any, budget: ByteBudget, options: ServeOptions = OPTIONS) -> int:
    try:
        await read(headers, receive, budget, options)
    except Refusal as refusal:
        return refusal.status
    return 200


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
    async with Upload({}, sending(b"a" * 100), OPTIONS, budget) as upload:
        assert b"".join([chunk async for chunk in upload.chunks()]) == b"a" * 100
        assert budget.held == 100
        for headers in ({"content-length": "51"}, {}):
            with pytest.raises(Refusal) as refused:
                await read(headers, sending(b"a" * 51), budget)
            assert (refused.value.status, dict(refused.value.headers)) == (429, {"Retry-After": "1"})
        assert await read({}, sending(b"a" * 50), budget) == b"a" * 50
        assert budget.held == 100
    assert budget.held == 0


async def test_what_is_announced_and_not_sent_holds_nothing() -> None:
    budget = ByteBudget(150)
    async with asyncio.TaskGroup() as group:
        silent = [
            group.create_task(attempt({"content-length": "100"}, sending(b"a", end=False), budget)) for _ in range(9)
        ]
        while budget.held < 9:
            await asyncio.sleep(0)
        assert await read({"content-length": "100"}, sending(b"b" * 100), budget) == b"b" * 100
    assert [task.result() for task in silent] == [408] * 9
    assert budget.held == 0


@pytest.mark.parametrize("drips", [False, True])
async def test_a_slow_upload_gives_way_to_others(drips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.05)
    monkeypatch.setattr(uploads, "STEP", 10)
    budget = ByteBudget(150)
    patient = replace(OPTIONS, upload_timeout=30)
    first = [b"a" * 90]

    async def receive() -> dict[str, Any]:
        if not first:
            await asyncio.sleep(0.01 if drips else 60)
        return {"type": "http.request", "body": first.pop() if first else b"a", "more_body": True}

    slow = asyncio.create_task(attempt({}, receive, budget, patient))
    while budget.held < 90:
        await asyncio.sleep(0)
    # it has just brought much
    assert await attempt({}, sending(b"b" * 100), budget) == 429
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 5
    while (status := await attempt({}, sending(b"b" * 100), budget)) == 429:
        assert loop.time() < deadline
        await asyncio.sleep(0)
    assert status == 200
    assert await slow == 408
    assert budget.held == 0


async def test_a_slow_upload_that_has_no_room_itself_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE", 0.0)
    budget = ByteBudget(5)
    assert await attempt({}, sending(b"aaa", b"aaa", end=False), budget, replace(OPTIONS, upload_timeout=30)) == 408
    assert budget.held == 0


async def test_one_that_is_broken_off_is_told_from_one_that_ends() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Refusal) as refused:
        await read({}, receive, ByteBudget(10))
    assert refused.value.kind == "broken_off"
