"""A report's facts: the numbers at its head, what the detector was made with, and what a run folder says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ants_engine.common.terminal_text import plain
from ants_engine.detector.scores import Scores
from ants_engine.dispatch.backend_registry import declared_model
from ants_engine.dispatch.runs.run_reader import RunReader, event_lines, response_lines
from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.report.document import Fact, Requests

MIDDLE = 0.1
"""A lambda so close to one half leans to neither side."""


def headline_of(saved: SavedDetector, scores: Scores | None) -> tuple[Fact, ...]:
    """Say in a few numbers what a report is about."""
    report, found = saved.report, []
    if scores is not None:
        unreadable, unknown = int(scores.is_unreadable.sum()), int(scores.is_outlier.sum())
        readable = len(scores) - unreadable
        found.append(Fact(name="Pictures", value=f"{len(scores):,}", note=f"{unreadable:,} unreadable"))
        share = f"{100 * unknown / readable:.1f} % of those that could be read" if readable else ""
        found.append(Fact(name="Called unknown", value=f"{unknown:,}", note=share))
    found.append(
        Fact(
            name="Threshold",
            value=f"{saved.state.detector.threshold:.3f}",
            note="below this id_score a picture is unknown",
        )
    )
    found.append(
        Fact(name="Lambda", value=f"{saved.state.detector.weight:.2f}", note=leaning(saved.state.detector.weight))
    )
    detector = saved.state.detector
    negatives = f"{len(detector.ens):,} sentences, {len(detector.vsnl):,} look-alikes"
    found.append(Fact(name="Negative texts", value=f"{len(detector.ens) + len(detector.vsnl):,}", note=negatives))
    backend = plain(saved.settings.mllm.backend)
    found.append(Fact(name="MLLM", value=plain(declared_model(saved.settings.mllm)) or backend, note=backend))
    requests = report.asked + report.from_store
    if requests or report.failed:
        found.append(Fact(name="Calls", value=f"{report.asked:,}", note=f"{report.failed:,} failed"))
        hits = f"{100 * report.from_store / requests:.0f} % of {requests:,} answers" if requests else ""
        found.append(Fact(name="From the store", value=f"{report.from_store:,}", note=hits))
    if report.prompt_tokens is not None and report.completion_tokens is not None:
        tokens = f"{report.prompt_tokens:,} in, {report.completion_tokens:,} out"
        found.append(
            Fact(name="Tokens", value=f"{report.prompt_tokens + report.completion_tokens:,}", note=f"{tokens}")
        )
    if seconds := sum(report.seconds.values()):
        longest = max(report.seconds, key=lambda name: report.seconds[name])
        note = f"most of it: {plain(longest)}"
        found.append(Fact(name="Time", value=duration(seconds), note=note))
    found.append(_cost(saved))
    return tuple(found)


def _cost(saved: SavedDetector) -> Fact:
    if any(saved.settings.dispatch.prices.model_dump().values()):
        return Fact(name="Cost", value=f"{saved.report.cost:,.2f}", note="in the currency of dispatch.prices")
    return Fact(name="Cost", value="–", note="no prices are set (dispatch.prices)")


def leaning(weight: float) -> str:
    """Say what lambda says of the stream."""
    if abs(weight - 0.5) < MIDDLE:
        return "between far-OOD (1) and near-OOD (0)"
    return "leans to far-OOD: the sentences count more" if weight > 0.5 else "leans to near-OOD: look-alikes count more"


def duration(seconds: float) -> str:
    """Write seconds for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def facts_of(saved: SavedDetector) -> tuple[Fact, ...]:
    """Say what the detector was made with."""
    report, settings = saved.report, saved.settings
    found = [Fact(name=f"{plain(name)}", value=plain(value)) for name, value in report.versions.items()]
    for name, value in report.model_identity.items():
        found.append(Fact(name=f"MLLM {plain(str(name))}", value=plain(str(value))))
    for name, value in report.templates.items():
        found.append(Fact(name=f"prompt {plain(name)}", value=plain(value)))
    clip = saved.state.detector.clip_identity.get("sha256")
    if clip:
        found.append(Fact(name="CLIP sha256", value=plain(str(clip))))
    found.append(Fact(name="preset", value=settings.preset))
    found.append(Fact(name="temperature", value=f"{saved.state.detector.temperature:.6g}"))
    found.append(
        Fact(name="gamma", value=f"{saved.state.gamma:.6g}", note="a picture with S_nl below it looks unknown")
    )
    if report.negative_images:
        note = f"of {report.candidates:,} that looked unknown"
        found.append(Fact(name="pictures described", value=f"{report.negative_images:,}", note=note))
    found += [
        Fact(name=f"seconds: {plain(stage)}", value=f"{seconds:.2f}") for stage, seconds in report.seconds.items()
    ]
    return tuple(found)


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
