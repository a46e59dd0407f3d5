"""Bars 1, 6 and 8: how well the score ranks, and what it costs in questions."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ants_engine.method.weighting import adaptive_score
from benchmarks.verdicts.bars import PREVALENCES, Given, Ranking, Report, markdown
from benchmarks.verdicts.states import (
    DESCRIBE_LEAST,
    State,
    answers,
    batch_build,
    drawn,
    judged,
    stream,
)
from benchmarks.verdicts.worlds import World, further_worlds, standard_worlds

POOL, WHOLE, REFINED = "pool", "the whole of it", "the whole, refined"
IF_ID, IF_OOD = 0.9, 0.1
"""The simulated judge: how often it says yes of ID and of OOD pictures."""


def pool(given: Given) -> Report:
    """Compare the pool with other rules in streams in which every mined picture has a sentence (bar 1)."""
    found = Ranking()
    for world in standard_worlds(given.found):
        for prevalence in PREVALENCES:
            for seed in range(given.seeds):
                order = drawn(world, seed, prevalence)
                parts = [
                    {name: rule(state, rows) for name, rule in RULES.items()} for state, rows in stream(world, order)
                ]
                for name in RULES:
                    scores = torch.cat([part[name] for part in parts])
                    found.add(name, prevalence, world.name, scores, world.is_id[order])
    report = Report(f"Bar 1: the score, {len(found.worlds)} sets, streams, {given.seeds} seeds")
    report.say(found.by_prevalence())
    report.say(found.by_world())
    if not given.found.other_food:
        report.bar("pool, AUROC", found.mean(POOL).auroc, 95.4, at_least=True)
        report.bar("pool, FPR95", found.mean(POOL).fpr95, 17.0)
    for other in ("S_ada", "NegLabel", "NegLabel, one group", "MCM"):
        _ahead(report, found, POOL, other)
    return report


def questions(given: Given) -> Report:
    """Describe all, half and a quarter of the mined pictures in batch builds with verify-or-describe (bar 6)."""
    found = Ranking()
    asked: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    streamed = Ranking()
    in_stream: dict[str, list[tuple[int, int]]] = defaultdict(list)
    shares = {"all": 1.0, "half": 0.5, "a quarter": 0.25}
    for world in standard_worlds(given.found):
        yes = answers(world, IF_ID, IF_OOD)
        for prevalence in PREVALENCES:
            for seed in range(given.seeds):
                order = drawn(world, seed, prevalence)
                is_id = world.is_id[order]
                captions = batch_build(world, order)
                scores = captions.votes(order).log_odds()
                found.add("today's prompt, all", prevalence, world.name, scores, is_id)
                for name, share in shares.items():
                    state = batch_build(world, order, yes, share)
                    verdict = judged(state, yes)
                    found.add(f"{name}", prevalence, world.name, verdict.text_log_odds, is_id)
                    found.add(f"{name}, with pictures", prevalence, world.name, verdict.log_odds, is_id)
                    verdict = judged(state, yes, refine=True)
                    found.add(f"{name}, with pictures, refined", prevalence, world.name, verdict.log_odds, is_id)
                    asked[name].append((len(state.mined), len(state.described), verdict.questions))
                    scores, asked_of, mined_of = _streamed(world, order, yes, share)
                    streamed.add(name, prevalence, world.name, scores, is_id)
                    in_stream[name].append((mined_of, asked_of))
    report = Report(f"Bar 6: the bill, {len(found.worlds)} sets, batch builds, {given.seeds} seeds")
    report.say(f"Verify-or-describe answered yes of {IF_ID:g} of the ID and {IF_OOD:g} of the OOD pictures.")
    report.say(found.by_prevalence())
    lines = []
    for name, counted in asked.items():
        mined, described, together = (sum(column) for column in zip(*counted, strict=True))
        free = [one for one in counted if one[0] * shares[name] >= DESCRIBE_LEAST]
        share = sum(one[1] for one in free) / sum(one[0] for one in free)
        counts = [f"{count:,}" for count in (mined, described, together - described)]
        lines.append([name, *counts, f"{described / mined:.3f}", f"{share:.3f}"])
    heads = ["described", "mined", "of them asked", "more for the judge", "asked / mined"]
    report.say(markdown([*heads, f"… where the floor of {DESCRIBE_LEAST} is no matter"], lines))
    if not given.found.other_food:
        report.bar("half, text votes, AUROC", found.mean("half").auroc, 96.4, at_least=True)
        report.bar("half, text votes, FPR95", found.mean("half").fpr95, 14.9)
        report.bar("half, with pictures, AUROC", found.mean("half, with pictures").auroc, 96.7, at_least=True)
        report.bar("half, with pictures, FPR95", found.mean("half, with pictures").fpr95, 13.8)
    report.say(
        "In streams, chosen by the epsilon-net, text votes; the share of all that was ever mined that was asked:"
    )
    told = {
        name: sum(one[1] for one in counted) / sum(one[0] for one in counted) for name, counted in in_stream.items()
    }
    report.say(", ".join(f"{name} {share:.3f}" for name, share in told.items()))
    report.say(streamed.by_prevalence())
    report.bar("half, AUROC below all", found.mean("all").auroc - found.mean("half").auroc, 0.15)
    report.bar("half, FPR95 above all", found.mean("half").fpr95 - found.mean("all").fpr95, 0.5)
    report.bar("half: share asked", float(lines[1][5]), 0.52)
    report.bar("a quarter: share asked", float(lines[2][5]), 0.27)
    return report


def _streamed(world: World, order: Tensor, yes: Tensor, share: float) -> tuple[Tensor, int, int]:
    """Return the text votes' log-odds (N,) of a stream, and how many pictures were asked about and mined."""
    parts, asked, mined = [], set[int](), set[int]()
    for state, rows in stream(world, order, yes, share):
        parts.append(state.votes(rows).log_odds())
        asked.update(state.described.tolist())
        mined.update(state.mined.tolist())
    return torch.cat(parts), len(asked), len(mined)


def further(given: Given) -> Report:
    """Try everything on sets that took no part in any choice, in batch builds (bar 8)."""
    found = Ranking()
    for world in further_worlds(given.found, given.far):
        yes = answers(world, IF_ID, IF_OOD)
        for prevalence in (0.5, 0.05):
            for seed in range(given.seeds):
                order = drawn(world, seed, prevalence)
                is_id = world.is_id[order]
                state = batch_build(world, order)
                for name, rule in RULES.items():
                    found.add(name, prevalence, world.name, rule(state, order), is_id)
                state = batch_build(world, order, yes, 0.5)
                for name, refine in ((WHOLE, False), (REFINED, True)):
                    scores = judged(state, yes, refine=refine).log_odds
                    found.add(name, prevalence, world.name, scores, is_id)
    report = Report(f"Bar 8: {len(found.worlds)} further sets, batch builds, {given.seeds} seeds")
    report.say(
        f'"{WHOLE}": verify-or-describe (yes of {IF_ID:g} of the ID and {IF_OOD:g} of the OOD pictures), half of the '
        "mined pictures, pool, the pictures' vote; refined: the verified pictures tell the negative texts apart, too. "
        "Every other rule has a sentence of every mined picture."
    )
    report.say(found.by_prevalence())
    report.say(found.by_world())
    if not given.found.other_food and not given.far:
        for prevalence, least, most in ((0.5, 99.2, 6.5), (0.05, 98.6, 8.5)):
            figures = found.mean(WHOLE, prevalence)
            report.bar(f"AUROC at {100 * prevalence:g} %", figures.auroc, least, at_least=True)
            report.bar(f"FPR95 at {100 * prevalence:g} %", figures.fpr95, most)
    for other in RULES:
        _ahead(report, found, WHOLE, other)
    return report


def unseen(given: Given) -> Report:
    """Build on the first half of every stream, and score the second, of which nothing has been asked or learned."""
    found = Ranking()
    for world in standard_worlds(given.found):
        yes = answers(world, IF_ID, IF_OOD)
        for prevalence in (0.5, 0.2, 0.05):
            for seed in range(given.seeds):
                order = drawn(world, seed, prevalence)
                history, fresh = order[: len(order) // 2], order[len(order) // 2 :]
                is_id = world.is_id[fresh]
                if bool(is_id.all()):
                    # one picture at least is needed; of the sets as they are none is without
                    raise ValueError(f"{world.name}, seed {seed}: no OOD picture in the second half")
                state = batch_build(world, history, yes, 0.5)
                plain, better = judged(state, yes), judged(state, yes, refine=True)
                found.add("NegLabel", prevalence, world.name, world.initial_vote[fresh], is_id)
                found.add("text votes", prevalence, world.name, state.votes(fresh).log_odds(), is_id)
                found.add("with pictures", prevalence, world.name, plain.score(fresh), is_id)
                found.add("with pictures, refined", prevalence, world.name, better.score(fresh), is_id)
    report = Report(f"Pictures that were not in the history: {len(found.worlds)} sets, {given.seeds} seeds")
    report.say(found.by_prevalence())
    return report


def _ahead(report: Report, found: Ranking, ours: str, other: str) -> None:
    """Add how far one rule is ahead of another at the prevalence where it is least."""
    pairs = [(found.mean(ours, share), found.mean(other, share)) for share in found.prevalences]
    gain = min(mine.auroc - theirs.auroc for mine, theirs in pairs)
    report.bar(f"{ours} ahead of {other} at every prevalence, AUROC by at least", gain, 0.0, at_least=True)
    gain = min(theirs.fpr95 - mine.fpr95 for mine, theirs in pairs)
    report.bar(f"{ours} ahead of {other} at every prevalence, FPR95 by at least", gain, 0.0, at_least=True)


def _mcm(state: State, rows: Tensor) -> Tensor:
    return 1.0 / state.id_mass(rows).mass[:, 0]


def _ens(state: State, rows: Tensor) -> Tensor:
    world = state.world
    kept = world.sentences[state.sentences]
    return state.bank_score(rows, kept) if len(kept) else world.initial[rows]


def _ada(state: State, rows: Tensor) -> Tensor:
    world = state.world
    sentences, alike = world.sentences[state.sentences], world.look_alikes[state.look_alikes]
    if not len(sentences) and not len(alike):
        return world.initial[rows]
    scores = [state.bank_score(rows, bank) if len(bank) else None for bank in (sentences, alike)]
    return adaptive_score(scores[0], scores[1], state.weight())


def _union(state: State, rows: Tensor) -> Tensor:
    world = state.world
    banks = (world.sentences[state.sentences], world.look_alikes[state.look_alikes])
    return state.bank_score(rows, *banks) if any(map(len, banks)) else world.initial[rows]


RULES: Mapping[str, Callable[[State, Tensor], Tensor]] = {
    "MCM": _mcm,
    "NegLabel": lambda state, rows: state.world.initial_vote[rows],
    "NegLabel, one group": lambda state, rows: state.world.one_group[rows],
    "S_ens": _ens,
    "S_ada": _ada,
    "union": _union,
    POOL: lambda state, rows: state.votes(rows).log_odds(),
}
"""Scores (n,) of pictures in a state, higher = more ID, in the range of each rule's own."""
