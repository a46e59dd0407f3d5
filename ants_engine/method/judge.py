"""Threshold from a judge: an MLLM says of about a hundred pictures whether they show the class that CLIP names.

The pictures are a random sample, spread over the whole range of scores, so their answers say where ID ends at any
prevalence, without a label. The judge errs: it says yes to the share ``a`` of ID pictures (true yes) and to the share
``b`` of OOD pictures (false yes), as in learning from corrupted labels (Menon et al. 2015). Of ID pictures that score
low it may confirm fewer, down to a(1 − g) of the lowest, since what is hard for CLIP is hard for an MLLM, too. So

    P(yes | u) = known(u) · a (1 − g (1 − q(u))²) + (1 − known(u)) · b,    known(u) = sigmoid((u − c) / s),

u being the logit of a picture's rank in the history, so nothing depends on the scale of the scores, and q(u) the share
of the ID pictures below it. The posterior of (a, b, c, g, s) is summed over a fixed grid; it is deterministic, and
gives every estimate its standard error.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.threshold import sorted_scores, thinned

STRATA = 10
LEAST_ANSWERS = 10
"""Fewer usable answers say nothing."""
FEW_PICTURES = 100
"""A threshold out of fewer pictures is given, with a word of caution."""
CHOSEN_WEIGHT = 0.5
"""Weight of an answer about a mined picture, which was chosen because it seems OOD and not at random."""
NEAR = 0.08
"""A second round is asked about so much of the history to either side of the threshold, or as much as it takes."""
MOST_LEVELS = 4096
"""A longer history is thinned to this number of quantiles."""

# the prior: Beta(mean, strength) of both yes-rates; ranks of c are uniform, and no OOD at all has a mass of its own
TRUE_YES = (0.85, 8.0)
FALSE_YES_STRENGTH = 15.0
TRUE_YES_GRID = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99])
FALSE_YES_GRID = np.array([0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4])
HARD = ((0.0, 0.5), (0.2, 0.25), (0.4, 0.25))
"""g and its prior."""
SLOPES = np.array([0.05, 0.1, 0.2, 0.4])
RANKS = 41
BELOW_ALL = np.array([0.6, 1.8, 3.6])
"""How far below the lowest picture c lies where every picture is ID."""
ALL_ID, ALL_OOD = 0.15, 0.02
"""Prior probability of c below all pictures, and of no ID picture at all."""
TOP = 0.95
"""The middle of the tenth with the highest scores."""
BIN = 0.1
"""Answers this close on the scale of u are counted together."""

Floats = NDArray[np.float64]


class Worth(StrEnum):
    """What a judged threshold is worth."""

    SOUND = "sound"
    FEW_PICTURES = "few_pictures"
    """A threshold from less than a hundred pictures."""
    ONE_SCORE = "one_score"
    """All scores are equal: nothing is called unknown."""
    NOTHING_KNOWN = "nothing_known"
    """The judge took hardly any picture for ID: everything is called unknown."""
    WEAK_JUDGE = "weak_judge"
    """Not surely (by one standard error) does it say yes to half of the pictures with the highest scores."""
    NEVER_YES = "never_yes"
    """The judge said yes to no picture: no threshold, since a model that only ever describes looks the same."""
    FEW_ANSWERS = "few_answers"
    """Less than ten usable answers about the random sample: no threshold."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share in [0, 1] and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        """Return it in percent."""
        return f"{100 * self.value:.1f} ± {100 * self.error:.1f} %"


@dataclass(frozen=True, slots=True)
class Stratum:
    """A tenth of the history, by score."""

    answers: int
    """Usable answers about pictures of this stratum."""
    yes: int
    known: float | None
    """Estimated share of ID pictures in it; None where ties leave it empty."""


@dataclass(frozen=True, slots=True)
class JudgedThreshold:
    """The threshold, what it is estimated to do on the history, and what it is worth."""

    threshold: float | None
    """On the scale of the scores; a picture below it is unknown. None: use `empirical_null` instead."""
    worth: Worth
    pictures: int
    questions: int
    answered: int
    """How many of the questions have a usable answer."""
    prevalence: Estimate | None = None
    """Share of OOD pictures in the history."""
    false_alarms: Estimate | None = None
    """Share of the ID pictures below the threshold."""
    misses: Estimate | None = None
    """Share of the OOD pictures that are not below it; None where less than one picture is estimated to be OOD."""
    true_yes: Estimate | None = None
    """a: how often the judge says yes to an ID picture that scores high."""
    false_yes: Estimate | None = None
    """b: how often it says yes to an OOD picture."""
    top_yes: Estimate | None = None
    """How often it says yes to the tenth with the highest scores."""
    strata: tuple[Stratum, ...] = ()
    """Lowest scores first."""

    @property
    def line(self) -> str:
        """What the verdicts are worth and what to do about it, in one line."""
        answers = f"{self.answered} of {self.questions} questions answered"
        remedy = "calibrate with pictures known to be ID (ants calibrate)"
        missed = "" if self.misses is None else f", {self.misses} of the unknown missed"
        said = f"{self.false_alarms} of the known pictures called unknown{missed}; {self.prevalence} are unknown"
        return {
            Worth.SOUND: f"{said} ({answers})",
            Worth.FEW_PICTURES: (
                f"from only {self.pictures} pictures: {said} ({answers}); use {FEW_PICTURES} or more, or {remedy}"
            ),
            Worth.ONE_SCORE: (
                f"every picture has the same score, so none is called unknown; check the class list, or {remedy}"
            ),
            Worth.NOTHING_KNOWN: (
                f"every picture is called unknown: the MLLM confirmed hardly any ({answers}); "
                f"check the class list, or {remedy}"
            ),
            Worth.WEAK_JUDGE: (
                f"no judge: the MLLM says yes to only {self.top_yes} of the pictures that seem best known ({answers}); "
                f"take another MLLM, or {remedy}"
            ),
            Worth.NEVER_YES: (
                f"no judge: the MLLM said yes to none of {self.answered} pictures; either none shows an ID class, or "
                f"it cannot verify; check the class list, take another MLLM, or {remedy}"
            ),
            Worth.FEW_ANSWERS: f"no judge: {answers}, and {LEAST_ANSWERS} are needed; ask again, or {remedy}",
        }[self.worth]

    def to_dict(self) -> dict[str, Any]:
        """Return plain, JSON-able values."""
        return {**asdict(self), "worth": self.worth.value, "strata": [asdict(stratum) for stratum in self.strata]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "JudgedThreshold":
        """Read what `to_dict` returned."""
        estimates = ("prevalence", "false_alarms", "misses", "true_yes", "false_yes", "top_yes")
        read = {name: None if values[name] is None else Estimate(**values[name]) for name in estimates}
        strata = tuple(Stratum(**stratum) for stratum in values["strata"])
        return cls(**{**values, **read, "worth": Worth(values["worth"]), "strata": strata})


def spread_sample(scores: Tensor, ids: Sequence[str], questions: int = 100, seed: int = 0) -> list[int]:
    """Choose the pictures that the judge is asked about: a random sample, spread over the range of the scores.

    Ten strata of equal count by score; of each, the pictures whose sha256 of seed and id comes first. So every run
    chooses the same pictures, in whatever order they came.

    Args:
        scores: ``(N,)`` finite scores, in any unit.
        ids: N names, one per picture.
        questions: how many to choose; at most N are.
        seed: of the sample.

    Returns:
        Positions in ``scores``, lowest score first.

    Raises:
        ValueError: not a vector of finite scores, as many ids, or ``questions`` below 1.
    """
    if questions < 1:
        raise ValueError(f"questions must be at least 1, not {questions}")
    order, digests = _ranked(scores, ids, seed)
    strata = np.array_split(order, min(STRATA, questions))
    quotas = [len(part) for part in np.array_split(np.arange(questions), len(strata))]
    return [at for stratum, quota in zip(strata, quotas, strict=True) for at in _first(stratum, digests, quota)]


def first_of(ids: Sequence[str], count: int, seed: int = 0) -> list[int]:
    """Return the indices, ascending, of the ``count`` ids whose sha256 with the seed comes first."""
    return _first(np.arange(len(ids)), _digests(ids, seed), count)


class Reservoir:
    """Pictures that may become the sample, chosen as they come: the positions whose sha256 with the seed comes first.

    A uniform random sample of all positions offered so far, the same in every run, whatever the size of batches.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        """Prepare an empty one for ``size`` positions."""
        self._size = size
        self._seed = seed
        self._kept: list[tuple[int, int]] = []

    def offer(self, positions: Sequence[int]) -> list[int]:
        """Take positions that were not offered before; return which of them, as indices, are kept for now."""
        digests = _digests([str(position) for position in positions], self._seed).tolist()
        full = len(self._kept) >= self._size
        new = [pair for pair in zip(digests, positions, strict=True) if not full or pair < self._kept[-1]]
        if not new:
            return []
        self._kept = sorted([*self._kept, *new])[: self._size]
        kept = self.positions
        return [index for index, position in enumerate(positions) if position in kept]

    @property
    def positions(self) -> frozenset[int]:
        """Return the positions that are kept."""
        return frozenset(position for _, position in self._kept)


def near_sample(
    scores: Tensor, ids: Sequence[str], threshold: float, asked: Sequence[int], questions: int = 50, seed: int = 0
) -> list[int]:
    """Choose further pictures where the threshold is uncertain: a random sample of those next to it.

    A second round after `spread_sample`. The choice depends on the scores alone, so the answers stay an honest sample
    at every score and need no weights in `judged_threshold`.

    Args:
        scores: ``(N,)`` finite scores.
        ids: N names, one per picture.
        threshold: found with the answers so far.
        asked: positions that are not to be chosen again.
        questions: how many to choose, fewer if there are not as many.
        seed: of the sample.

    Returns:
        Positions in ``scores``, lowest score first.

    Raises:
        ValueError: not a vector of finite scores, or as many ids.
    """
    order, digests = _ranked(scores, ids, seed)
    middle = int((scores.detach().cpu().double() < threshold).sum())
    reach = max(math.ceil(NEAR * len(order)), math.ceil(0.75 * questions))
    window = order[max(0, middle - reach) : middle + reach]
    return _first(window[~np.isin(window, np.array(asked, dtype=np.int64))], digests, questions)


def judged_threshold(
    history: Tensor,
    scores: Tensor,
    answers: Sequence[bool | None],
    *,
    sampled: Sequence[bool] | None = None,
    false_alarms: float = 0.05,
    false_yes: float = 0.1,
) -> JudgedThreshold:
    """Find the threshold below which about the share ``false_alarms`` of the ID pictures of a history lies.

    For each (c, s) of the grid: the lowest score at which the known-weighted share of the history at or below it
    reaches ``false_alarms``. The threshold is the posterior median of those.

    Args:
        history: ``(N,)`` finite scores, N at least 1, higher is more ID. Only their order counts.
        scores: ``(K,)`` scores of the pictures that were asked about, on the same scale. They need not be in
            ``history``.
        answers: K answers: whether the picture shows an ID class, None where the question failed.
        sampled: K times whether the picture is of a random sample (`spread_sample`, `near_sample`; the default), and
            not one that was asked about because it seems OOD. Those count half, and together no more than the sample.
        false_alarms: aim, in (0, 1).
        false_yes: how often such a judge is expected to say yes to an OOD picture, in [0, 0.5]; the prior mean of b.

    Raises:
        ValueError: scores that are no finite vectors, K that differ, or a share outside its range.
    """
    if not 0.0 < false_alarms < 1.0 or not 0.0 <= false_yes <= 0.5:
        raise ValueError(
            f"false_alarms must be in (0, 1) and false_yes in [0, 0.5], not {false_alarms} and {false_yes}"
        )
    if scores.ndim != 1 or not len(scores) == len(answers) == len(answers if sampled is None else sampled):
        raise ValueError(f"{tuple(scores.shape)} scores, {len(answers)} answers: there must be one answer per score")
    ordered: Floats = sorted_scores(history).numpy()
    answered = np.array([answer is not None for answer in answers], dtype=bool)
    asked: Floats = scores.detach().cpu().double().numpy()[answered]
    if not np.isfinite(asked).all():
        raise ValueError("scores must be finite")
    yes = np.array([bool(answer) for answer in answers if answer is not None], dtype=bool)
    random = (np.ones(len(answers), dtype=bool) if sampled is None else np.array(sampled, dtype=bool))[answered]
    nothing = JudgedThreshold(None, Worth.FEW_ANSWERS, len(ordered), len(answers), len(yes))
    if random.sum() < LEAST_ANSWERS:
        return nothing
    weight = np.where(random, 1.0, min(CHOSEN_WEIGHT, random.sum() / max(1, (~random).sum())))
    if ordered[0] == ordered[-1]:
        return replace(nothing, threshold=float(ordered[0]), worth=Worth.ONE_SCORE)
    levels, numbers = np.unique(thinned(ordered, MOST_LEVELS), return_counts=True)
    counts = numbers * (len(ordered) / numbers.sum())
    places = _logit((np.cumsum(counts) - 0.5 * counts) / len(ordered))
    posterior = _posterior(_places(ordered, asked), yes, weight, len(ordered), false_yes)
    known = posterior.known(places)
    mass = known * counts
    totals = mass.sum(axis=1)
    reached = np.cumsum(mass, axis=1) >= false_alarms * totals[:, None] * (1 - 1e-12)
    # where less than one picture is ID, no score is high enough
    cut = _weighted_median(np.where(totals < 1.0, len(levels), reached.argmax(axis=1)), posterior.weights)
    below = np.arange(len(levels)) < cut
    prevalence = _share(np.ones(len(levels)), 1 - known, counts, posterior.weights, of=float(len(ordered)))
    missed = _share(~below, 1 - known, counts, posterior.weights)
    found = replace(
        nothing,
        threshold=float(levels[cut]) if cut < len(levels) else _just_above(levels[-1]),
        worth=Worth.FEW_PICTURES if len(ordered) < FEW_PICTURES else Worth.SOUND,
        prevalence=prevalence,
        false_alarms=_share(below, known, counts, posterior.weights),
        misses=None if prevalence is None or prevalence.value < 2 * prevalence.error else missed,
        true_yes=posterior.true_yes,
        false_yes=posterior.false_yes,
        top_yes=posterior.top_yes,
        strata=_strata(ordered, asked, yes, posterior.weights @ known, counts),
    )
    if not yes.any():
        return replace(nothing, worth=Worth.NEVER_YES)
    if cut == len(levels) and float(weight[yes].sum() / weight.sum()) <= 2 * max(false_yes, 0.05):
        return replace(found, worth=Worth.NOTHING_KNOWN)
    if cut == len(levels) or posterior.top_yes.value - posterior.top_yes.error < 0.5:
        return replace(nothing, worth=Worth.WEAK_JUDGE, top_yes=posterior.top_yes)
    return found


@dataclass(frozen=True, slots=True)
class _Posterior:
    """What the answers leave of the grid."""

    centres: Floats
    """(H,) c; infinite: no picture is ID"""
    slopes: Floats
    weights: Floats
    """(H,), sum 1"""
    true_yes: Estimate
    false_yes: Estimate
    top_yes: Estimate

    def known(self, places: Floats) -> Floats:
        """(H, L): probability that a picture at a place is ID, under each (c, s)."""
        return _sigmoid((places[None] - self.centres[:, None]) / self.slopes[:, None])


def _posterior(places: Floats, yes: NDArray[np.bool_], weight: Floats, size: int, false_yes: float) -> _Posterior:
    """Sum the posterior over the grid; answers ``(K,)`` at places on the scale of u, of a history of ``size``."""
    lowest = _logit(np.array([0.5 / size]))[0]
    ranks = np.clip(np.linspace(0.0, 1.0, RANKS), 0.5 / size, 1 - 0.5 / size)
    centres = np.r_[lowest - BELOW_ALL, _logit(ranks), math.inf]
    prior = np.r_[np.full(len(BELOW_ALL), ALL_ID / len(BELOW_ALL)), np.full(RANKS, (1 - ALL_ID - ALL_OOD) / RANKS)]
    prior = np.repeat(np.r_[prior, ALL_OOD], len(SLOPES)) / len(SLOPES)
    centres, slopes = np.repeat(centres, len(SLOPES)), np.tile(SLOPES, len(centres))
    true_prior = _beta(TRUE_YES_GRID, *TRUE_YES)
    false_prior = _beta(FALSE_YES_GRID, min(max(false_yes, 0.02), 0.5), FALSE_YES_STRENGTH)
    bins, at = np.unique(np.round(places / BIN), return_inverse=True)
    said_yes, said_no = (np.bincount(at, weight * side, len(bins)) for side in (yes, ~yes))
    known = _sigmoid((bins[None] * BIN - centres[:, None]) / slopes[:, None])
    hard = (1.0 - _share_below(bins * BIN, centres, slopes)) ** 2
    found = np.full((len(centres), len(TRUE_YES_GRID), len(FALSE_YES_GRID)), -math.inf)
    for row, true_rate in enumerate(TRUE_YES_GRID):
        for column, false_rate in enumerate(FALSE_YES_GRID):
            if true_rate > false_rate:
                rates = (false_rate + (true_rate * (1.0 - g * hard) - false_rate) * known for g, _ in HARD)
                likelihoods = [np.log(rate) @ said_yes + np.log1p(-rate) @ said_no for rate in rates]
                mixed = np.logaddexp.reduce(
                    [one + math.log(share) for one, (_, share) in zip(likelihoods, HARD, strict=True)]
                )
                found[:, row, column] = mixed + true_prior[row] + false_prior[column]
    found += np.log(prior)[:, None, None]
    found = np.exp(found - found.max())
    found /= found.sum()
    weights = found.sum(axis=(1, 2))
    top = _sigmoid((_logit(np.array([TOP])) - centres) / slopes)[:, None, None]
    top_rates = FALSE_YES_GRID + (TRUE_YES_GRID[:, None] - FALSE_YES_GRID) * top
    kept = weights > 1e-4 * weights.max()
    return _Posterior(
        centres[kept],
        slopes[kept],
        weights[kept] / weights[kept].sum(),
        _moments(TRUE_YES_GRID, found.sum(axis=(0, 2))),
        _moments(FALSE_YES_GRID, found.sum(axis=(0, 1))),
        _moments(top_rates.ravel(), found.ravel()),
    )


def _share_below(places: Floats, centres: Floats, slopes: Floats) -> Floats:
    """(H, L): share of the ID pictures below each place, under each (c, s), by the midpoint rule over the ranks."""
    cells = 200
    ranks = (np.arange(cells) + 0.5) / cells
    known = _sigmoid((_logit(ranks)[None] - centres[:, None]) / slopes[:, None])
    below = (np.cumsum(known, axis=1) - 0.5 * known) / known.sum(axis=1, keepdims=True)
    found: Floats = below[:, np.minimum((_sigmoid(places) * cells).astype(np.int64), cells - 1)]
    return found


def _share(
    chosen: NDArray[Any], member: Floats, counts: Floats, weights: Floats, of: float | None = None
) -> Estimate | None:
    """Share of the members that are chosen; None where less than one picture is a member.

    A ratio of two posterior means. Its error is linearised, and includes the scatter of the labels themselves.

    Args:
        chosen: (L,) 0 or 1.
        member: (H, L) probability of membership.
        counts: (L,) pictures.
        weights: (H,) of the posterior.
        of: the share of so many pictures, and not of the members.
    """
    base = float(weights @ (member @ counts)) if of is None else of
    if base < 1.0:
        return None
    share = float(weights @ (member @ (counts * chosen))) / base
    influence = chosen - share if of is None else chosen
    sums = member @ (counts * influence)
    spread = float(weights @ sums**2) - float(weights @ sums) ** 2
    scatter = float((weights @ (member * (1 - member))) @ (counts * influence**2))
    return Estimate(min(1.0, share), math.sqrt(max(0.0, spread) + scatter) / base)


def _strata(
    ordered: Floats, asked: Floats, yes: NDArray[np.bool_], known: Floats, counts: Floats
) -> tuple[Stratum, ...]:
    """Answers by tenths of the history, and the estimated share of ID pictures in each."""
    ranks = np.searchsorted(ordered, asked, "left") * STRATA // len(ordered)
    ranks = np.minimum(ranks, STRATA - 1)
    ends = np.cumsum(counts)
    of_level = np.minimum(((ends - 0.5 * counts) / ends[-1] * STRATA).astype(np.int64), STRATA - 1)
    found = []
    for stratum in range(STRATA):
        here, level = ranks == stratum, of_level == stratum
        share = float(np.average(known[level], weights=counts[level])) if level.any() else None
        found.append(Stratum(int(here.sum()), int((here & yes).sum()), share))
    return tuple(found)


def _places(ordered: Floats, asked: Floats) -> Floats:
    """Scores on the scale of u: the middle of their ties' ranks, or between their neighbours' ranks."""
    ranks = (np.searchsorted(ordered, asked, "left") + np.searchsorted(ordered, asked, "right")) / (2 * len(ordered))
    half = 0.5 / len(ordered)
    return _logit(np.clip(ranks, half, 1 - half))


def _just_above(score: float) -> float:
    """Return a value that is above the score in float32, too."""
    return float(np.nextafter(np.float32(score), np.float32(math.inf)))


def _ranked(scores: Tensor, ids: Sequence[str], seed: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Positions, lowest score first, ties by digest; and the digests, the first 8 bytes of each picture's sha256."""
    if scores.ndim != 1 or len(scores) != len(ids):
        raise ValueError(f"scores must be a vector with one entry per id, not {tuple(scores.shape)} and {len(ids)}")
    values = scores.detach().cpu().double()
    if not bool(values.isfinite().all()):
        raise ValueError("scores must be finite")
    digests = _digests(ids, seed)
    return np.lexsort((digests, values.numpy())), digests


def _digests(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    joined = b"".join(hashlib.sha256(f"{seed}\n{name}".encode()).digest()[:8] for name in ids)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)


def _first(positions: NDArray[np.int64], digests: NDArray[np.uint64], count: int) -> list[int]:
    """Of the positions the ``count`` with the lowest digests, in the order given."""
    chosen = np.sort(np.argsort(digests[positions], kind="stable")[:count])
    return [int(at) for at in positions[chosen]]


def _weighted_median(values: NDArray[np.int64], weights: Floats) -> int:
    order = np.argsort(values, kind="stable")
    return int(values[order][np.searchsorted(np.cumsum(weights[order]), 0.5 * weights.sum())])


def _moments(values: Floats, weights: Floats) -> Estimate:
    mean = float(weights @ values)
    return Estimate(mean, math.sqrt(max(0.0, float(weights @ (values - mean) ** 2))))


def _beta(grid: Floats, mean: float, strength: float) -> Floats:
    """Log of a Beta prior's mass on an uneven grid."""
    mass = (mean * strength - 1) * np.log(grid) + ((1 - mean) * strength - 1) * np.log1p(-grid)
    found: Floats = mass + np.log(np.gradient(grid))
    return found


def _logit(ranks: Floats) -> Floats:
    found: Floats = np.log(ranks) - np.log1p(-ranks)
    return found


def _sigmoid(values: Floats) -> Floats:
    found: Floats = 1.0 / (1.0 + np.exp(-np.clip(values, -50.0, 50.0)))
    return found
