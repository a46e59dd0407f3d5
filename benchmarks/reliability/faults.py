"""Bar 1: thousands of requests to a server that fails in every way, and not one wrong answer."""

import asyncio
import logging
from collections import Counter

from benchmarks.reliability.harness import Report, answers_of, ask_all, scratch, settings_for, stored
from tests.support.faulty.plan import fate, right_answer
from tests.support.process import faulty_server

REQUESTS, SHARE, SEED, ATTEMPTS = 5_000, 0.3, 7, 5


def run(requests: int = REQUESTS, share: float = SHARE, seed: int = SEED) -> Report:
    """Ask, and hold every ending against what the server's plan says it must be."""
    report = Report(f"1. {requests:,} requests, {share:.0%} of the attempts faulty")
    logging.getLogger("ants_engine").setLevel(logging.ERROR)
    with (
        scratch() as folder,
        faulty_server(
            folder / "server.log", "--faulty", f"{share}", "--seed", f"{seed}", "--retry-after", "0.2", "--hang", "20"
        ) as server,
    ):
        settings = settings_for(server.base_url, folder / "store", attempts=ATTEMPTS, attempt_timeout=2.0)
        outcomes, seconds = asyncio.run(ask_all(settings, requests))
        counts = server.counts()["questions"]
        kept = answers_of(asyncio.run(stored(folder / "store")))
    fates = {outcome.request.prompt: fate(seed, share, outcome.request.prompt, ATTEMPTS) for outcome in outcomes}
    able = {prompt for prompt, (ending, _) in fates.items() if ending == "right"}
    right = {
        outcome.request.prompt
        for outcome in outcomes
        if outcome.answer is not None and outcome.answer.text == right_answer(outcome.request.prompt)
    }
    wrong = [prompt for prompt, text in kept.items() if text != right_answer(prompt)]
    after_success = [q for q, count in counts.items() if count["successes"] > 1]
    needless = [q for q, count in counts.items() if q in fates and count["attempts"] > fates[q][1]]
    report.say(f"{len(able):,} can succeed within {ATTEMPTS} attempts; {seconds:.0f} s, {requests / seconds:.0f}/s")
    report.say(f"attempts that reached the server: {sum(count['attempts'] for count in counts.values()):,}")
    kinds = Counter(type(outcome.error).__name__ for outcome in outcomes if outcome.error is not None)
    report.say("the others end as " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()))
    report.bar("can succeed and have not their right answer", len(able - right), 0)
    report.bar("cannot succeed and have an answer", len(right - able), 0)
    report.bar("wrong answers stored", len(wrong), 0)
    report.bar("right answers that are not stored", len(right - kept.keys()), 0)
    report.bar("most attempts at one question", max(count["attempts"] for count in counts.values()), ATTEMPTS)
    report.bar("questions asked again after they were answered", len(after_success), 0)
    report.bar("questions asked more often than their failures call for", len(needless), 0)
    return report


if __name__ == "__main__":
    print(run())
