"""Replay golden fixtures through the engine and print how far it is from the public code.

``python tests/golden/check.py FILE…`` takes ``functions_*.npz``, ``labels.json``, ``lexicon_*.npz`` and
``stream_*.npz``. It exits with 0 only at parity: functions to 1e-6, labels and negative labels the same, streams to
1e-5 in the confidences and exactly in predictions, calls and bank sizes. A README beside the fixtures is passed over;
any other file is named and counts as a failure.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

# run as a script, it stands outside the package of tests
sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from ants_engine.method import labels, mining, neglabel, scoring  # noqa: E402
from tests.golden.stream_fixture import replay  # noqa: E402

LIMIT = 1e-6
LIMITS = {"confidences": 1e-5, "thresholds": 1e-5}


class UnsupportedFixtureError(Exception):
    """This kind of file cannot be replayed."""


def check(path: Path) -> dict[str, float]:
    """Return the largest absolute difference per function of one fixture.

    Raises:
        UnsupportedFixtureError: a file of another kind.
    """
    if path.suffix == ".json" and path.name.startswith("labels"):
        return _check_labels(path)
    if path.suffix != ".npz":
        raise UnsupportedFixtureError("not a fixture")
    with np.load(path, allow_pickle=False) as archive:
        golden = {key: archive[key] for key in archive.files}
    if "state_per_batch" in golden:
        return asyncio.run(_check_stream(golden))
    if "selected_adjectives" in golden:
        return _check_lexicon(golden)
    if "positive_probability" not in golden:
        raise UnsupportedFixtureError("neither functions nor a stream")
    return {name: _difference(value, golden[name]) for name, value in _replay(golden)}


def _replay(golden: dict[str, np.ndarray]) -> Iterator[tuple[str, object]]:
    logits = torch.from_numpy(golden["logits"])
    classes = int(golden["num_id_classes"])
    history = torch.from_numpy(golden["score_history"])
    id_logits, negatives = logits[:, :classes], logits[:, classes:]
    yield "positive_probability", scoring.id_score(id_logits, negatives)
    for name, length, permute in (
        ("grouped_20", 20, False),
        ("grouped_20_permuted", 20, True),
        ("grouped_33_permuted", 33, True),
    ):
        groups = neglabel.reference_groups(negatives.shape[1], length, permute=permute)
        yield name, neglabel.grouped_score(id_logits, negatives, groups)
    yield "cumulative_step2", scoring.cumulative_score(id_logits, negatives, 2)
    yield "cumulative_step7", scoring.cumulative_score(id_logits, negatives, 7)
    yield "activation_threshold", scoring.activation_threshold(history)
    cut = mining.adaptive_threshold(history, eta=0.5)
    yield "adaptive_threshold", cut.threshold
    yield "upper_interval", cut.upper_interval
    active = scoring.activation_score(
        id_logits,
        negatives,
        torch.from_numpy(golden["reference_confidence"]),
        threshold=0.5,
        gap=0.3,
        max_negatives=30,
        step=2,
    )
    yield "activation_score", active.score
    yield "activation_counts", (active.selected, active.low, active.high)


def _check_lexicon(golden: dict[str, Any]) -> dict[str, float]:
    """Choose negative labels; 1 for each word that is another one."""
    adjectives, nouns = golden["adjectives"].tolist(), golden["nouns"].tolist()
    rows = neglabel.public_negative_labels(
        torch.from_numpy(np.concatenate([golden["adjective_features"], golden["noun_features"]])),
        torch.from_numpy(golden["class_features"]),
        int(golden["total"]),
        0.95,
        ["adjective"] * len(adjectives) + ["noun"] * len(nouns),
        ("adjective", "noun"),
    ).tolist()
    words = adjectives + nouns
    chosen, expected = [words[row] for row in rows], golden["selected"].tolist()
    shared = sum(one == other for one, other in zip(chosen, expected, strict=False))
    count = sum(row < len(adjectives) for row in rows)
    return {
        "words chosen": float(max(len(chosen), len(expected)) - shared),
        "adjectives": float(abs(count - int(golden["selected_adjectives"]))),
    }


async def _check_stream(golden: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Differences of one stream; what must be the same is counted, and 0 is parity."""
    found = await replay(golden)
    theirs = golden["state_per_batch"]
    # an update that found no new class asked nothing
    calls = [call for call in json.loads(str(golden["calls"])) if call[1]]
    return {
        "confidences": _difference(found.confidences, golden["confidences"]),
        "predictions": float((found.predictions != golden["predictions"]).sum()),
        "calls": float(found.calls != calls),
        "thresholds": _difference(found.states[:, 0], theirs[:, 0]),
        "bank sizes": float((found.states[:, 1:] != theirs[:, 1:]).sum()),
    }


def _difference(ours: object, theirs: np.ndarray) -> float:
    value = np.asarray(ours, dtype=np.float64)
    if value.shape != theirs.shape:
        return float("inf")
    return float(np.abs(value - theirs.astype(np.float64)).max())


def _check_labels(path: Path) -> dict[str, float]:
    cases = json.loads(path.read_text(encoding="utf-8"))
    wrong = [case for case in cases if labels.parse_numbered_labels(case["text"], 5) != case["parsed"]]
    return {"parse_numbered_labels": float(len(wrong))}


def main(paths: list[str]) -> int:
    """Check every file and print what was found; 0 if all agree."""
    if not paths:
        print("usage: check.py FILE…", file=sys.stderr)
        return 2
    good = True
    for path in map(Path, paths):
        if path.name.lower().startswith("readme"):
            continue
        try:
            differences = check(path)
        except (OSError, ValueError, KeyError, UnsupportedFixtureError) as error:
            print(f"{path.name}: {error}")
            good = False
            continue
        print(path.name)
        for name, difference in differences.items():
            limit = LIMITS.get(name, LIMIT)
            agrees = difference <= limit
            good = good and agrees
            print(f"  {name:<22} {difference:.3g}{'' if agrees else f'  MORE THAN {limit:g}'}")
    print("parity" if good else "NO PARITY")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
