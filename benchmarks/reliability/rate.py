"""Bar 5: a server that allows so many requests a second, and nothing configured."""

import asyncio
import logging

from benchmarks.reliability.harness import Report, ask_all, scratch, settings_for
from tests.support.process import faulty_server

RATE, SECONDS, LEARNING = 20, 60, 10


def run(rate: int = RATE, seconds: int = SECONDS, *, wish: float | None = None) -> Report:
    """Ask as much as the server allows in about so many seconds; look at what it counted, second by second."""
    logging.getLogger("ants_engine").setLevel(logging.ERROR)
    saying = "no Retry-After" if wish is None else f"Retry-After {wish:g} s"
    report = Report(f"5. {rate} requests/s allowed, 429 above ({saying}), nothing configured")
    options = ["--rate", f"{rate}", "--latency", "0.1", *([] if wish is None else ["--retry-after", f"{wish}"])]
    with scratch() as folder, faulty_server(folder / "server.log", *options) as server:
        outcomes, took = asyncio.run(ask_all(settings_for(server.base_url, folder / "store"), rate * seconds))
        counted = server.counts()["seconds"]
    late = [second for second in counted if second["second"] >= LEARNING]
    refused = sum(second.get("rate", 0) for second in late)
    arrived = sum(second.get("arrived", 0) for second in late)
    answered = sum(outcome.answer is not None for outcome in outcomes)
    early = sum(second.get("rate", 0) for second in counted) - refused
    report.say(
        f"{answered} answered in {took:.1f} s; refused in the first {LEARNING} s: {early}, after that: {refused}"
    )
    report.bar("share of what it allows", answered / took / rate, 0.9, at_least=True)
    report.bar(f"share of 429 after the first {LEARNING} s", refused / max(1, arrived), 0.05)
    report.bar("requests without an answer", len(outcomes) - answered, 0)
    return report


if __name__ == "__main__":
    print(run())
    print(run(wish=1.0))
