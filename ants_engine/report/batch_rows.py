"""The batches of the streams, as a report shows them."""

from collections.abc import Sequence
from dataclasses import asdict

from ants_engine.batch_record import BatchRecord
from ants_engine.report.document import Batch


def batch_rows(records: Sequence[BatchRecord]) -> tuple[Batch, ...]:
    """Return one row a batch, oldest first."""
    return tuple(Batch.model_validate(asdict(record)) for record in records)
