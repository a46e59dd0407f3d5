"""FPR95, AUROC, AUPR and accuracy with OpenOOD's arithmetic.

Source: OpenOOD v1.5, arXiv 2306.09301. Everything is computed in float64 through scikit-learn's curves.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ants_engine.errors import MissingDependencyError

FprConvention: TypeAlias = Literal["openood", "id_positive"]
"""``openood``: share of ID pictures that raise a false alarm while 95 % of OOD is caught (OpenOOD, pytorch-ood).
``id_positive``: share of OOD pictures let through while 95 % of ID is kept (NegLabel, EOE and most CLIP papers)."""

COLUMNS = ("FPR@95", "AUROC", "AUPR_IN", "AUPR_OUT", "ACC")
"""OpenOOD's order."""

_TPR = 0.95


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well ID and OOD are told apart, each as a share in [0, 1]."""

    fpr95: float
    """Lower is better; which of the two kinds, ``convention`` says."""
    auroc: float
    """Higher is better; the same whichever side is called positive."""
    aupr_in: float
    """Area under precision and recall with ID as the positive class; higher is better."""
    aupr_out: float
    """The same with OOD as the positive class."""
    accuracy: float | None
    """Over ID pictures only; ``None`` without labels."""
    convention: FprConvention

    def percent(self, digits: int | None = 2) -> dict[str, float | None]:
        """Return the columns in OpenOOD's order, in percent, rounded to two decimals; not at all with ``None``."""
        values = (self.fpr95, self.auroc, self.aupr_in, self.aupr_out, self.accuracy)
        scaled = [None if value is None else 100.0 * value for value in values]
        if digits is not None:
            scaled = [None if value is None else round(value, digits) for value in scaled]
        return dict(zip(COLUMNS, scaled, strict=True))


def measure(
    id_scores: ArrayLike,
    ood_scores: ArrayLike,
    *,
    convention: FprConvention = "openood",
    id_predicted: ArrayLike | None = None,
    id_labels: ArrayLike | None = None,
) -> Metrics:
    """Compute all metrics.

    Args:
        id_scores: ``(N,)`` ID scores of ID pictures, higher is more ID.
        ood_scores: ``(M,)`` ID scores of OOD pictures.
        convention: which of the two FPR95.
        id_predicted: ``(N,)`` predicted class indices of the ID pictures; with ``id_labels``, for the accuracy.
        id_labels: ``(N,)`` true class indices.

    Raises:
        ValueError: one side is empty, a score is NaN or infinite, an array is no vector, or lengths differ.
        MissingDependencyError: scikit-learn is not installed.
    """
    accuracy_value = None
    if id_predicted is not None or id_labels is not None:
        if id_predicted is None or id_labels is None:
            raise ValueError("the accuracy needs both id_predicted and id_labels")
        accuracy_value = accuracy(id_predicted, id_labels)
        if len(np.asarray(id_labels)) != len(np.asarray(id_scores)):
            raise ValueError("id_scores and id_labels differ in length")
    return Metrics(
        fpr95=fpr95(id_scores, ood_scores, convention=convention),
        auroc=auroc(id_scores, ood_scores),
        aupr_in=aupr_in(id_scores, ood_scores),
        aupr_out=aupr_out(id_scores, ood_scores),
        accuracy=accuracy_value,
        convention=convention,
    )


def fpr95(id_scores: ArrayLike, ood_scores: ArrayLike, *, convention: FprConvention = "openood") -> float:
    """False positive rate at the first point of the ROC curve with a true positive rate of at least 0.95.

    Args:
        id_scores: ``(N,)`` ID scores of ID pictures, higher is more ID.
        ood_scores: ``(M,)`` ID scores of OOD pictures.
        convention: which side is positive, see `FprConvention`.

    Returns:
        A share in [0, 1], lower is better.

    Raises:
        ValueError: as for `measure`, or an unknown convention.
        MissingDependencyError: scikit-learn is not installed.
    """
    if convention not in ("openood", "id_positive"):
        raise ValueError(f"convention must be 'openood' or 'id_positive', not {convention!r}")
    positive, score = _targets(id_scores, ood_scores, ood_positive=convention == "openood")
    # Every point of the curve is kept: a dropped one could be the first that reaches 0.95.
    fpr, tpr, _ = _metrics().roc_curve(positive, score, drop_intermediate=False)
    return float(fpr[int(np.argmax(tpr >= _TPR))])


def roc(
    id_scores: ArrayLike, ood_scores: ArrayLike, *, convention: FprConvention
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of the ROC curve, FPR and TPR, each (K,).

    Args and errors as for `fpr95`.
    """
    positive, score = _targets(id_scores, ood_scores, ood_positive=convention == "openood")
    fpr, tpr, _ = _metrics().roc_curve(positive, score)
    return fpr, tpr


def auroc(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Area under the ROC curve: the chance that an ID picture scores higher than an OOD one, ties counting half.

    Args and errors as for `measure`; a share in [0, 1], higher is better.
    """
    return float(_metrics().auc(*roc(id_scores, ood_scores, convention="openood")))


def aupr_in(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Area (trapezoids, not average precision) under precision and recall, ID positive.

    Args and errors as for `measure`; a share in [0, 1], higher is better.
    """
    return _aupr(id_scores, ood_scores, ood_positive=False)


def aupr_out(id_scores: ArrayLike, ood_scores: ArrayLike) -> float:
    """Area (trapezoids, not average precision) under precision and recall, OOD positive.

    Args and errors as for `measure`; a share in [0, 1], higher is better.
    """
    return _aupr(id_scores, ood_scores, ood_positive=True)


def accuracy(id_predicted: ArrayLike, id_labels: ArrayLike) -> float:
    """Share of ID pictures whose predicted class is the true one.

    Args:
        id_predicted: ``(N,)`` class indices, N at least 1.
        id_labels: ``(N,)`` class indices, none negative: -1 stands for OOD in score files.

    Raises:
        ValueError: nothing given, no vectors of one length, or a negative label.
    """
    predicted, labels = np.asarray(id_predicted), np.asarray(id_labels)
    if predicted.ndim != 1 or predicted.shape != labels.shape or not len(labels):
        raise ValueError(f"the accuracy needs two vectors of one length, not {predicted.shape} and {labels.shape}")
    if (labels < 0).any():
        raise ValueError("the accuracy is over ID pictures only; a negative label stands for OOD")
    return float((predicted == labels).mean())


def _aupr(id_scores: ArrayLike, ood_scores: ArrayLike, *, ood_positive: bool) -> float:
    positive, score = _targets(id_scores, ood_scores, ood_positive=ood_positive)
    precision, recall, _ = _metrics().precision_recall_curve(positive, score)
    return float(_metrics().auc(recall, precision))


def _targets(
    id_scores: ArrayLike, ood_scores: ArrayLike, *, ood_positive: bool
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which entries are positive, and scores that are higher for the positive side."""
    ids, oods = _vector(id_scores, "ID"), _vector(ood_scores, "OOD")
    is_id = np.concatenate((np.ones(len(ids), dtype=bool), np.zeros(len(oods), dtype=bool)))
    score = np.concatenate((ids, oods))
    return (~is_id, -score) if ood_positive else (is_id, score)


def _vector(scores: ArrayLike, side: str) -> NDArray[np.float64]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{side} scores must be a vector, not of shape {values.shape}")
    if not len(values):
        raise ValueError(f"there are no {side} scores: both ID and OOD pictures are needed")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} {side} scores are NaN or infinite")
    return values


def require_metrics() -> None:
    """See that metrics can be computed, before anything long is begun.

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    _metrics()


def _metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingDependencyError('metrics need scikit-learn: pip install "ants-engine[eval]"') from error
    return metrics
