"""The tests' server itself: what it says it does is what reaches a client, and what it counts."""

import asyncio
import json
import time
from collections import Counter
from itertools import pairwise

import httpx2
import pytest

from tests.integration.faulty_server import FAULTS, KINDS, fate, kinds_named, plan, question_of, right_answer
from tests.support.faulty.counts import Counts
from tests.support.faulty.plan import DOOMS
from tests.support.faulty.rate import TokenBucket
from tests.support.process import WAIT, FaultyServer, faulty_server

QUESTIONS = [f"question {number}" for number in range(200)]


async def ask(client, server, question):
    body = {"model": "tiny", "messages": [{"role": "user", "content": question}]}
    return await client.post(f"{server.base_url}/chat/completions", json=body)


def test_a_plan_is_repeatable_and_keeps_its_share():
    drawn = [plan(7, 0.3, question, attempt) for question in QUESTIONS for attempt in range(1, 21)]
    assert drawn == [plan(7, 0.3, question, attempt) for question in QUESTIONS for attempt in range(1, 21)]
    assert drawn != [plan(8, 0.3, question, attempt) for question in QUESTIONS for attempt in range(1, 21)]
    assert 0.27 < sum(kind != "right" for kind in drawn) / len(drawn) < 0.33
    assert set(drawn) == {"right", *FAULTS}
    assert plan(7, 0.0, "x", 1) == "right"
    assert plan(7, 1.0, "x", 1) in FAULTS


def test_the_doomed_never_succeed():
    doomed = [question for question in QUESTIONS if plan(7, 0.0, question, 1, doomed=0.1) in DOOMS]
    assert 5 < len(doomed) < 40
    for question in doomed:
        assert len({plan(7, 0.3, question, attempt, doomed=0.1) for attempt in range(1, 9)}) == 1
        assert fate(7, 0.3, question, 5, doomed=0.1) == ("final", 1)


def test_a_fate_is_the_plan_walked_through():
    transient = kinds_named(["transient", "rate limit"])
    assert {KINDS[kind] for kind in transient} == {"transient", "rate limit"}
    fates = Counter(fate(7, 0.5, question, 3, kinds=transient) for question in QUESTIONS)
    assert {attempt for (ending, attempt) in fates if ending == "right"} == {1, 2, 3}
    assert all(attempt == 3 for (ending, attempt) in fates if ending != "right")
    assert kinds_named([]) == FAULTS
    assert kinds_named(["hang", "hang"]) == ("hang",)
    with pytest.raises(ValueError, match="nonsense"):
        kinds_named(["nonsense"])


def test_every_question_has_an_answer_of_its_own():
    assert len({right_answer(question) for question in QUESTIONS}) == len(QUESTIONS)
    assert question_of("x") == "x"
    assert question_of("x", b"1") != question_of("x", b"2")


def test_a_bucket_lets_its_rate_through():
    now = [0.0]
    bucket = TokenBucket(20, 5, clock=lambda: now[0])
    let = 0
    for step in range(1000):
        now[0] = step / 100
        let += bucket.take()
    assert let == pytest.approx(5 + 20 * 10, abs=2)


async def test_by_a_seed_it_does_as_planned(tmp_path):
    kinds = ("500", "429-seconds", "400", "none", "invalid-json")
    options = ("--faulty", "0.5", "--seed", "7", "--doomed", "0.1", "--kinds", *kinds)
    with faulty_server(tmp_path / "server.log", *options) as server:
        async with httpx2.AsyncClient() as client:
            planned = Counter()
            for attempt in (1, 2):
                for question in QUESTIONS[:50]:
                    kind = plan(7, 0.5, question, attempt, doomed=0.1, kinds=kinds)
                    planned[kind] += 1
                    response = await ask(client, server, question)
                    said = right_answer(question) in response.text
                    assert said == (KINDS[kind] == "right")
        counts = server.counts()
        assert counts["by_ending"] == planned
        assert counts["total"] == 100
        assert counts["in_flight"] == 0
        assert set(counts["questions"]) == set(QUESTIONS[:50])
        assert all(each["attempts"] == 2 for each in counts["questions"].values())
        assert sum(each["successes"] for each in counts["questions"].values()) == planned["right"]
        assert sum(second["arrived"] for second in counts["seconds"]) == 100
        server.reset()
        assert server.counts()["total"] == 0


def test_how_a_question_from_before_a_reset_ends_is_not_counted():
    counts = Counts()
    before = counts.arrive("before")
    counts.reset()
    counts.leave(counts.arrive("after"), "right", success=True)
    counts.leave(before, "drip", success=False)
    found = counts.as_json()
    assert (found["by_ending"], found["total"], found["in_flight"]) == ({"right": 1}, 1, 0)


async def counted(server: FaultyServer, name: str, count: int) -> None:
    """Wait until so many have come in."""
    deadline = time.monotonic() + WAIT
    while server.counts()[name] < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_above_its_rate_it_says_429(tmp_path):
    options = ("--rate", "20", "--burst", "4", "--retry-after", "3")
    with faulty_server(tmp_path / "server.log", *options) as server:
        async with httpx2.AsyncClient() as client:
            replies, times = [], [time.monotonic()]
            for question in QUESTIONS[:60]:
                replies.append(await ask(client, server, question))
                times.append(time.monotonic())
        statuses = Counter(reply.status_code for reply in replies)
        most = 4 + 20 * (times[-1] - times[0])
        # where there is a pause, the bucket may have run over
        lost = 20 * sum(max(0.0, after - before - 0.05) for before, after in pairwise(times))
        assert min(60.0, most - lost) - 2 <= statuses[200] <= most + 2
        assert statuses[429] == 60 - statuses[200] == server.counts()["by_ending"]["rate"]
        assert {reply.headers.get("retry-after") for reply in replies if reply.status_code == 429} == {"3"}


async def test_above_its_concurrency_it_says_503_and_latency_counts(tmp_path):
    with faulty_server(tmp_path / "server.log", "--concurrency-limit", "3", "--latency", "1") as server:
        async with httpx2.AsyncClient() as client:
            began = time.monotonic()
            server.hold()
            asked = asyncio.gather(*(ask(client, server, question) for question in QUESTIONS[:10]))
            await counted(server, "total", 10)
            server.release()
            replies = await asked
            assert time.monotonic() - began >= 1
        assert Counter(reply.status_code for reply in replies) == {200: 3, 503: 7}
        assert not any("retry-after" in reply.headers for reply in replies)
        assert server.counts()["by_ending"] == {"right": 3, "busy": 7}


async def test_many_connections_at_once(tmp_path):
    with faulty_server(tmp_path / "server.log") as server:
        server.hold()
        async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None), timeout=WAIT) as client:
            asked = asyncio.gather(*(ask(client, server, question) for question in QUESTIONS))
            await counted(server, "in_flight", 51)
            server.release()
            replies = await asked
        for question, reply in zip(QUESTIONS, replies, strict=True):
            assert json.loads(reply.text)["choices"][0]["message"]["content"] == right_answer(question)
        assert server.counts()["max_in_flight"] > 50


async def test_a_client_that_goes_away_is_noticed(tmp_path):
    with faulty_server(tmp_path / "server.log") as server:
        async with httpx2.AsyncClient() as client:
            hanging = asyncio.create_task(ask(client, server, "hang on"))
            await counted(server, "in_flight", 1)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
        deadline = time.monotonic() + WAIT
        while server.counts()["in_flight"] and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert server.counts()["in_flight"] == 0
