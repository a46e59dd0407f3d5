"""The record of an evaluation, and the folder that it is written to.

::

    results.json                                     everything, with what is needed to repeat it
    table.txt                                        the table as text
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
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ants_engine.common.atomic_file import try_folder, write_whole
from ants_engine.common.canonical_json import readable
from ants_engine.common.terminal_text import encodable
from ants_engine.common.versions import installed_versions
from ants_engine.datasets.benchmark import Benchmark, BenchmarkSet
from ants_engine.errors import UsageError
from ants_engine.evaluation.method import EvaluationPlan, PassKey, PassResult, PassScores
from ants_engine.evaluation.summary import SummaryRow
from ants_engine.method.metrics import COLUMNS

PACKAGES = (
    "ants-engine", "torch", "torchvision", "open_clip_torch", "numpy", "pillow", "scikit-learn", "transformers",
    "openai",
)  # fmt: skip
"""Packages that scores and metrics depend on."""


def package_versions() -> dict[str, str | None]:
    """Return the platform and the versions of Python and `PACKAGES`; None for what is not installed."""
    return {"platform": platform.platform(), **installed_versions(PACKAGES)}


def benchmark_record(benchmark: Benchmark) -> dict[str, Any]:
    """Describe the benchmark."""
    return {
        "name": benchmark.name,
        "kind": benchmark.kind,
        "classes": list(benchmark.classes),
        "sets": [_set_record(one) for one in benchmark.sets],
        "notes": list(benchmark.notes),
    }


def plan_record(plan: EvaluationPlan) -> dict[str, Any]:
    """Describe the plan."""
    return {
        "seeds": list(plan.seeds),
        "prevalences": list(plan.prevalences),
        "share": plan.share,
        "batch_size": plan.batch_size,
        "fpr95_conventions": list(plan.conventions),
    }


def requests_record(results: Sequence[PassResult]) -> dict[str, int | None]:
    """Sum the requests to the MLLM, each run once; tokens are None where any count is unknown."""
    runs = [one.facts for one in results if one.facts.same_run_as is None]
    return {
        **{name: sum(getattr(one, name) for one in runs) for name in ("asked", "from_store", "failed")},
        "prompt_tokens": _sum([one.prompt_tokens for one in runs if one.requests]),
        "completion_tokens": _sum([one.completion_tokens for one in runs if one.requests]),
    }


def models_record(results: Sequence[PassResult]) -> dict[str, Any]:
    """List the MLLMs and prompt templates that were used."""
    mllms: list[Mapping[str, Any]] = []
    templates: dict[str, str] = {}
    for facts in (one.facts for one in results):
        if facts.mllm and facts.mllm not in mllms:
            mllms.append(facts.mllm)
        templates |= facts.templates
    return {"mllm": [dict(one) for one in mllms], "templates": dict(sorted(templates.items()))}


def _set_record(one: BenchmarkSet) -> dict[str, Any]:
    features = one.features
    return {
        "name": one.name,
        "group": one.group,
        "pictures": len(one),
        "unreadable": len(one.failures),
        "labelled": one.labelled if one.group is None else None,
        "origin": one.origin,
        "sha256": one.sha256 or None,
        # equal if two runs used the same bits
        "features_sha256": None if features is None else hashlib.sha256(features.numpy().tobytes()).hexdigest(),
    }


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


RECORD = "results.json"
TABLE = "table.txt"
FORMAT = 1


class ResultsFolder:
    """Writes files atomically, and lists them."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        """Create the folder.

        Args:
            folder: created if missing.
            force: allow a folder that is not empty. Files that an earlier ``results.json`` lists are removed, so that
                they are not mistaken for results of this evaluation; other files stay.

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
        """Write the CSV files and the table as text.

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
            # the list is untrusted: it must not reach outside the folder
            if path.is_file() and path.resolve().is_relative_to(self.folder.resolve()):
                path.unlink()


def file_name(name: str) -> str:
    """Return a set's name as a file name, with a digest where a character had to be replaced."""
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
            # the format cannot mark a number as degraded
            spread = None if row.values is None or row.degraded else row.values[column]
            value = None if spread is None else spread.deviation if deviation else spread.mean
            cells.append("" if value is None else f"{value:.2f}")
        writer.writerow([row.dataset, *cells])
    return encodable(text.getvalue()).encode()
