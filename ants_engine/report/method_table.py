"""Methods side by side on the same pictures: baselines on the detector's own texts, and each part of ANTS."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.baselines import registry
from ants_engine.baselines.baseline import TextSpace
from ants_engine.datasets.benchmark import ID_SET
from ants_engine.detector.detector import Detector
from ants_engine.detector.scores import Scores
from ants_engine.method.metrics import FprConvention, accuracy, auroc, fpr95, roc
from ants_engine.report.document import Comparison, Method, SetMetrics
from ants_engine.report.truth import Truth

BASELINES = {
    "mcm": ("MCM", "highest softmax among the ID classes"),
    "max-logit": ("Max logit", "highest cosine to an ID class"),
    "energy": ("Energy", "logsumexp over the ID classes"),
    "neglabel": ("NegLabel (S_nl)", "words of the lexicon, in groups"),
    "neglabel-1": ("NegLabel, one group", "the same words in one softmax"),
}
PARTS = {
    "ens_score": ("ANTS S_ens", "sentences about pictures that look unknown"),
    "vsnl_score": ("ANTS S_vsnl", "look-alikes of the classes"),
    "id_score": ("ANTS", "id_score: what this detector decides by"),
}
ALL_OOD = "all OOD"
"""All OOD sets together, where there are several."""
POINTS = 200
"""Points kept of a ROC curve."""


def compare_methods(
    detector: Detector, features: Tensor, scores: Scores, truth: Truth, convention: FprConvention
) -> Comparison | None:
    """Measure every method on the readable pictures whose label is known; None where ID or OOD pictures are missing.

    Args:
        detector: its texts are what the baselines use.
        features: (N, D) of the pictures that ``scores`` is of.
        scores: of N pictures.
        truth: of N pictures.
        convention: of the ROC curves.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    rows = [row for row, one in enumerate(truth.labels) if one is not None and row not in scores.failures]
    sets = np.array([_set(truth, row) for row in rows])
    is_id = sets == ID_SET
    if not is_id.any() or is_id.all():
        return None
    names = sorted(set(sets[~is_id].tolist()))
    of_set = {name: sets == name for name in names}
    if len(names) > 1:
        of_set[ALL_OOD] = ~is_id
    columns = {**_baselines(detector, features[rows]), **_parts(scores, rows), **_union(detector, scores, rows)}
    methods = tuple(
        Method(
            name=name,
            what=what,
            sets=tuple(_metrics(one, column[is_id], column[mask]) for one, mask in of_set.items()),
            roc=_curve(column[is_id], column[~is_id], convention),
            ours=name.startswith("ANTS"),
        )
        for (name, what), column in columns.items()
    )
    labels = np.array([-1 if (label := truth.labels[row]) is None else label.label for row in rows])
    named = is_id & (labels >= 0)
    right = accuracy(scores.predicted[rows][named], labels[named]) if named.any() else None
    return Comparison(convention=convention, methods=methods, accuracy=right)


def _set(truth: Truth, row: int) -> str:
    label = truth.labels[row]
    return "" if label is None else label.set_name


def _baselines(detector: Detector, features: Tensor) -> dict[tuple[str, str], NDArray[np.float32]]:
    space = TextSpace.of(detector)
    return {shown: registry.create(name, space).score(features)[1].numpy() for name, shown in BASELINES.items()}


def _parts(scores: Scores, rows: list[int]) -> dict[tuple[str, str], NDArray[np.float32]]:
    return {shown: getattr(scores, name)[rows] for name, shown in PARTS.items()}


def _union(detector: Detector, scores: Scores, rows: list[int]) -> dict[tuple[str, str], NDArray[np.float32]]:
    if detector.union or not len(detector.ens) or not len(detector.vsnl):
        return {}
    return {("ANTS union", "both banks in one softmax"): detector.union_scores(scores)[rows]}


def _metrics(name: str, ids: NDArray[np.float32], oods: NDArray[np.float32]) -> SetMetrics:
    return SetMetrics(
        ood_set=name,
        auroc=auroc(ids, oods),
        fpr95_openood=fpr95(ids, oods, convention="openood"),
        fpr95_id_positive=fpr95(ids, oods, convention="id_positive"),
    )


def _curve(
    ids: NDArray[np.float32], oods: NDArray[np.float32], convention: FprConvention
) -> tuple[tuple[float, float], ...]:
    fpr, tpr = roc(ids, oods, convention=convention)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(POINTS, len(fpr))).round().astype(int))
    return tuple((round(float(fpr[i]), 4), round(float(tpr[i]), 4)) for i in kept)
