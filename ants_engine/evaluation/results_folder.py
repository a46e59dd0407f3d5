"""The folder that an evaluation is written to.

::

    results.json                                     everything, and what is needed to run it again
    table.txt                                        the table for people
    <method>/<all or prevalence-p>/ood_<convention>.csv      OpenOOD's columns, in percent, mean over the seeds
    <method>/<all or prevalence-p>/ood_<convention>_std.csv  standard deviation over the seeds, where there are several
    <method>/<all or prevalence-p>/scores/<ood set>-seed<n>.npz   ``pred``, ``conf`` and ``label`` of one pass

A cell of a CSV file is empty where a pass failed, where too many of its requests did, and in ACC without labels.
Source of the two file formats: OpenOOD v1.5, arXiv 2306.09301.
"""

import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ants_engine.common.atomic_file import try_folder, write_whole
from ants_engine.common.canonical_json import readable
from ants_engine.common.terminal_text import encodable
from ants_engine.errors import UsageError
from ants_engine.evaluation.passes import PassKey, PassScores
from ants_engine.evaluation.summary import SummaryRow
from ants_engine.method.metrics import COLUMNS

RECORD = "results.json"
TABLE = "table.txt"
FORMAT = 1


class ResultsFolder:
    """Writes files whole or not at all, and remembers which."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        """Make the folder.

        Args:
            folder: made if it is not there.
            force: allow one that is not empty. What an earlier evaluation listed in its ``results.json`` is removed,
                so that nothing of it is taken for this one's; other files stay.

        Raises:
            UsageError: it is not empty, no folder, or cannot be written.
        """
        self.folder = folder
        self.files: list[str] = []
        """Written so far, relative to the folder."""
        try:
            try_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                if not force:
                    raise UsageError(f"{folder} is not empty; name another folder, or overwrite with --force")
                self._remove_earlier()
        except OSError as error:
            raise UsageError(f"{folder} cannot be used for the results: {error.strerror or error}") from None

    def add_scores(self, key: PassKey, scores: PassScores) -> None:
        """Write the score file of one pass.

        Raises:
            UsageError: it cannot be written.
        """
        buffer = io.BytesIO()
        np.savez_compressed(buffer, pred=scores.pred, conf=scores.conf, label=scores.label)
        place = _place(key.method, key.prevalence)
        self._write(f"{place}/scores/{file_name(key.ood_set)}-seed{key.seed}.npz", buffer.getvalue())

    def add_tables(self, rows: Sequence[SummaryRow], table: str) -> None:
        """Write the CSV files and the table for people.

        Raises:
            UsageError: one cannot be written.
        """
        kinds = dict.fromkeys((row.method, row.prevalence, row.convention) for row in rows)
        for method, prevalence, convention in kinds:
            own = [
                row for row in rows if (row.method, row.prevalence, row.convention) == (method, prevalence, convention)
            ]
            place = f"{_place(method, prevalence)}/ood_{convention}"
            self._write(f"{place}.csv", _csv(own, deviation=False))
            if any(spread and spread.deviation is not None for row in own for spread in (row.values or {}).values()):
                self._write(f"{place}_std.csv", _csv(own, deviation=True))
        self._write(TABLE, encodable(table).encode())

    def add_record(self, record: dict[str, Any]) -> None:
        """Write ``results.json``.

        Raises:
            UsageError: it cannot be written.
        """
        listed = {"format": FORMAT, **record, "files": [*self.files, RECORD]}
        self._write(RECORD, f"{readable(listed, indent=1)}\n".encode())

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
        if name not in self.files:
            self.files.append(name)

    def _remove_earlier(self) -> None:
        try:
            listed = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        for name in listed if isinstance(listed, list) else []:
            path = self.folder / str(name)
            # the list is data: it must not reach what lies elsewhere
            if path.is_file() and path.resolve().is_relative_to(self.folder.resolve()):
                path.unlink()


def file_name(name: str) -> str:
    """Return a set's name as a file name, told apart by a digest where a character had to go."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".")[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def _place(method: str, prevalence: float | None) -> str:
    return f"{file_name(method)}/{'all' if prevalence is None else f'prevalence-{prevalence:g}'}"


def _csv(rows: Sequence[SummaryRow], *, deviation: bool) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", *COLUMNS])
    for row in rows:
        cells = []
        for column in COLUMNS:
            # the format has no room to say that a number is not the method's
            spread = None if row.values is None or row.degraded else row.values[column]
            value = None if spread is None else spread.deviation if deviation else spread.mean
            cells.append("" if value is None else f"{value:.2f}")
        writer.writerow([row.dataset, *cells])
    return encodable(text.getvalue()).encode()
