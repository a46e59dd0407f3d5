"""Where the unknown begins: known pictures flagged and unknown ones caught, by every rule for the threshold.

    python -m benchmarks.verdicts.thresholds [--seeds 5] [--first 0] [--food FILE] [--further]

prints three tables and the bars that they are held to. In the first, every set is built on at prevalences from 0 to
80 %, and a simulated judge that confirms the share a of ID pictures, and b of OOD ones, is asked 100 questions. The
second holds the estimates that come with a threshold to the truth, the third `calibrate`'s rule to what it promises.
The exit status is 1 when a bar is missed.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.method.conformal import conformal_threshold
from ants_engine.method.empirical_null import empirical_null
from ants_engine.method.judge import JudgedThreshold, judged_threshold, near_sample
from ants_engine.method.threshold import otsu_threshold, tpr_threshold
from benchmarks.verdicts.states import State, Verdict, answers, batch_build, drawn, judged
from benchmarks.verdicts.worlds import World, further_worlds, sources, standard_worlds

PREVALENCES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8)
JUDGES = ((0.9, 0.1), (0.8, 0.05), (0.8, 0.2), (1.0, 0.0))
"""a and b of simulated judges."""
AIM = 0.05
QUESTIONS = 100
TRIALS = 200
CALIBRATION_SIZES = (20, 50, 100, 500)

Shares = tuple[float, float]
"""OOD pictures caught (NaN without one) and ID pictures flagged."""


@dataclass(frozen=True)
class Bar:
    """What a figure is held to."""

    what: str
    figure: str
    met: bool


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
                for a, b in JUDGES:
                    # a judge with errors of its own for every seed
                    yes = answers(world, a, b, 100 + seed)
                    state = batch_build(world, order, yes, describe=0.5)
                    verdict = judged(state, yes, QUESTIONS, seed)
                    threshold = by_judge(state, verdict, yes)
                    estimates += beside_truth(threshold, verdict)
                    twice, second = in_two_rounds(state, yes, seed)
                    name = f"judge a {a:g}, b {b:g}"
                    found_here |= {
                        f"{name}: isotonic": shares(verdict.log_odds, verdict.is_id, isotonic(verdict)),
                        f"{name}: sample only": shares(
                            verdict.log_odds, verdict.is_id, by_judge(state, verdict, yes, mined=False).threshold
                        ),
                        f"**{name}**": shares(verdict.log_odds, verdict.is_id, threshold.threshold),
                        f"{name}: two rounds": shares(twice.log_odds, twice.is_id, second),
                        f"{name}: best possible": best(verdict.log_odds, verdict.is_id),
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
    yield "**no judge: empirical null**", shares(scores, is_id, empirical_null(scores, AIM).threshold)
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


# ---- tables and bars


def threshold_table(found: Mapping[tuple[str, float], Sequence[Shares]]) -> str:
    """Return caught / flagged ± the flagged share's root mean square distance from the aim, in percent."""
    lines = ["| rule | " + " | ".join(f"{100 * prevalence:g} %" for prevalence in PREVALENCES) + " |"]
    lines.append("|---" * (len(PREVALENCES) + 1) + "|")
    for rule in dict.fromkeys(rule for rule, _ in found):
        cells = []
        for prevalence in PREVALENCES:
            caught, flagged = mean_shares(found[rule, prevalence])
            distance = math.sqrt(np.mean([(one[1] - AIM) ** 2 for one in found[rule, prevalence]]))
            said = "–" if math.isnan(caught) else f"{100 * caught:.0f}"
            cells.append(f"{said} / {100 * flagged:.1f} ± {100 * distance:.1f}")
        lines.append(f"| {rule} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def estimate_table(estimates: Sequence[Estimated]) -> str:
    """Return how far the reported estimates are from the truth, beside the standard errors that they report."""
    lines = ["| estimate | mean | truth | standard error | real error | within two |", "|---|---|---|---|---|---|"]
    for name in dict.fromkeys(one.name for one in estimates):
        rows = np.array([(one.value, one.truth, one.error) for one in estimates if one.name == name])
        value, truth, error = rows.T
        real = math.sqrt(np.mean((value - truth) ** 2))
        claimed = math.sqrt(np.mean(error**2))
        within = float((np.abs(value - truth) <= 2 * error + 1e-9).mean())
        figures = (value.mean(), truth.mean(), claimed, real, within)
        lines.append(f"| {name} | " + " | ".join(f"{100 * figure:.1f}" for figure in figures) + " |")
    return "\n".join(lines)


def calibration_table(rows: Sequence[Calibrated]) -> str:
    """Return the share of fresh known pictures that is kept, beside the expected one."""
    lines = ["| n | rule | kept | expected | from trial to trial |", "|---|---|---|---|---|"]
    for row in rows:
        expected = "" if row.expected is None else f"{100 * row.expected:.2f}"
        kept = f"{100 * row.kept:.2f} ± {100 * row.error:.2f}"
        lines.append(f"| {row.pictures} | {row.rule} | {kept} | {expected} | {100 * row.spread:.2f} |")
    return "\n".join(lines)


def mean_shares(one: Sequence[Shares]) -> Shares:
    """Return the mean caught and flagged; caught is NaN where there is no OOD picture."""
    caught, flagged = np.array(one).T
    return float(caught.mean()), float(flagged.mean())


def bars(found: Mapping[tuple[str, float], Sequence[Shares]], rows: Sequence[Calibrated]) -> list[Bar]:
    """Hold the figures to their bars; 80 % OOD pictures are measured, but no bar is set there."""
    held = [prevalence for prevalence in PREVALENCES if prevalence <= 0.5]

    def over(rule: str) -> tuple[list[float], list[float]]:
        means = [mean_shares(found[rule, prevalence]) for prevalence in held]
        return [100 * caught for caught, _ in means if not math.isnan(caught)], [100 * flagged for _, flagged in means]

    caught, flagged = over("**judge a 0.9, b 0.1**")
    weak_caught, weak_flagged = over("**judge a 0.8, b 0.2**")
    null_caught, null_flagged = over("**no judge: empirical null**")
    made = [
        _bar("judge a 0.9, b 0.1: flagged 3 to 7.5 %", flagged, 3.0, 7.5),
        _bar("judge a 0.9, b 0.1: caught ≥ 80 %", caught, 80.0),
        _bar("judge a 0.8, b 0.2: flagged ≤ 7 %", weak_flagged, most=7.0),
        _bar("judge a 0.8, b 0.2: caught (no bar)", weak_caught),
        _bar("no judge: flagged ≤ 7 %", null_flagged, most=7.0),
        _bar("no judge: caught ≥ 55 %", null_caught, 55.0),
    ]
    conformal = [row for row in rows if row.expected is not None]
    made.append(_bar("calibrate: kept ≥ 94.5 %", [100 * row.kept for row in conformal], 94.5))
    away = [abs(row.kept - row.expected) / row.error for row in conformal if row.expected is not None]
    made.append(_bar("calibrate: standard errors from the expected share ≤ 3", away, most=3.0))
    return made


def _bar(what: str, figures: Sequence[float], least: float = -math.inf, most: float = math.inf) -> Bar:
    low, high = min(figures), max(figures)
    return Bar(what, f"{low:.1f} to {high:.1f}", least <= low and high <= most)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and the bars."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts.thresholds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--food", type=Path, help="other Food-101 pictures, of the form of food10_500.npz")
    parser.add_argument("--further", action="store_true", help="the further sets in place of the 17")
    given = parser.parse_args(arguments)
    here = sources(food=given.food)
    if here is None:
        print("skipped: the stored features are absent")
        return 0
    worlds = list(further_worlds(here)) if given.further else standard_worlds(here)
    seeds = range(given.first, given.first + given.seeds)
    found, estimates = measure(worlds, seeds)
    rows = calibrated(worlds)
    print(f"{len(worlds)} sets, seeds {given.first} to {seeds[-1]}; OOD caught / ID flagged (aim {100 * AIM:g}) in %\n")
    print(threshold_table(found), estimate_table(estimates), calibration_table(rows), sep="\n\n")
    missed = 0
    print()
    for bar in bars(found, rows):
        print(f"{'met   ' if bar.met else 'MISSED'} {bar.what}: {bar.figure}")
        missed += not bar.met
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
