"""Bar 4: how near the wall time is to what latency and slots allow, cold; how fast it is warm; our own CPU time."""

import asyncio
import statistics
import time
from pathlib import Path

from openai import AsyncOpenAI

from benchmarks.reliability.harness import Report, ask_all, cpu_seconds, scratch, settings_for
from tests.support.process import FaultyServer, faulty_server

REQUESTS, LATENCY, SLOTS, ROUNDS = 1_000, 0.2, 32, 3


def run(requests: int = REQUESTS, rounds: int = ROUNDS) -> Report:
    """Measure in one run: ours cold, ours warm, and the bare client, in turn."""
    ideal = requests * LATENCY / SLOTS
    report = Report(f"4. {requests:,} requests, {LATENCY * 1000:.0f} ms latency, {SLOTS} slots (ideal {ideal:.2f} s)")
    cold, warm, ours, bare, client = [], [], [], [], []
    with scratch() as folder, faulty_server(folder / "server.log", "--latency", f"{LATENCY}") as server:
        asyncio.run(_warm_up(server, folder))
        for number in range(rounds):
            settings = settings_for(server.base_url, folder / f"store-{number}", slots=SLOTS)
            before = cpu_seconds()
            outcomes, seconds = asyncio.run(ask_all(settings, requests))
            ours.append((cpu_seconds() - before) / requests)
            cold.append(seconds)
            again, seconds = asyncio.run(ask_all(settings, requests))
            warm.append(seconds)
            if not all(one.answer for one in outcomes) or {one.source for one in again} != {"store"}:
                raise RuntimeError("not every request was answered, or not from the store the second time")
            before = cpu_seconds()
            client.append(asyncio.run(_bare(server, requests)))
            bare.append((cpu_seconds() - before) / requests)
    middle = statistics.median
    report.say(f"cold: {', '.join(f'{each:.2f}' for each in cold)} s")
    report.say(f"the openai client alone, without a store: {', '.join(f'{each:.2f}' for each in client)} s")
    report.say(f"warm: {', '.join(f'{each:.3f}' for each in warm)} s")
    report.say(f"CPU a request: {middle(ours) * 1000:.2f} ms; the openai client alone: {middle(bare) * 1000:.2f} ms")
    report.bar("wall time, cold / ideal", middle(cold) / ideal, 1.08)
    report.bar("cold / warm", middle(cold) / middle(warm), 40, at_least=True)
    report.bar("CPU a request, the client included, ms", middle(ours) * 1000, 3)
    return report


async def _warm_up(server: FaultyServer, folder: Path) -> None:
    await ask_all(settings_for(server.base_url, folder / "warm-up", slots=SLOTS), 64)


async def _bare(server: FaultyServer, requests: int) -> float:
    """Ask the same with the openai client alone: no store, no retries, the same slots."""
    began = time.perf_counter()
    slots = asyncio.Semaphore(SLOTS)
    async with AsyncOpenAI(api_key="none", base_url=server.base_url, max_retries=0) as client:

        async def ask(number: int) -> None:
            async with slots:
                await client.chat.completions.create(
                    model="tiny",
                    messages=[{"role": "user", "content": f"number {number}"}],
                    max_tokens=32,
                    temperature=0.0,
                )

        await asyncio.gather(*(ask(number) for number in range(requests)))
    return time.perf_counter() - began


if __name__ == "__main__":
    print(run())
