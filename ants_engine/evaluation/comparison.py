"""ANTS compared with its baselines on the same features, per OOD set; for the demo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ants_engine.common.features import check_features
from ants_engine.datasets.world import ID_SET
from ants_engine.detector.detector import Detector
from ants_engine.detector.scores import Scores
from ants_engine.method.metrics import Metrics, measure
from ants_engine.method.scoring import id_score, mcm_score

METHODS = {
    "MCM": "highest ID softmax",
    "NegLabel": "S_nl, lexicon negatives in groups",
    "NegLabel, one group": "the same in one softmax",
    "ANTS S_ens": "sentences",
    "ANTS S_vsnl": "look-alikes",
    "ANTS S_ada": "lambda between both",
    "ANTS S_union": "both in one softmax",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Metrics by method and OOD set."""

    metrics: Mapping[str, Mapping[str, Metrics]]

    @classmethod
    def joined(cls, parts: "Sequence[Comparison]") -> "Comparison":
        """Put comparisons on different OOD sets side by side."""
        methods = parts[0].metrics
        return cls({method: {k: v for part in parts for k, v in part.metrics[method].items()} for method in methods})

    def to_dict(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Return percentages: method → OOD set → column."""
        return {method: {name: one.percent() for name, one in row.items()} for method, row in self.metrics.items()}


def compare(
    detector: Detector, features: NDArray[np.float32], scores: Scores, sets: Sequence[str], labels: Sequence[int]
) -> Comparison:
    """Measure every method on the same pictures.

    Args:
        detector: the ID classes and temperature for MCM.
        features: (N, D) of the pictures that ``scores`` is of.
        scores: of N pictures.
        sets: per picture, ``id`` or the OOD set's name.
        labels: per picture, the ID class index; anything for OOD.
    """
    checked = check_features(features, detector.dim)
    logits = checked @ detector.class_features.T / detector.temperature
    initial = checked @ detector.initial.features.T / detector.temperature
    columns = {
        "MCM": mcm_score(logits).numpy(),
        "NegLabel": scores.neglabel_score,
        "NegLabel, one group": id_score(logits, initial).numpy(),
        "ANTS S_ens": scores.ens_score,
        "ANTS S_vsnl": scores.vsnl_score,
        "ANTS S_ada": scores.id_score,
        "ANTS S_union": detector.union_scores(scores),
    }
    own = np.asarray(sets)
    is_id = own == ID_SET
    true = np.asarray(labels)
    return Comparison(
        {
            method: {
                name: measure(
                    column[is_id], column[own == name], id_predicted=scores.predicted[is_id], id_labels=true[is_id]
                )
                for name in sorted(set(sets) - {ID_SET})
            }
            for method, column in columns.items()
        }
    )
