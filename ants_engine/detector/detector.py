"""A finished detector: the negative space, the weight, the threshold, and frozen scoring against them.

Everything here is plain data and arithmetic on features; pictures, models and MLLMs are elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.common.features import as_tensor, check_features
from ants_engine.common.row_blocks import Columns, RowBlocks, SideBySide, Work
from ants_engine.detector.class_list import ClassList
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.detector.scores import Explanation, NearText, Scores
from ants_engine.errors import ImageError
from ants_engine.method.conformal import conformal_threshold
from ants_engine.method.masses import Cut, IdMass, bank_masses, cut_scores, products
from ants_engine.method.neglabel import Groups, equal_sizes, public_groups
from ants_engine.method.pool import Votes, bank_vote, grouped_vote, log_masses
from ants_engine.method.scoring import adaptive_score, cumulative_score, union_score
from ants_engine.method.verified import VerifiedPictures, with_pictures

ROWS_AT_ONCE = 1024
SCORING = RowBlocks(32, (128,), SideBySide("torch-score-core"))
"""Shapes of the products of scoring. Blocks of 32 rows leave no rest behind the vectors of an elementwise function,
which computes a rest in another way; the larger ones take three quarters of the time a row."""
VOTES = ("neglabel_vote", "ens_vote", "vsnl_vote", "pictures_vote")
"""Columns of the witnesses' log-odds in a pool; one whose bank is empty is not there."""
SECOND_GROUPS = 64
"""Up to so many groups of a second cut are counted into from the first one's exponentials."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBatch:
    """What is known of N pictures before the negative space is asked."""

    features: Tensor
    """(N, D) float32, L2-normalised."""
    id_logits: Tensor
    """(N, C): cosines to the ID classes divided by the temperature."""
    predicted: Tensor
    """(N,) int64, the nearest ID class."""
    initial: Tensor
    """(N,) float32 S_nl, higher = more ID."""
    id_mass: IdMass
    """The ID classes' part of every score."""
    lexicon_vote: Tensor | None = None
    """(N,) z_L, the log-odds of ``initial``; only where the detector pools votes."""


@dataclass(frozen=True, slots=True, eq=False)
class ActivationRanking:
    """Which sentences an activation-aware score uses, best first, as the stream last ranked them."""

    rows: Tensor
    """(K,) int64, rows of the ENS bank."""
    step: int
    """Sentences added at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Pictures known to be ID, which a threshold was found with. Their features are kept: scores follow the banks."""

    features: Tensor
    """(n, D) float32, L2-normalised."""
    false_alarms: float
    """Share of fresh ID pictures that may be called unknown."""
    scores: Tensor
    """(n,) float32 ``id_score`` under the detector that holds this."""


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """The state that scoring needs. Scores: higher = more in-distribution.

    Every score of a picture has the same bits alone, in any batch, and under any number of torch's threads.
    """

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
    group_length: int | None = None
    """A longer bank is scored in the public code's groups of about this length; None: in one softmax."""
    grouping: Literal["equal", "reference"] = "equal"
    """How the initial bank is cut: into ``groups`` groups, or as the public code cuts it, by ``group_length``."""
    permute: bool = True
    """Groups of ``group_length`` are cut from a seeded random order."""
    fusion: Literal["adaptive", "union", "pool"] = "adaptive"
    """What ``id_score`` is: both banks' scores weighed (eq. 13), one score against both banks together, or the pool of
    the log-odds of every bank and of the verified pictures."""
    activation: ActivationRanking | None = None
    """Where a stream has ranked the sentences by activation: ``ens_score`` is then the public code's."""
    verified: VerifiedPictures | None = None
    """Pictures that the MLLM was asked about; in the pool they have a vote."""
    purity: float = 0.0
    """Rho, the weight of that vote."""
    calibration: Calibration | None = None
    """What `calibrate` was given; without it there are no p-values."""

    @property
    def dim(self) -> int:
        """Return D, the width of a feature."""
        return int(self.class_features.shape[1])

    @property
    def union(self) -> bool:
        """Whether ``id_score`` is against both banks together."""
        return self.fusion == "union"

    def look(self, features: Tensor) -> EncodedBatch:
        """Take a first look at checked features (N, D)."""
        cut, pooled = self._initial_cut(), self.fusion == "pool"

        def work(columns: Columns) -> Columns:
            logits, predicted, top, mass = self._id_columns(columns)
            scored = self._score_and_vote if pooled else cut_scores
            initial, vote = scored(columns[0] / self.temperature, cut, IdMass(top, mass))
            return [logits, predicted, top, mass, initial, vote]

        logits, predicted, top, mass, initial, vote = self._in_blocks(work, [features], cut)
        return EncodedBatch(features, logits, predicted, initial, IdMass(top, mass), vote if pooled else None)

    def relook(self, features: Tensor, initial: Tensor, lexicon_vote: Tensor | None = None) -> EncodedBatch:
        """Look again at features (N, D) whose initial scores and votes (N,) are known; the lexicon is not asked."""
        logits, predicted, top, mass = self._in_blocks(self._id_columns, [features])
        return EncodedBatch(features, logits, predicted, initial, IdMass(top, mass), lexicon_vote)

    def initial_groups(self) -> Groups:
        """Return how the initial bank is cut, for logits in the bank's own order."""
        count = len(self.initial)
        if self.grouping == "equal":
            # the bank is stored in the order of its groups
            return Groups(order=None, sizes=equal_sizes(count, self.groups))
        return public_groups(count, self.group_length or max(1, count), permute=self.permute, seed=self.seed)

    def groups_of(self, bank: NegativeBank) -> Groups:
        """Return how one of its banks, not empty, is cut when it is scored against."""
        if bank is self.initial:
            return self.initial_groups()
        return public_groups(len(bank), self.group_length or len(bank), permute=self.permute, seed=self.seed)

    def bank_logits(self, look: EncodedBatch, bank: NegativeBank) -> Tensor:
        """Return (N, M): cosines to a bank's texts divided by the temperature."""
        return self._logits(look.features, bank.features)

    def bank_score(self, look: EncodedBatch, bank: NegativeBank) -> Tensor:
        """Return the score (N,) against a bank of at least one text, in groups if there are too many."""
        return self._scores(look, self._cut(bank))[0]

    def bank_scores(self, look: EncodedBatch, bank: NegativeBank, length: int, repeats: int) -> tuple[Tensor, Tensor]:
        """Return `bank_score`, and the score (N,) against the bank cut otherwise, out of the same exponentials.

        Args:
            look: N pictures.
            bank: at least one text.
            length: about how long the groups of the other cut are.
            repeats: how often the bank is repeated before that.
        """
        if len(bank) * repeats <= SECOND_GROUPS * length or repeats > 1:
            return self._scores(look, self._cut(bank, length, repeats))
        # counting into very many groups would cost more than a second product
        other = bank.cut(length, permute=self.permute, seed=self.seed)
        return self.bank_score(look, bank), self._scores(look, other)[0]

    def score_columns(self, features: Tensor) -> dict[str, Tensor]:
        """Return ``predicted``, the three stage scores and, in a pool, the votes, each (N,).

        Args:
            features: (N, D), checked.
        """
        pieces = [features[start : start + ROWS_AT_ONCE] for start in range(0, len(features), ROWS_AT_ONCE)]
        parts = [self.columns(self.look(piece)) for piece in pieces or [features]]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def columns(self, look: EncodedBatch) -> dict[str, Tensor]:
        """Return what `score_columns` gives of pictures that have been looked at."""
        columns = {"predicted": look.predicted, "neglabel_score": look.initial}
        if self.fusion != "pool":
            return {**columns, "ens_score": self.ens_score(look), "vsnl_score": self.vsnl_score(look)}
        if look.lexicon_vote is not None and len(self.initial):
            columns["neglabel_vote"] = look.lexicon_vote
        for bank in (self.ens, self.vsnl):
            columns[f"{bank.kind}_score"] = look.initial
            if len(bank):
                columns[f"{bank.kind}_score"], columns[f"{bank.kind}_vote"] = self._scored(look, bank)
        return columns | self.pictures_vote(look)

    def pictures_vote(self, look: EncodedBatch) -> dict[str, Tensor]:
        """Return the column of the verified pictures' vote (N,), weighted by their purity, where they have one."""
        if self.verified is None or not self.verified.votes or self.purity <= 0.0:
            return {}
        return {"pictures_vote": self.purity * self._compared(look, self.verified)}

    def id_scores(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return ``id_score`` (N,) of the columns that `columns` gives."""
        if self.fusion == "pool":
            return self._pooled(columns)
        return self.fuse(columns["ens_score"], columns["vsnl_score"])

    def _pooled(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Return ``id_score`` (N,) of a pool: the sigmoid of the log-odds, which are 0 where no bank has a vote."""
        names = [name for name in VOTES if name in columns]
        if not names:
            return torch.sigmoid(torch.zeros_like(columns["neglabel_score"]))

        def work(votes: Columns) -> Columns:
            given = dict(zip(names, votes, strict=True))
            texts = Votes(*map(given.get, VOTES[:3]))
            odds = texts.log_odds() if texts.given() else torch.zeros_like(votes[0])
            odds = with_pictures(odds, given[VOTES[3]], 1.0) if VOTES[3] in given else odds
            return [torch.sigmoid(odds)]

        def probe(rows: int) -> Columns:
            noise = torch.Generator().manual_seed(0)
            return [10.0 * torch.randn(rows, generator=noise) for _ in names]

        # in blocks: an elementwise function may compute the last few rows of a batch in another way
        return SCORING.run(work, [columns[name] for name in names], ("pool", *names), probe)[0]

    def fuse(self, ens_score: Tensor, vsnl_score: Tensor) -> Tensor:
        """Return ``id_score`` (N,) of the two banks' scores, each (N,), where nothing is pooled."""
        if not self.union:
            return adaptive_score(ens_score, vsnl_score, self.weight)
        if not len(self.ens) or not len(self.vsnl):
            # an empty bank has no mass; with both empty, either is the initial score
            return ens_score if len(self.ens) else vsnl_score
        return union_score(ens_score, vsnl_score)

    def union_scores(self, scores: Scores) -> NDArray[np.float32]:
        """Return the scores (N,) against both banks in one softmax, higher is more ID."""
        both = replace(self, fusion="union").fuse(
            torch.from_numpy(scores.ens_score), torch.from_numpy(scores.vsnl_score)
        )
        return np.asarray(both.numpy(), dtype=np.float32)

    def ens_score(self, look: EncodedBatch) -> Tensor:
        """Return S_ens (N,); the initial score where there is no sentence, as in the public code."""
        if not len(self.ens):
            return look.initial
        if self.activation is not None:
            ranked, step = self.ens.features[self.activation.rows], self.activation.step

            def work(columns: Columns) -> Columns:
                features, id_logits = columns
                return [cumulative_score(id_logits, products(features, ranked) / self.temperature, step)]

            return self._in_blocks(work, [look.features, look.id_logits], ranked)[0]
        return self.bank_score(look, self.ens)

    def vsnl_score(self, look: EncodedBatch) -> Tensor:
        """Return S_vsnl (N,); the initial score where there is no look-alike."""
        if not len(self.vsnl):
            return look.initial
        return self.bank_score(look, self.vsnl)

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
        given = list(names) if names is not None else [f"#{row}" for row in range(len(checked))]
        return self.scores_of(columns, given, failed)

    def scores_of(self, columns: Mapping[str, Tensor], names: Sequence[str], failed: dict[int, ImageError]) -> Scores:
        """Put the columns of `score_columns` into `Scores`; rows in ``failed`` become NaN, whatever they hold."""
        table: dict[str, Any] = {name: column.numpy().copy() for name, column in columns.items()}
        table["id_score"] = self.id_scores(columns).numpy().copy()
        predicted = table.pop("predicted")
        for row in failed:
            predicted[row] = -1
            for column in table.values():
                column[row] = np.nan
        votes = {name.removesuffix("_vote"): table.pop(name) for name in list(table) if name.endswith("_vote")}
        return Scores(
            predicted=predicted,
            weight=self.weight,
            threshold=self.threshold,
            class_names=self.classes.names,
            names=names,
            failures=failed,
            votes=votes,
            calibration=None if self.calibration is None else self.calibration.scores.numpy(),
            **table,
        )

    def calibrated(self, features: Tensor, false_alarms: float) -> "Detector":
        """Return this detector with its threshold where at most so many ID pictures are called unknown.

        Split conformal prediction: among fresh ID pictures the expected share below the threshold is at most
        ``false_alarms``, whatever the distribution of their scores (`ants_engine.method.conformal`).

        Args:
            features: (n, D) of pictures known to be ID and not learned from, checked.
            false_alarms: in (0, 1).

        Raises:
            ValueError: ``false_alarms`` is outside (0, 1), or too few pictures for it; names the number needed.
        """
        scores = self.id_scores(self.score_columns(features))
        found = conformal_threshold(scores, false_alarms)
        return replace(self, threshold=found.threshold, calibration=Calibration(features, false_alarms, scores))

    def recalibrated(self) -> "Detector":
        """Return this detector with its calibration pictures scored against the banks as they are now."""
        if self.calibration is None:
            return self
        return self.calibrated(self.calibration.features, self.calibration.false_alarms)

    def explain(self, feature: Any, name: str, top: int) -> Explanation:
        """Say which ID classes and which negative texts are nearest to one feature (D,)."""
        checked = check_features(as_tensor(feature).reshape(1, -1), self.dim)
        score = self.score(checked, [name])[0]
        cosines = self._logits(checked, self.class_features)[0] * self.temperature
        order = torch.argsort(cosines, descending=True, stable=True)[:top].tolist()
        classes = [
            NearText(self.classes.names[i], float(cosines[i]), "class", self.classes.prompts[i][0]) for i in order
        ]
        banks = (self.ens, self.vsnl, self.initial)
        negatives = [
            text
            for bank in banks
            for text in _nearest(bank, self._logits(checked, bank.features)[0] * self.temperature, top)
        ]
        negatives.sort(key=lambda text: -text.cosine)
        return Explanation(
            score=score,
            threshold=self.threshold,
            weight=self.weight,
            classes=tuple(classes),
            negatives=tuple(negatives),
        )

    def _scored(self, look: EncodedBatch, bank: NegativeBank) -> tuple[Tensor, Tensor]:
        """Return the score (N,) against sentences or look-alikes, and their vote (N,), out of the same products."""
        return self._scores(look, self._cut(bank), partial(self._score_and_vote, sized=True))

    def _score_and_vote(
        self, scaled: Tensor, cut: Cut, id_mass: IdMass, *, sized: bool = False
    ) -> tuple[Tensor, Tensor]:
        masses, _ = bank_masses(scaled, cut, id_mass.top)
        if not cut.sizes:
            return id_mass.score(masses), torch.zeros_like(id_mass.mass[:, 0])
        logs = log_masses(scaled, cut, id_mass.top, masses)
        vote = bank_vote(id_mass, logs, cut.sizes) if sized else grouped_vote(id_mass, logs)
        return id_mass.score(masses), vote

    def _compared(self, look: EncodedBatch, verified: VerifiedPictures) -> Tensor:
        """Return z_P (N,), the vote of the verified pictures."""
        return self._in_blocks(
            lambda columns: [verified.vote(columns[0])],
            [look.features],
            torch.cat([verified.confirmed, verified.others]),
        )[0]

    def _id_columns(self, columns: Columns) -> Columns:
        """Return what the ID classes say of n features: logits, nearest class, and the parts of an `IdMass`."""
        logits = products(columns[0], self.class_features).div_(self.temperature)
        id_mass = IdMass.of(logits)
        return [logits, logits.argmax(dim=1), id_mass.top, id_mass.mass]

    def _logits(self, features: Tensor, texts: Tensor) -> Tensor:
        """Return (N, M): cosines divided by the temperature."""
        return self._in_blocks(lambda columns: [products(columns[0], texts) / self.temperature], [features], texts)[0]

    def _initial_cut(self) -> Cut:
        if self.grouping == "equal":
            return Cut(self.initial.features, equal_sizes(len(self.initial), self.groups))
        return self._cut(self.initial)

    def _cut(self, bank: NegativeBank, second_length: int | None = None, repeats: int = 1) -> Cut:
        length = self.group_length or max(1, len(bank))
        return bank.cut(length, permute=self.permute, seed=self.seed, second_length=second_length, repeats=repeats)

    def _scores(
        self, look: EncodedBatch, cut: Cut, scored: Callable[..., tuple[Tensor, Tensor]] = cut_scores
    ) -> tuple[Tensor, Tensor]:
        def work(columns: Columns) -> Columns:
            features, top, mass = columns
            return scored(features / self.temperature, cut, IdMass(top, mass))

        first, second = self._in_blocks(work, [look.features, look.id_mass.top, look.id_mass.mass], cut)
        return first, second

    def _in_blocks(self, work: Work, columns: Columns, against: Cut | Tensor | None = None) -> list[Tensor]:
        """Compute columns of N rows in blocks; the first column is their features.

        Args:
            work: on n rows.
            columns: features, and what `_id_columns` gives of them.
            against: what they are compared with beside the ID classes.
        """

        def probe(rows: int) -> Columns:
            noise = torch.randn(rows, self.dim, generator=torch.Generator().manual_seed(0))
            features = torch.nn.functional.normalize(noise, dim=1)
            logits, _, top, mass = self._id_columns([features])
            return [features, *([logits] if len(columns) == 2 else [top, mass])][: len(columns)]

        key: tuple[object, ...] = (len(self.class_features), self.fusion == "pool")
        if isinstance(against, Cut):
            key += (len(against.features), against.sizes, None if against.counts is None else against.counts.shape[1])
        elif against is not None:
            key += (len(against),)
        return SCORING.run(work, columns, key, probe)


def _nearest(bank: NegativeBank, cosines: Tensor, top: int) -> list[NearText]:
    order = torch.argsort(cosines, descending=True, stable=True)[:top].tolist()
    return [NearText(bank.texts[i], float(cosines[i]), bank.kind, bank.sources[i]) for i in order]
