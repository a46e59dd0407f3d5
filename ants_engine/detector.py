"""A finished detector: the negative space, the weight, the threshold, and frozen scoring against them.

Everything here is plain data and arithmetic on features; pictures, models and MLLMs are elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ants_engine.class_list import ClassList
from ants_engine.errors import ImageError
from ants_engine.explanation import Explanation, NearText
from ants_engine.features import as_tensor, check_features
from ants_engine.method.grouping import equal_groups, grouped_score
from ants_engine.method.scoring import id_score
from ants_engine.method.weighting import adaptive_score
from ants_engine.negative_bank import NegativeBank
from ants_engine.scores import Scores

ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """The state that scoring needs. Scores: higher = more in-distribution."""

    classes: ClassList
    class_features: Tensor
    """(C, D) float32, L2-normalised: the renormalised mean over each class's prompts."""
    initial: NegativeBank
    """Negatives mined from the lexicon (NegLabel), in the seeded order of their groups."""
    ens: NegativeBank
    vsnl: NegativeBank
    temperature: float
    """Softmax temperature tau."""
    groups: int
    """The initial score is averaged over so many groups of negatives."""
    seed: int
    weight: float
    """Lambda (paper eq. 14)."""
    threshold: float
    clip_identity: Mapping[str, Any]
    """Which CLIP made the features; features of another are refused where that is known."""

    @property
    def dim(self) -> int:
        """Return D, the width of a feature."""
        return int(self.class_features.shape[1])

    def first_look(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest ID class (N,) int64 and the initial score S_nl (N,) of checked features (N, D)."""
        logits = features @ self.class_features.T / self.temperature
        return logits.argmax(dim=1), self._initial_score(features, logits)

    def score_columns(self, features: Tensor) -> dict[str, Tensor]:
        """Return ``predicted`` and the three stage scores, each (N,), for checked features (N, D)."""
        parts = [self._rows(features[start : start + ROWS_AT_ONCE]) for start in range(0, len(features), ROWS_AT_ONCE)]
        if not parts:
            return self._rows(features)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def score(
        self,
        features: Any,
        names: Sequence[str] | None = None,
        failures: Mapping[int, ImageError] | None = None,
    ) -> Scores:
        """Score features against the frozen negative space (paper eq. 8, 12, 13).

        Args:
            features: (N, D) CLIP image features, numpy or torch, any float dtype; normalised here.
            names: what the N pictures are called; their positions when left out.
            failures: row → why that picture has no features; its row of ``features`` is ignored.

        Raises:
            FeatureError: wrong shape or dtype, NaN or infinite values, or an all-zero row.
        """
        failed = dict(failures or {})
        checked = check_features(features, self.dim, ignore=failed)
        columns = self.score_columns(checked)
        columns["id_score"] = adaptive_score(columns["ens_score"], columns["vsnl_score"], self.weight)
        predicted = columns.pop("predicted").numpy()
        floats = {name: column.numpy() for name, column in columns.items()}
        for row in failed:
            predicted[row] = -1
            for column in floats.values():
                column[row] = np.nan
        return Scores(
            predicted=predicted,
            weight=self.weight,
            threshold=self.threshold,
            class_names=self.classes.names,
            names=list(names) if names is not None else [f"#{row}" for row in range(len(checked))],
            failures=failed,
            **floats,
        )

    def explain(self, feature: Any, name: str, top: int) -> Explanation:
        """Say which ID classes and which negative texts are nearest to one feature (D,)."""
        checked = check_features(as_tensor(feature).reshape(1, -1), self.dim)
        score = self.score(checked, [name])[0]
        cosines = checked[0] @ self.class_features.T
        order = torch.argsort(cosines, descending=True, stable=True)[:top].tolist()
        classes = [
            NearText(self.classes.names[i], float(cosines[i]), "class", self.classes.prompts[i][0]) for i in order
        ]
        banks = (self.ens, self.vsnl, self.initial)
        negatives = [text for bank in banks for text in _nearest(bank, checked[0], top)]
        negatives.sort(key=lambda text: -text.cosine)
        return Explanation(
            score=score,
            threshold=self.threshold,
            weight=self.weight,
            classes=tuple(classes),
            negatives=tuple(negatives),
        )

    def _rows(self, features: Tensor) -> dict[str, Tensor]:
        logits = features @ self.class_features.T / self.temperature
        initial = self._initial_score(features, logits)
        return {
            "predicted": logits.argmax(dim=1),
            "neglabel_score": initial,
            "ens_score": self._bank_score(features, logits, self.ens, initial),
            "vsnl_score": self._bank_score(features, logits, self.vsnl, initial),
        }

    def _initial_score(self, features: Tensor, logits: Tensor) -> Tensor:
        negatives = features @ self.initial.features.T / self.temperature
        # the bank is stored in the order of its groups
        return grouped_score(logits, negatives, equal_groups(len(self.initial), self.groups, self.seed).ordered())

    def _bank_score(self, features: Tensor, logits: Tensor, bank: NegativeBank, stand_in: Tensor) -> Tensor:
        # the paper is silent on an empty bank; as in the public code, the initial score stands in
        if not len(bank):
            return stand_in
        return id_score(logits, features @ bank.features.T / self.temperature)


def _nearest(bank: NegativeBank, feature: Tensor, top: int) -> list[NearText]:
    cosines = bank.features @ feature
    order = torch.argsort(cosines, descending=True, stable=True)[:top].tolist()
    return [NearText(bank.texts[i], float(cosines[i]), bank.kind, bank.sources[i]) for i in order]
