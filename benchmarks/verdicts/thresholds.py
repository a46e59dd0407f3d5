"""Bars 2 and 4: known pictures flagged and unknown ones caught, by every rule for the threshold; `calibrate`.

For bar 2 every set is built on at prevalences from 0 to 80 %, and a simulated judge that confirms the share a of ID
pictures, and b of OOD ones, is asked 100 questions. The estimates that come with each threshold are held to the truth.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.conformal import conformal_threshold
from ants_engine.method.empirical_null import empirical_null
from ants_engine.method.judge import JudgedThreshold, judged_threshold, near_sample
from ants_engine.method.threshold import otsu_threshold, tpr_threshold
from benchmarks.verdicts.bars import Given, Report, markdown
from benchmarks.verdicts.states import State, Verdict, answers, batch_build, drawn, judged
from benchmarks.verdicts.worlds import World, standard_worlds

PREVALENCES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8)
JUDGES = ((0.9, 0.1), (0.8, 0.05), (0.8, 0.2), (1.0, 0.0))
"""a and b of simulated judges."""
AIM = 0.05
QUESTIONS = 100
TRIALS = 200
CALIBRATION_SIZES = (20, 50, 100, 500)

HARD = "**judge that errs on hard pictures**"
WITHOUT = "**no judge: empirical null**"

Shares = tuple[float, float]
"""OOD pictures caught (NaN without one) and ID pictures flagged."""


# ---- a simulated judge


def isotonic(verdict: Verdict, strata: int = 10, false_yes: float = 0.1) -> float:
    """The rule that `judged_threshold` replaced: isotonic yes-rates of ten strata, corrected for false yes.

    pi = (r − b) / (a − b) with a fixed b and a the mean of the top three strata; the threshold is the lowest score at
    which the pi-weighted share of the history at or below it reaches the aim.
    """
    scores = verdict.log_odds.double().numpy()
    order = np.argsort(scores, kind="stable")
    stratum = np.empty(len(scores), dtype=np.int64)
    stratum[order] = np.arange(len(scores)) * strata // len(scores)
    of_asked = stratum[verdict.sample.numpy()]
    asked = np.bincount(of_asked, minlength=strata)
    yes = np.bincount(of_asked, verdict.yes.double().numpy(), strata)
    have = np.flatnonzero(asked)
    rates = np.interp(np.arange(strata), have, yes[have] / asked[have])
    rates = non_decreasing(rates, np.maximum(asked, 0.5))
    top = max(float(rates[-3:].mean()), 0.3)
    known = np.clip((rates - false_yes) / (top - false_yes), 0.0, 1.0)[stratum[order]]
    if known.sum() < 1.0:
        return float(scores.max()) + 1.0
    return float(scores[order][np.searchsorted(np.cumsum(known) / known.sum(), AIM)])


def non_decreasing(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest non-decreasing values (isotonic regression by pooling adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            past = blocks.pop()
            total = past[1] + block[1]
            block = ((past[0] * past[1] + block[0] * block[1]) / total, total, past[2] + block[2])
        blocks.append(block)
    return np.concatenate([np.full(size, value) for value, _, size in blocks])


def errs_on_hard(world: World, seed: int) -> Tensor:
    """Return the answers (P,) of a judge that errs where the lexicon does: on hard ID pictures and on near OOD ones.

    It confirms 52 % of the ID pictures with the lowest S_nl and 97 % of those with the highest; of OOD ones 2 to 30 %.
    """
    chance = torch.from_numpy(np.random.default_rng(seed).random(len(world.features)))
    rates = torch.empty_like(chance)
    for rows, known in ((world.is_id, True), (~world.is_id, False)):
        share = torch.argsort(torch.argsort(world.initial_vote[rows])).double() / int(rows.sum())
        rates[rows] = 0.97 - 0.45 * (1 - share) ** 3 if known else 0.02 + 0.28 * share**2
    return chance < rates


def by_judge(
    state: State, verdict: Verdict, yes: Tensor, mined: bool = True, further: Sequence[int] = ()
) -> JudgedThreshold:
    """Find the threshold as the engine does: from the random sample, and at half weight from the mined pictures.

    Args:
        state: after a build.
        verdict: with the sample and its answers.
        yes: (P,) what the judge answers.
        mined: whether answers about mined pictures count.
        further: places of the second round.
    """
    places = torch.full((len(state.world.features),), -1)
    places[state.seen] = torch.arange(len(state.seen))
    sampled = [*verdict.sample.tolist(), *further]
    others = [place for place in places[state.described].tolist() if place not in set(sampled)] if mined else []
    asked = torch.tensor([*sampled, *others])
    said = yes[state.seen[asked]].tolist()
    random = [True] * len(sampled) + [False] * len(others)
    return judged_threshold(verdict.log_odds, verdict.log_odds[asked], said, sampled=random, false_alarms=AIM)


def in_two_rounds(state: State, yes: Tensor, seed: int) -> tuple[Verdict, float | None]:
    """Ask half of the questions over the whole range of scores, the others near the threshold that those give."""
    verdict = judged(state, yes, QUESTIONS // 2, seed)
    first = by_judge(state, verdict, yes)
    if first.threshold is None:
        return verdict, None
    ids = [str(row) for row in state.seen.tolist()]
    asked = verdict.sample.tolist()
    near = near_sample(verdict.log_odds, ids, first.threshold, asked, QUESTIONS - len(asked), seed)
    return verdict, by_judge(state, verdict, yes, further=near).threshold


def shares(scores: Tensor, is_id: Tensor, threshold: float | None) -> Shares:
    """Return caught and flagged; without a threshold that of the empirical null."""
    flagged = scores < (empirical_null(scores, AIM).threshold if threshold is None else threshold)
    caught = float(flagged[~is_id].double().mean()) if not bool(is_id.all()) else math.nan
    return caught, float(flagged[is_id].double().mean())


def best(scores: Tensor, is_id: Tensor) -> Shares:
    """Return what flagging exactly the aim would catch."""
    return shares(scores, is_id, float(torch.quantile(scores[is_id].double(), AIM)))


@dataclass(frozen=True)
class Estimated:
    """A judged threshold's estimates beside the truth."""

    name: str
    value: float
    error: float
    truth: float


def ours(a: float, b: float) -> str:
    """Return what the engine's rule is called in the table."""
    return f"**judge a {a:g}, b {b:g}**"


def measure(
    worlds: Sequence[World], seeds: Iterable[int]
) -> tuple[dict[tuple[str, float], list[Shares]], list[Estimated]]:
    """Build on every set at every prevalence; return (rule, prevalence) → shares, and estimates beside the truth."""
    found: dict[tuple[str, float], list[Shares]] = {}
    estimates: list[Estimated] = []
    for seed in seeds:
        for world in worlds:
            for prevalence in PREVALENCES:
                order = drawn(world, seed, prevalence)
                found_here = dict(without_judge(batch_build(world, order, None, describe=0.5)))
                # a judge with errors of its own for every seed
                judges = {ours(a, b): answers(world, a, b, 100 + seed) for a, b in JUDGES}
                for name, yes in (judges | {HARD: errs_on_hard(world, 100 + seed)}).items():
                    state = batch_build(world, order, yes, describe=0.5)
                    verdict = judged(state, yes, QUESTIONS, seed)
                    threshold = by_judge(state, verdict, yes)
                    if name != HARD:
                        estimates += beside_truth(threshold, verdict)
                    twice, second = in_two_rounds(state, yes, seed)
                    alone = by_judge(state, verdict, yes, mined=False)
                    plain = name.strip("*")
                    found_here |= {
                        f"{plain}: isotonic": shares(verdict.log_odds, verdict.is_id, isotonic(verdict)),
                        f"{plain}: sample only": shares(verdict.log_odds, verdict.is_id, alone.threshold),
                        name: shares(verdict.log_odds, verdict.is_id, threshold.threshold),
                        f"{plain}: two rounds": shares(twice.log_odds, twice.is_id, second),
                        f"{plain}: best possible": best(verdict.log_odds, verdict.is_id),
                    }
                for rule, one in found_here.items():
                    found.setdefault((rule, prevalence), []).append(one)
    return found, estimates


def without_judge(state: State) -> Iterable[tuple[str, Shares]]:
    """Yield the rules that ask nothing, with every mined picture's sentence a negative."""
    scores, is_id = state.votes(state.seen).log_odds(), state.world.is_id[state.seen]
    weight = state.weight()
    banks = [
        state.bank_score(state.seen, texts[rows]) if len(rows) else state.world.initial[state.seen]
        for texts, rows in (
            (state.world.sentences, state.sentences),
            (state.world.look_alikes, state.look_alikes),
        )
    ]
    adaptive = weight * banks[0] + (1 - weight) * banks[1]
    yield "Otsu on S_ada (`paper`)", shares(adaptive, is_id, otsu_threshold(adaptive))
    yield "Otsu on `pool`", shares(scores, is_id, otsu_threshold(scores))
    yield WITHOUT, shares(scores, is_id, empirical_null(scores, AIM).threshold)
    yield "no judge: best possible", best(scores, is_id)


def beside_truth(found: JudgedThreshold, verdict: Verdict) -> Iterable[Estimated]:
    """Yield each estimate that there is beside what is true of the history."""
    if found.threshold is None:
        return
    caught, flagged = shares(verdict.log_odds, verdict.is_id, found.threshold)
    prevalence = 1.0 - float(verdict.is_id.double().mean())
    for name, estimate, truth in (
        ("prevalence", found.prevalence, prevalence),
        ("false alarms", found.false_alarms, flagged),
        ("misses", found.misses, 1.0 - caught),
    ):
        if estimate is not None and not math.isnan(truth):
            yield Estimated(name, estimate.value, estimate.error, truth)


# ---- known pictures


@dataclass(frozen=True)
class Calibrated:
    """What a rule kept of fresh ID pictures, over `TRIALS` calibrations with n pictures."""

    pictures: int
    rule: str
    kept: float
    """Mean share."""
    spread: float
    """Standard deviation from trial to trial."""
    expected: float | None
    """1 − k / (n + 1), known beforehand."""

    @property
    def error(self) -> float:
        """Return the standard error of the mean."""
        return self.spread / math.sqrt(TRIALS)


def calibrated(worlds: Sequence[World]) -> list[Calibrated]:
    """Calibrate on n ID pictures drawn at random, and keep or flag all others.

    The scores are those of the ID pictures of all sets together, after builds at a prevalence of 5 %.
    """
    scores = torch.cat(
        [batch_build(world, drawn(world, 0, 0.05)).votes(torch.arange(world.ids)).log_odds() for world in worlds]
    )
    rows = []
    for size in CALIBRATION_SIZES:
        kept: dict[str, list[float]] = {"conformal": [], "quantile of the scores": []}
        for trial in range(TRIALS):
            mixed = torch.randperm(len(scores), generator=torch.Generator().manual_seed(1000 * size + trial))
            known, fresh = scores[mixed[:size]], scores[mixed[size:]]
            for rule, threshold in (
                ("conformal", conformal_threshold(known, AIM).threshold),
                ("quantile of the scores", tpr_threshold(known, 1.0 - AIM)),
            ):
                kept[rule].append(float((fresh >= threshold).double().mean()))
        expected = 1.0 - conformal_threshold(scores[:size], AIM).expected_false_alarms
        for rule, values in kept.items():
            mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
            rows.append(Calibrated(size, rule, mean, spread, expected if rule == "conformal" else None))
    return rows


# ---- the bars


def judge(given: Given) -> Report:
    """Bar 2: about the aim is flagged at any prevalence, with a judge and without."""
    found, estimates = measure(standard_worlds(given.found), range(given.seeds))
    report = Report("2. The threshold: OOD caught / ID flagged ± its root mean square distance from 5, in %")
    report.say(threshold_table(found))
    report.say("Estimates that come with a judged threshold, in %; the last column is to be about 95:")
    report.say(estimate_table(estimates))

    def means(rule: str) -> tuple[list[float], list[float]]:
        # 80 % of OOD pictures are measured, but no bar is set there
        over = [mean_shares(found[rule, prevalence]) for prevalence in PREVALENCES if prevalence <= 0.5]
        return [100 * caught for caught, _ in over if not math.isnan(caught)], [100 * flagged for _, flagged in over]

    caught, flagged = means(ours(0.9, 0.1))
    report.bar("judge a 0.9, b 0.1, prevalence 0 to 50 %: least flagged", min(flagged), 3.0, at_least=True)
    report.bar("the same: most flagged", max(flagged), 7.5)
    report.bar("the same, from 1 %: least caught", min(caught), 80.0, at_least=True)
    report.bar("judge a 0.8, b 0.2: most flagged", max(means(ours(0.8, 0.2))[1]), 7.0)
    caught, flagged = means(WITHOUT)
    report.bar("no judge: most flagged", max(flagged), 7.0)
    report.bar("no judge: least caught", min(caught), 55.0, at_least=True)
    return report


def calibrate(given: Given) -> Report:
    """Bar 4: `calibrate` keeps the share of fresh known pictures that it promises."""
    rows = calibrated(standard_worlds(given.found))
    report = Report(f"4. Calibration with n known pictures, {TRIALS} trials: share of fresh known pictures kept, in %")
    report.say(
        markdown(
            ["n", "rule", "kept", "expected, 1 − k / (n + 1)", "from trial to trial"],
            [
                [
                    str(row.pictures),
                    row.rule,
                    f"{100 * row.kept:.2f} ± {100 * row.error:.2f}",
                    "" if row.expected is None else f"{100 * row.expected:.2f}",
                    f"{100 * row.spread:.2f}",
                ]
                for row in rows
            ],
        )
    )
    for row in rows:
        if row.expected is not None:
            report.bar(f"n = {row.pictures}: kept", 100 * row.kept, 94.5, at_least=True)
            away = abs(row.kept - row.expected) / row.error
            report.bar(f"n = {row.pictures}: standard errors from the expected share", away, 3.0)
    return report


def threshold_table(found: Mapping[tuple[str, float], Sequence[Shares]]) -> str:
    """Return caught / flagged ± the flagged share's root mean square distance from the aim, in percent."""

    def cell(rule: str, prevalence: float) -> str:
        caught, flagged = mean_shares(found[rule, prevalence])
        distance = math.sqrt(np.mean([(one - AIM) ** 2 for _, one in found[rule, prevalence]]))
        said = "–" if math.isnan(caught) else f"{100 * caught:.0f}"
        return f"{said} / {100 * flagged:.1f} ± {100 * distance:.1f}"

    rules = dict.fromkeys(rule for rule, _ in found)
    return markdown(
        ["rule", *(f"{100 * prevalence:g} %" for prevalence in PREVALENCES)],
        [[rule, *(cell(rule, prevalence) for prevalence in PREVALENCES)] for rule in rules],
    )


def estimate_table(estimates: Sequence[Estimated]) -> str:
    """Return how far the estimates are from the truth, beside the standard errors that they report."""
    lines = []
    for name in dict.fromkeys(one.name for one in estimates):
        value, truth, error = np.array([(one.value, one.truth, one.error) for one in estimates if one.name == name]).T
        real, reported = math.sqrt(np.mean((value - truth) ** 2)), math.sqrt(np.mean(error**2))
        within = float((np.abs(value - truth) <= 2 * error + 1e-9).mean())
        figures = (value.mean(), truth.mean(), reported, real, within)
        lines.append([name, *(f"{100 * figure:.1f}" for figure in figures)])
    return markdown(["estimate", "mean", "truth", "standard error", "real error", "within two errors"], lines)


def mean_shares(one: Sequence[Shares]) -> Shares:
    """Return the mean caught and flagged; caught is NaN where there is no OOD picture."""
    caught, flagged = np.array(one).T
    return float(caught.mean()), float(flagged.mean())
