"""A report's facts: the numbers at its head, the versions and settings of the detector, and a run folder's requests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ants_engine.common.terminal_text import plain
from ants_engine.detector.scores import Scores
from ants_engine.dispatch.backend_registry import declared_model
from ants_engine.dispatch.runs.run_reader import RunReader, event_lines, response_lines
from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.report.document import Fact, Requests
from ants_engine.settings.config import Settings

T = TypeVar("T")

MIDDLE = 0.1
"""A lambda so close to one half leans to neither side."""
LOADS = 500
"""Points of the load that are kept."""
MOST = 20_000
"""Requests whose latency is kept; of more, evenly spread ones."""


def fact(name: str, value: str, note: str = "") -> Fact:
    """Return a fact."""
    return Fact(name=name, value=value, note=note)


def headline_of(saved: SavedDetector, scores: Scores | None) -> tuple[Fact, ...]:
    """Return the numbers at the head of a report."""
    report, detector, found = saved.report, saved.state.detector, []
    if scores is not None:
        unreadable, unknown = int(scores.is_unreadable.sum()), int(scores.is_outlier.sum())
        readable = len(scores) - unreadable
        found.append(fact("Pictures", f"{len(scores):,}", f"{unreadable:,} unreadable"))
        share = f"{100 * unknown / readable:.1f} % of those that could be read" if readable else ""
        found.append(fact("Called unknown", f"{unknown:,}", share))
    found.append(fact("Threshold", f"{detector.threshold:.3f}", "below this id_score a picture is unknown"))
    found.append(fact("Lambda", f"{detector.weight:.2f}", leaning(detector.weight)))
    negatives = f"{len(detector.ens):,} sentences, {len(detector.vsnl):,} look-alikes"
    found.append(fact("Negative texts", f"{len(detector.ens) + len(detector.vsnl):,}", negatives))
    backend = plain(saved.settings.mllm.backend)
    found.append(fact("MLLM", plain(declared_model(saved.settings.mllm)) or backend, backend))
    requests = report.asked + report.from_store
    if requests or report.failed:
        found.append(fact("Calls", f"{report.asked:,}", f"{report.failed:,} failed"))
        hits = f"{100 * report.from_store / requests:.0f} % of {requests:,} answers" if requests else ""
        found.append(fact("From the store", f"{report.from_store:,}", hits))
    if report.prompt_tokens is not None and report.completion_tokens is not None:
        found.append(tokens_fact(report.prompt_tokens, report.completion_tokens))
    if seconds := sum(report.seconds.values()):
        longest = max(report.seconds, key=lambda name: report.seconds[name])
        found.append(fact("Time", _duration(seconds), f"most of it: {plain(longest)}"))
    return (*found, cost_fact(saved.settings, report.cost))


def cost_fact(settings: Settings, cost: float) -> Fact:
    """Return the cost of a run, if prices are set."""
    if any(settings.dispatch.prices.model_dump().values()):
        return fact("Cost", f"{cost:,.2f}", "in the currency of dispatch.prices")
    return fact("Cost", "–", "no prices are set (dispatch.prices)")


def tokens_fact(prompt: int, completion: int) -> Fact:
    """Return the tokens of prompts and answers."""
    return fact("Tokens", f"{prompt + completion:,}", f"{prompt:,} in, {completion:,} out")


def leaning(weight: float) -> str:
    """Return in words how lambda weighs the two banks."""
    if abs(weight - 0.5) < MIDDLE:
        return "between far-OOD (1) and near-OOD (0)"
    return "leans to far-OOD: the sentences count more" if weight > 0.5 else "leans to near-OOD: look-alikes count more"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def facts_of(saved: SavedDetector) -> tuple[Fact, ...]:
    """Return versions, model and settings of a detector."""
    report, detector = saved.report, saved.state.detector
    found = [fact(plain(name), plain(value)) for name, value in report.versions.items()]
    found += [fact(f"MLLM {plain(str(name))}", plain(str(value))) for name, value in report.model_identity.items()]
    found += [fact(f"prompt {plain(name)}", plain(value)) for name, value in report.templates.items()]
    if clip := detector.clip_identity.get("sha256"):
        found.append(fact("CLIP sha256", plain(str(clip))))
    found.append(fact("preset", saved.settings.preset))
    found.append(fact("temperature", f"{detector.temperature:.6g}"))
    found.append(fact("gamma", f"{saved.state.gamma:.6g}", "a picture with S_nl below it looks unknown"))
    if report.negative_images:
        note = f"of {report.candidates:,} that looked unknown"
        found.append(fact("pictures described", f"{report.negative_images:,}", note))
    found += [fact(f"seconds: {plain(stage)}", f"{seconds:.2f}") for stage, seconds in report.seconds.items()]
    return tuple(found)


def read_requests(folder: Path) -> Requests:
    """Read the requests of a run folder, finished or not."""
    reader = RunReader(folder)
    reader.read()
    summary, given = reader.summary, reader.record.get("facts")
    spans = _thinned(sorted(span for line in response_lines(folder) if (span := _span(line)) is not None), MOST)
    return Requests(
        run=plain(folder.name),
        state=plain(reader.ending or reader.state),
        facts=(
            *_run_facts(reader, given if isinstance(given, dict) else {}),
            *(fact("problem", plain(each)) for each in reader.problems),
        ),
        failed=tuple(
            fact(plain(kind), f"{count:,}", plain(summary.commonest_message(kind)))
            for kind, count in summary.failed.most_common()
        ),
        ended=tuple(round(at, 4) for at, _ in spans),
        seconds=tuple(round(seconds, 4) for _, seconds in spans),
        load=tuple(_thinned([load for line in event_lines(folder) if (load := _load(line)) is not None], LOADS)),
    )


def _run_facts(reader: RunReader, given: Mapping[str, Any]) -> list[Fact]:
    summary, cost = reader.summary, reader.summary.progress.get("cost")
    share = f"{100 * summary.from_store / summary.answered:.0f} % of the answers" if summary.answered else ""
    found = [
        fact("Mode", _text(given.get("mode")), f"{_text(given.get('slots'))} at once at most"),
        fact("MLLM", _text(given.get("model")) or _text(given.get("backend"))),
        fact("Answered", f"{summary.answered:,}", f"{summary.failed.total():,} failed"),
        fact("From the store", f"{summary.from_store:,}", share),
        fact("Calls", f"{summary.attempts:,}", f"{summary.retried:,} requests were tried again"),
        tokens_fact(summary.prompt_tokens, summary.completion_tokens),
        fact("Time", _duration(summary.last)),
    ]
    if isinstance(cost, int | float) and cost > 0:
        found.append(fact("Cost", f"{cost:,.2f}", "in the currency of dispatch.prices"))
    if (latency := summary.latency()) is not None:
        rest = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in latency.items() if name != "p50")
        found.append(fact("Latency, median", f"{latency['p50']:.2f} s", rest))
    return found


def _span(line: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return when a request that the MLLM answered ended, and how long it took, both in seconds."""
    at, seconds = line.get("at"), line.get("seconds")
    if line.get("source") != "backend" or line.get("ending") != "answer":
        return None
    if not isinstance(at, int | float) or not isinstance(seconds, int | float):
        return None
    return (float(at), float(seconds)) if 0 <= at <= 1e12 and 0 <= seconds <= 1e12 else None


def _load(line: Mapping[str, Any]) -> tuple[float, int, int] | None:
    """Return the time of a progress event, requests with the MLLM, and their limit."""
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
