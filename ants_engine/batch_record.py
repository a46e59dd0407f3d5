"""What is kept of one batch of a stream, for a report to show later."""

from dataclasses import dataclass

KEPT = 1000
"""Batches that a detector keeps a record of: the latest ones."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """Where a stream stood when it scored one batch, and what the MLLM did meanwhile. Times are of the clock."""

    batch: int
    """The batch, from 1."""
    pictures: int
    """Pictures of this batch, unreadable ones included."""
    foreign: int
    """Those of them that are unknown."""
    threshold: float
    weight: float
    gamma: float
    ens_texts: int
    vsnl_texts: int
    captions_asked: int
    look_alikes_asked: int
    waited: float
    """Seconds that scoring stood still for the MLLM."""
    calls: int = 0
    """Calls to the MLLM that came back since the batch before; what the response store answers is no call."""
    latency: float | None = None
    """Median seconds of those calls."""
    latency_most: float | None = None
    concurrency: int = 0
    """The most of those calls that were under way at the same time."""
    run: str | None = None
    """The name of the run folder that holds the record of its requests."""
