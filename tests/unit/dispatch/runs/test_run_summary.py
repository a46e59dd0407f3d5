"""What a run's lines come to, with sums done by hand, and lines that are none."""

from typing import Any

import pytest

from ants_engine.dispatch.runs import run_reader
from ants_engine.dispatch.runs.run_reader import RunSummary

LINE: dict[str, Any] = {
    "at": 1.0,
    "task": "ens",
    "source": "backend",
    "attempts": 1,
    "seconds": 0.5,
    "ending": "answer",
    "prompt_tokens": 10,
    "completion_tokens": 2,
}


def summary_of(*lines: dict[str, Any]) -> RunSummary:
    summary = RunSummary()
    for line in lines:
        assert summary.add_response({**LINE, **line})
    return summary


def test_counts_and_tokens() -> None:
    summary = summary_of(
        {"at": 2.0},
        {"at": 3.0, "attempts": 3},
        {"at": 1.5, "source": "store", "attempts": 0},
        {"task": "vsnl", "ending": "QuotaError", "message": "spent"},
        {"task": "vsnl", "ending": "QuotaError", "message": "no more"},
        {"task": "vsnl", "ending": "QuotaError", "message": "spent"},
        {"prompt_tokens": None, "completion_tokens": None},
    )
    assert (summary.ended, summary.answered, summary.from_store) == (7, 4, 1)
    assert (summary.attempts, summary.retried) == (8, 1)
    assert (summary.prompt_tokens, summary.completion_tokens) == (20, 4)
    assert summary.first_answer == 1.0
    assert summary.tasks == {"ens": {"answered": 4}, "vsnl": {"failed": 3}}
    assert summary.failed == {"QuotaError": 3}
    assert summary.commonest_message("QuotaError") == "spent"


def test_latency_is_of_the_backend_by_nearest_rank() -> None:
    lines = [{"seconds": float(second)} for second in range(1, 101)]
    summary = summary_of(*reversed(lines), {"seconds": 1000.0, "source": "store"})
    assert summary.latency() == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert summary_of({"seconds": 7.0}).latency() == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert RunSummary().latency() is None


@pytest.mark.parametrize("length", [1, 10, 100, 10_000])
def test_throughput_adds_up_in_few_rows_however_long_it_is(length: int) -> None:
    summary = summary_of(*({"at": float(second)} for second in range(length)))
    rows = summary.throughput()
    assert sum(row["answers"] for row in rows) == length
    assert len(rows) <= run_reader.ROWS
    assert length <= run_reader.ROWS or len(rows) >= run_reader.ROWS // 2
    # one a second all along; the last stretch may have only begun
    assert {row["per_second"] for row in rows[:-1]} <= {1.0}
    assert [row["to"] for row in rows[:-1]] == [row["from"] for row in rows[1:]]


def test_a_pause_is_a_row_of_its_own() -> None:
    summary = summary_of({"at": 0.5}, {"at": 3.5})
    summary.add_event({"at": 5.0, "kind": "paused", "facts": {}})
    assert [row["answers"] for row in summary.throughput()] == [1, 0, 0, 1, 0, 0]


def test_an_event_of_the_far_future_makes_no_endless_table() -> None:
    summary = summary_of({"at": 0.5})
    assert summary.add_event({"at": 1e12, "kind": "odd", "facts": {}})
    assert len(summary.throughput()) <= run_reader.ROWS


def test_events() -> None:
    summary = RunSummary()
    for number in range(100):
        assert summary.add_event({"at": float(number), "kind": "stuck", "facts": {"number": number}})
    assert summary.add_event({"at": 1.0, "kind": "attempt_failed", "facts": {"error": "RateLimitError"}})
    assert summary.add_event({"at": 1.0, "kind": "progress", "facts": {"asked": 7}})
    assert summary.events == {"stuck": 100, "attempt_failed": 1, "progress": 1}
    assert [each["facts"]["number"] for each in summary.last_events] == list(range(88, 100))
    assert summary.failed_attempts == {"RateLimitError": 1}
    assert summary.progress == {"asked": 7}


@pytest.mark.parametrize(
    "change",
    [
        *({"at": None}, {"at": -1.0}, {"at": True}, {"at": 10**400}, {"at": "1"}, {"seconds": None}),
        *({"ending": None}, {"ending": 3}, {"task": []}, {"source": "elsewhere"}, {"source": []}),
        *({"attempts": -1}, {"attempts": 1.5}, {"attempts": 10**30}),
    ],
)
def test_what_is_no_line_adds_nothing(change: dict[str, Any]) -> None:
    summary = RunSummary()
    assert not summary.add_response({**LINE, **change})
    assert summary.as_json() == RunSummary().as_json()


def test_ever_new_kinds_messages_and_tasks_are_bounded() -> None:
    summary = RunSummary()
    for number in range(3000):
        line = {**LINE, "ending": f"Error{number}", "task": f"t{number}", "message": f"m{number}"}
        assert summary.add_response(line)
        assert summary.add_response({**line, "ending": "Same"})
    assert len(summary.failed) <= run_reader.KINDS + 1
    assert len(summary.tasks) <= run_reader.KINDS + 1
    assert len(summary._messages["Same"]) <= run_reader.MESSAGES + 1
    assert summary.failed.total() == 6000
