"""What a run folder says of the requests, for a report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ants_engine.common.terminal_text import plain
from ants_engine.dispatch.runs.run_reader import RunReader, event_lines, response_lines
from ants_engine.report.document import Fact, Requests
from ants_engine.report.headline import duration

T = TypeVar("T")

LOADS = 500
"""Points of the load that are kept."""
MOST = 20_000
"""Requests whose latency is kept; of more, evenly spread ones."""


def read_requests(folder: Path) -> Requests:
    """Read a run folder, finished or not."""
    reader = RunReader(folder)
    reader.read()
    summary, record = reader.summary, reader.record
    spans = sorted(span for line in response_lines(folder) if (span := _span(line)) is not None)
    spans = _thinned(spans, MOST)
    told = record.get("facts")
    facts: Mapping[str, Any] = told if isinstance(told, dict) else {}
    return Requests(
        run=plain(folder.name),
        state=plain(reader.ending or reader.state),
        facts=(*_facts(reader, facts), *(Fact(name="problem", value=plain(each)) for each in reader.problems)),
        failed=tuple(
            Fact(name=plain(kind), value=f"{count:,}", note=plain(summary.commonest_message(kind)))
            for kind, count in summary.failed.most_common()
        ),
        ended=tuple(round(at, 4) for at, _ in spans),
        seconds=tuple(round(seconds, 4) for _, seconds in spans),
        load=tuple(_thinned([load for line in event_lines(folder) if (load := _load(line)) is not None], LOADS)),
    )


def _facts(reader: RunReader, facts: Mapping[str, Any]) -> list[Fact]:
    summary = reader.summary
    found = [
        Fact(name="Mode", value=_text(facts.get("mode")), note=f"{_text(facts.get('slots'))} at once at most"),
        Fact(name="MLLM", value=_text(facts.get("model")) or _text(facts.get("backend"))),
        Fact(name="Answered", value=f"{summary.answered:,}", note=f"{summary.failed.total():,} failed"),
        Fact(name="From the store", value=f"{summary.from_store:,}", note=_share(summary.from_store, summary.answered)),
        Fact(name="Calls", value=f"{summary.attempts:,}", note=f"{summary.retried:,} requests were tried again"),
        Fact(
            name="Tokens",
            value=f"{summary.prompt_tokens + summary.completion_tokens:,}",
            note=f"{summary.prompt_tokens:,} in, {summary.completion_tokens:,} out",
        ),
        Fact(name="Time", value=duration(summary.last)),
    ]
    cost = summary.progress.get("cost")
    if isinstance(cost, int | float) and cost > 0:
        found.append(Fact(name="Cost", value=f"{cost:,.2f}", note="in the currency of dispatch.prices"))
    latency = summary.latency()
    if latency is not None:
        rest = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in latency.items() if name != "p50")
        found.append(Fact(name="Latency, median", value=f"{latency['p50']:.2f} s", note=rest))
    return found


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} % of the answers" if whole else ""


def _span(line: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return when a request that the MLLM answered ended, and how long it took."""
    at, seconds = line.get("at"), line.get("seconds")
    if line.get("source") != "backend" or line.get("ending") != "answer":
        return None
    if not isinstance(at, int | float) or not isinstance(seconds, int | float):
        return None
    return (float(at), float(seconds)) if 0 <= at <= 1e12 and 0 <= seconds <= 1e12 else None


def _load(line: Mapping[str, Any]) -> tuple[float, int, int] | None:
    """Return when the run said how many requests were with the MLLM, and what it said."""
    facts, at = line.get("facts"), line.get("at")
    if line.get("kind") != "progress" or not isinstance(facts, dict) or not isinstance(at, int | float):
        return None
    now, limit = facts.get("in_flight"), facts.get("limit")
    if not isinstance(now, int) or not isinstance(limit, int) or not 0 <= at <= 1e12:
        return None
    return float(at), min(now, 10**9), min(limit, 10**9)


def _thinned(rows: list[T], most: int) -> list[T]:
    return rows if len(rows) <= most else [rows[i * len(rows) // most] for i in range(most)]


def _text(value: object) -> str:
    return "" if value is None else plain(str(value))[:120]
