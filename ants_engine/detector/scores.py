"""What users get: scores, one entry per picture, and the explanation of one of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ants_engine.common.terminal_text import encodable
from ants_engine.errors import ImageError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    import pandas


class Verdict(StrEnum):
    """What is said of one picture."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    UNREADABLE = "unreadable"
    """It could not be read, so nothing is said of it."""


@dataclass(frozen=True, slots=True)
class Adaptation:
    """Where a stream stood when it scored one batch."""

    batch: int
    """The batch, from 1."""
    pictures: int
    """Pictures delivered so far, this batch and unreadable ones included."""
    gamma: float
    """A later picture with an initial score below it is a candidate."""
    weight: float
    """Lambda that this batch was scored with."""
    threshold: float
    ens_updates: int
    """How often captions have been asked for."""
    captions_asked: int | None
    """Captions that this batch asked for; None when it asked for none, 0 when there was nothing to show."""
    look_alikes_asked: int | None
    """Classes whose look-alikes this batch asked for; None when it was not looked after."""
    ens_texts: int
    vsnl_texts: int
    """Sizes of the banks that this batch was scored with."""
    pending: int
    """Updates that are asked for and not in effect yet."""
    waited: float
    """Seconds that scoring stood still for the MLLM."""


@dataclass(frozen=True, slots=True)
class Score:
    """One picture's scores; the names are those of `Scores`."""

    name: str
    id_score: float
    outlier_score: float
    predicted: int
    predicted_class: str | None
    ens_score: float
    vsnl_score: float
    neglabel_score: float
    is_outlier: bool | None
    """Whether the picture is unknown; None where it could not be read."""
    verdict: Verdict
    votes: Mapping[str, float] = field(default_factory=dict)
    """In a pool: the log-odds by each witness, see `Scores.votes`."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of N pictures, in input order. All ``*_score`` are float32 (N,) in [0, 1].

    A picture that could not be read keeps its row and is neither known nor unknown: its scores are NaN, ``predicted``
    is −1, ``verdict`` is ``unreadable``, and ``is_outlier`` is False, so that ``is_outlier.sum()`` counts the unknown
    ones. `failures` says why.
    """

    id_score: NDArray[np.float32]
    """The paper's S (eq. 13): higher = more in-distribution."""
    predicted: NDArray[np.int64]
    """Index of the nearest ID class."""
    ens_score: NDArray[np.float32]
    """S against the expressive negative sentences (eq. 8): far-OOD is low. ``neglabel_score`` when there are none."""
    vsnl_score: NDArray[np.float32]
    """S against the look-alikes (eq. 12): near-OOD is low. ``neglabel_score`` when there are none."""
    neglabel_score: NDArray[np.float32]
    """S against the lexicon's negatives, averaged over groups (NegLabel)."""
    weight: float
    """Lambda, the share of ``ens_score`` in ``id_score`` (eq. 14)."""
    threshold: float
    """Below this ``id_score`` a picture is unknown."""
    class_names: tuple[str, ...] = ()
    names: Sequence[str] = ()
    """What each picture is called: its path, or its position."""
    failures: dict[int, ImageError] = field(default_factory=dict)
    """Row → why this picture has no score."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """How many files of folders are no pictures and were left out, by their ending."""
    adaptation: Adaptation | None = None
    """In a stream: where it stood when it scored this batch. None for frozen scoring."""
    votes: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """In a pool: the log-odds (N,) by each witness that has a vote: ``neglabel`` (the lexicon), ``ens`` (sentences),
    ``vsnl`` (look-alikes), whose mean counts, and ``pictures`` (verified ones), which is added. Above 0 speaks for
    known, below for unknown; ``id_score`` is the sigmoid of the sum. Empty otherwise."""
    calibration: NDArray[np.float32] | None = None
    """The scores (n,) of the pictures that the detector was calibrated with; None where it was not."""

    @property
    def outlier_score(self) -> NDArray[np.float32]:
        """1 − ``id_score``: higher = more out-of-distribution."""
        return np.float32(1) - self.id_score

    @property
    def p_value(self) -> NDArray[np.float64]:
        """How usual each score is among known pictures: (1 + #{calibration scores <= s}) / (n + 1), in (0, 1].

        Of fresh known pictures at most the share alpha has a p-value of alpha or less (conformal prediction). NaN
        without a calibration, and where a picture could not be read.
        """
        # torch takes seconds to import
        import torch

        from ants_engine.method.conformal import conformal_p_values

        given = np.empty(0, dtype=np.float32) if self.calibration is None else self.calibration
        return conformal_p_values(torch.from_numpy(self.id_score), torch.from_numpy(given))

    def unknown(self, *, fdr: float) -> NDArray[np.bool_]:
        """Return which pictures to call unknown so that, in expectation, at most the share ``fdr`` of them is known.

        Benjamini and Hochberg's procedure on the p-values, over all pictures together. With n calibration pictures no
        p-value is below 1 / (n + 1): few unknown pictures among many known ones take many of them to be found.

        Args:
            fdr: the false discovery rate, in (0, 1).

        Raises:
            UsageError: the detector was not calibrated, or ``fdr`` does not fit.
        """
        from ants_engine.method.conformal import benjamini_hochberg

        if self.calibration is None:
            raise UsageError("there are no p-values: calibrate the detector first, with pictures known to be ID")
        try:
            return benjamini_hochberg(self.p_value, fdr)
        except ValueError as error:
            raise UsageError(str(error)) from None

    @property
    def predicted_class(self) -> list[str | None]:
        """Name of the nearest ID class per picture."""
        return [self.class_names[index] if index >= 0 else None for index in self.predicted]

    @property
    def is_outlier(self) -> NDArray[np.bool_]:
        """Whether a picture is unknown: its ``id_score`` is below the threshold. False where it could not be read."""
        return self.id_score < self.threshold

    @property
    def is_unreadable(self) -> NDArray[np.bool_]:
        """Whether a picture could not be read: it has no score."""
        return np.isnan(self.id_score)

    @property
    def verdict(self) -> list[Verdict]:
        """``known``, ``unknown`` or ``unreadable``, per picture."""
        return [
            Verdict.UNREADABLE if unreadable else Verdict.UNKNOWN if unknown else Verdict.KNOWN
            for unknown, unreadable in zip(self.is_outlier.tolist(), self.is_unreadable.tolist(), strict=True)
        ]

    def __len__(self) -> int:
        """Return N."""
        return len(self.id_score)

    @overload
    def __getitem__(self, index: int) -> Score: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> "Scores": ...
    def __getitem__(self, index: int | slice | Sequence[int] | NDArray[Any]) -> "Score | Scores":
        """Return one picture's `Score`, or `Scores` of a selection (slice, positions, boolean mask)."""
        if isinstance(index, (int, np.integer)):
            return self._row(range(len(self))[index])
        rows = np.arange(len(self))[index]
        return Scores(
            id_score=self.id_score[rows],
            predicted=self.predicted[rows],
            ens_score=self.ens_score[rows],
            vsnl_score=self.vsnl_score[rows],
            neglabel_score=self.neglabel_score[rows],
            weight=self.weight,
            threshold=self.threshold,
            class_names=self.class_names,
            names=[self.names[row] for row in rows],
            adaptation=self.adaptation,
            votes={name: column[rows] for name, column in self.votes.items()},
            calibration=self.calibration,
            failures={new: self.failures[row] for new, row in enumerate(rows.tolist()) if row in self.failures},
        )

    def __iter__(self) -> Iterator[Score]:
        """Yield one `Score` per picture."""
        return (self._row(row) for row in range(len(self)))

    def _row(self, row: int) -> Score:
        id_score = self.id_score[row]
        predicted = int(self.predicted[row])
        unreadable, unknown = bool(np.isnan(id_score)), bool(id_score < self.threshold)
        return Score(
            name=self.names[row],
            id_score=float(id_score),
            outlier_score=float(np.float32(1) - id_score),
            predicted=predicted,
            predicted_class=self.class_names[predicted] if predicted >= 0 else None,
            ens_score=float(self.ens_score[row]),
            vsnl_score=float(self.vsnl_score[row]),
            neglabel_score=float(self.neglabel_score[row]),
            votes={name: float(column[row]) for name, column in self.votes.items()},
            is_outlier=None if unreadable else unknown,
            verdict=Verdict.UNREADABLE if unreadable else Verdict.UNKNOWN if unknown else Verdict.KNOWN,
        )

    def columns(self) -> dict[str, list[Any]]:
        """Return one plain list per column; what does not exist for an unreadable picture is None."""
        columns: dict[str, list[Any]] = {"name": list(self.names), "predicted": self.predicted.tolist()}
        columns["predicted_class"] = list(self.predicted_class)
        named = ("id_score", "outlier_score", "ens_score", "vsnl_score", "neglabel_score")
        shown = {name: getattr(self, name) for name in named}
        shown |= {f"{name}_vote": votes for name, votes in self.votes.items()}
        if self.calibration is not None:
            shown["p_value"] = self.p_value
        for name, values in shown.items():
            columns[name] = [None if math.isnan(value) else value for value in values.tolist()]
        verdicts = self.verdict
        columns["is_outlier"] = [
            None if verdict is Verdict.UNREADABLE else verdict is Verdict.UNKNOWN for verdict in verdicts
        ]
        columns["verdict"] = [verdict.value for verdict in verdicts]
        columns["error"] = [str(self.failures[row]) if row in self.failures else None for row in range(len(self))]
        return columns

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values: a list per column, ``weight``, ``threshold``, and what else there is.

        That is ``adaptation`` in a stream, and ``left_out`` where files of folders were.
        """
        more: dict[str, Any] = {} if self.adaptation is None else {"adaptation": asdict(self.adaptation)}
        if self.left_out:
            more["left_out"] = dict(self.left_out)
        return {**self.columns(), "weight": self.weight, "threshold": self.threshold, **more}

    def to_pandas(self) -> "pandas.DataFrame":
        """Return one row per picture; ``weight`` and ``threshold`` are in ``attrs``.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingDependencyError('to_pandas needs pandas: pip install "ants-engine[pandas]"') from None
        frame = pandas.DataFrame(self.columns())
        frame.attrs.update(weight=self.weight, threshold=self.threshold)
        return frame


KINDS = {
    "ens": "what the MLLM said of",
    "vsnl": "looks like",
    "neglabel": "from the lexicon",
}
WITNESSES = {"neglabel": "lexicon", "ens": "sentences", "vsnl": "look-alikes", "pictures": "verified pictures"}


@dataclass(frozen=True, slots=True)
class NearText:
    """One text near the picture."""

    text: str
    cosine: float
    """Cosine of the text's and the picture's CLIP features."""
    kind: str
    """``class``, ``ens`` (a sentence), ``vsnl`` (a look-alike) or ``neglabel`` (a word of the lexicon)."""
    source: str
    """The class's prompt, the picture that was described, the class that it looks like, or the lexicon."""

    def origin(self) -> str:
        """Say in words where the text came from."""
        return f"{KINDS[self.kind]} {self.source}" if self.kind in KINDS else self.source


@dataclass(frozen=True, slots=True)
class Explanation:
    """One picture's score with the nearest ID classes and negative texts, nearest first."""

    score: Score
    threshold: float
    weight: float
    classes: tuple[NearText, ...]
    negatives: tuple[NearText, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values."""
        return asdict(self)

    def __str__(self) -> str:
        """Return a few lines for people."""
        score = self.score
        verdict = str(score.predicted_class if score.verdict is Verdict.KNOWN else score.verdict)
        relation = "<" if score.is_outlier else ">="
        lines = [f"{score.name}: {verdict}  (id_score {score.id_score:.3f} {relation} threshold {self.threshold:.3f})"]
        if score.votes:
            voices = ", ".join(f"{WITNESSES[name]} {vote:+.1f}" for name, vote in score.votes.items())
            lines.append(f"  log-odds of being known: {voices}")
        lines += [f"  {near.cosine:.3f}  ID class    {near.text}" for near in self.classes]
        lines += [f"  {near.cosine:.3f}  {near.kind:<10}  {near.text}  [{near.origin()}]" for near in self.negatives]
        return encodable("\n".join(lines))
