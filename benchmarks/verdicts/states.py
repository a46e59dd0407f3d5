"""Replaying builds and streams on a `World`: what was mined, which banks that gives, and what a judge answers.

    order = drawn(world, seed, prevalence)          # rows of world.features in the stream's order
    state = batch_build(world, order)               # all of them are history
    state.votes(order).log_odds()                   # the text votes' log-odds of any rows
    for state, rows in stream(world, order): ...    # the banks follow every batch, as with policy `paper` and lag 0

With verify-or-describe the pictures that the MLLM calls ID have no sentence, and ``describe`` is the share of the mined
pictures that is asked about at all:

    yes = answers(world, if_id=0.9, if_ood=0.1)     # (P,) what it would answer of each picture
    state = batch_build(world, order, yes, describe=0.5)
    verdict = judged(state, yes)                    # 100 more questions; final scores with the pictures' vote
    verdict.log_odds, verdict.text_log_odds, verdict.sample

A rule for the threshold needs `Verdict` and nothing else: scores of the history, which of it the judge was asked
about, what it answered, and (to measure it) the truth.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ants_engine.datasets.draw import counts
from ants_engine.method.masses import Cut, IdMass, bank_masses
from ants_engine.method.mining import mine_negative_images, similar_classes
from ants_engine.method.pool import Votes, bank_vote, log_masses
from ants_engine.method.scoring import adaptive_weight
from ants_engine.method.spread import EpsilonNet, farthest_first, share_to_describe
from ants_engine.method.verified import WORDS, VerifiedPictures, activated_texts, purity, with_pictures
from ants_engine.settings.config import MiningSettings, VsnlSettings
from benchmarks.verdicts.worlds import World

QUESTIONS, STRATA = 100, 10
"""What a judge is asked, spread over so many strata of equal count."""
TOP_STRATA = 0.7
"""Where the strata begin whose yes-rate says how often the judge confirms an ID picture."""
DESCRIBE_LEAST = 50
"""So many of the mined pictures are described, however small the share."""
JUDGE_SEED = 5
"""Of what a simulated judge gets wrong."""


def drawn(world: World, seed: int, prevalence: float) -> Tensor:
    """Return the rows (N,) of a stream in its order: the pictures and the order that `evaluation.draw` draws.

    Args:
        world: where from.
        seed: of the drawing and the order.
        prevalence: share of OOD pictures, in [0, 1).
    """
    total = len(world.features) - world.ids
    ids, oods = counts(world.ids, total, prevalence) if prevalence else (world.ids, 0)
    marked: list[tuple[bytes, int]] = []
    for name, first, available, wanted in (
        (world.id_name, 0, world.ids, ids),
        (world.ood_name, world.ids, total, oods),
    ):
        draws = [_digest(name, row, f"{seed} draw") for row in range(available)]
        rows = sorted(range(available), key=draws.__getitem__)[:wanted]
        marked += [(_digest(name, row, f"{seed} order"), first + row) for row in rows]
    return torch.tensor([row for _, row in sorted(marked)])


def answers(world: World, if_id: float, if_ood: float, seed: int = JUDGE_SEED) -> Tensor:
    """Return whether the MLLM answers yes, (P,) bool, of each picture, whenever it is asked.

    Args:
        world: whose pictures.
        if_id: share of ID pictures that it confirms (a).
        if_ood: share of OOD pictures that it wrongly confirms (b).
        seed: of which ones.
    """
    chance = torch.from_numpy(np.random.default_rng(seed).random(len(world.features)))
    return torch.where(world.is_id, chance < if_id, chance < if_ood)


@dataclass(frozen=True, eq=False)
class State:
    """What a detector knows after a history of pictures. All rows are those of the world's tensors."""

    world: World
    seen: Tensor
    """(N,) pictures of the history, in the stream's order."""
    mined: Tensor
    """(X,) negative images, lowest S_nl first."""
    described: Tensor
    """(Y,) those of them that the MLLM was asked about, in the order of asking."""
    sentences: Tensor
    """(B,) rows of ``world.sentences``, each once."""
    look_alikes: Tensor
    """(L,) rows of ``world.look_alikes``, each once."""
    words: Tensor | None = None
    """(W,) rows of ``world.lexicon`` that verified pictures activate, see `refined`; none by itself."""

    def votes(self, rows: Tensor) -> Votes:
        """Return the votes of the lexicon, the sentences and the look-alikes about pictures (n,)."""
        world = self.world
        scaled, id_mass = world.scaled[rows], self.id_mass(rows)

        def bank(texts: Tensor, kept: Tensor) -> Tensor | None:
            if not len(kept):
                return None
            cut = Cut(texts[kept], (len(kept),))
            return bank_vote(id_mass, log_masses(scaled, cut, id_mass.top), cut.sizes)

        return Votes(
            world.initial_vote[rows],
            bank(world.sentences, self.sentences),
            bank(world.look_alikes, self.look_alikes),
            None if self.words is None else bank(world.lexicon, self.words),
        )

    def bank_score(self, rows: Tensor, *texts: Tensor) -> Tensor:
        """Return the score (n,) of pictures against the given text features in one softmax."""
        together = torch.cat(texts)
        id_mass = self.id_mass(rows)
        masses, _ = bank_masses(self.world.scaled[rows], Cut(together, (len(together),)), id_mass.top)
        return id_mass.score(masses)

    def weight(self) -> float:
        """Return lambda (paper eq. 14); 0.5 where both banks are empty."""
        ens = self.bank_score(self.mined, self.world.sentences[self.sentences]) if len(self.sentences) else None
        vsnl = self.bank_score(self.mined, self.world.look_alikes[self.look_alikes]) if len(self.look_alikes) else None
        return 0.5 if ens is None and vsnl is None else adaptive_weight(ens, vsnl)

    def id_mass(self, rows: Tensor) -> IdMass:
        """Return the ID classes' part of the scores of pictures (n,)."""
        return IdMass(self.world.id_mass.top[rows], self.world.id_mass.mass[rows])


def batch_build(
    world: World, order: Tensor, yes: Tensor | None = None, describe: float = 1.0, least: int = DESCRIBE_LEAST
) -> State:
    """Return what a build on these pictures makes of them (paper sections 3.2 to 3.4).

    Args:
        world: whose pictures.
        order: (N,) rows.
        yes: (P,) bool, what verify-or-describe answers; None where every picture is described.
        describe: share of the mined pictures that is asked about, spread out farthest point first.
        least: so many are asked about, however small the share.
    """
    mined = described = _mined(world, order)
    if describe < 1.0:
        described = mined[farthest_first(world.features[mined], share_to_describe(len(mined), describe, least))]
    return _with_banks(world, order, mined, described, yes)


def stream(
    world: World, order: Tensor, yes: Tensor | None = None, describe: float = 1.0, least: int = DESCRIBE_LEAST
) -> Iterator[tuple[State, Tensor]]:
    """Yield the state after each batch of a stream, that batch included, and the batch's rows; see `batch_build`.

    A share of the mined pictures is chosen by an epsilon-net, once and for all when a picture is first mined.
    """
    net, decided = EpsilonNet(), dict[int, bool]()
    for start in range(0, len(order), world.batch):
        history = order[: start + world.batch]
        mined = described = _mined(world, history)
        if describe < 1.0:
            new = [row for row in mined.tolist() if row not in decided]
            net, taken = net.choose(world.features[new], share=describe, least=least, most=len(order))
            decided |= dict(zip(new, taken.tolist(), strict=True))
            described = mined[torch.tensor([decided[row] for row in mined.tolist()], dtype=torch.bool)]
        yield _with_banks(world, history, mined, described, yes), order[start : start + world.batch]


@dataclass(frozen=True, eq=False)
class Verdict:
    """The final scores of a history of N pictures, and what the judge said of some of them."""

    is_id: Tensor
    """(N,) bool: the truth, to measure with."""
    text_log_odds: Tensor
    """(N,) pooled log-odds of the text votes, higher = more ID."""
    log_odds: Tensor
    """(N,) the same with the pictures' vote: what a threshold is for."""
    sample: Tensor
    """(K,) places in the history that the judge was asked about, the same number in every stratum."""
    yes: Tensor
    """(K,) bool: what it answered of them."""
    questions: int
    """Pictures that the MLLM was asked about, mined and sampled ones together, each once."""
    state: State
    """What scores now: refined, if it was asked for."""
    pictures: VerifiedPictures
    purity: float
    """rho, the weight of the pictures' vote."""

    def score(self, rows: Tensor) -> Tensor:
        """Return the final log-odds (n,) of any pictures of the world, such as those that were not in the history."""
        text, features = self.state.votes(rows).log_odds(), self.state.world.features[rows]
        return with_pictures(text, self.pictures.vote(features, rows), self.purity)


def stratified_sample(log_odds: Tensor, rows: Tensor, questions: int = QUESTIONS, seed: int = 0) -> Tensor:
    """Return places (K,) in a history: from each of 10 strata of equal count those first by sha256 of seed and row."""
    ranked = torch.argsort(log_odds, stable=True).numpy()
    each = max(1, questions // STRATA)
    found: list[int] = []
    for stratum in np.array_split(ranked, STRATA):
        found += sorted(stratum.tolist(), key=lambda place: _digest_of(seed, int(rows[place])))[:each]
    return torch.tensor(found)


def refined(state: State, pictures: VerifiedPictures) -> State:
    """Return the state with the words that verified pictures activate, without the sentences that only ID ones do."""
    if not pictures.votes:
        return state
    world = state.world
    words = activated_texts(pictures, world.classes, world.lexicon, world.temperature, WORDS)
    sentences = state.sentences
    if len(sentences):
        kept = activated_texts(pictures, world.classes, world.sentences[sentences], world.temperature)
        sentences = sentences[kept] if len(kept) else sentences
    return replace(state, words=words, sentences=sentences)


def judged(state: State, yes: Tensor, questions: int = QUESTIONS, seed: int = 0, *, refine: bool = False) -> Verdict:
    """Ask the judge about a sample of the history, and score the history with the pictures' vote.

    Args:
        state: after a build with verify-or-describe.
        yes: (P,) bool, see `answers`.
        questions: size of the sample, the same number from each of 10 strata.
        seed: of the sample.
        refine: let the verified pictures tell the negative texts apart, too.
    """
    world, rows = state.world, state.seen
    text = state.votes(rows).log_odds()
    sample = stratified_sample(text, rows, questions, seed)
    asked = torch.unique(torch.cat([state.described, rows[sample]]))
    pictures = VerifiedPictures.of(world.features[asked], yes[asked], asked)
    rank = torch.empty_like(rows)
    rank[torch.argsort(text, stable=True)] = torch.arange(len(rows))
    top = sample[rank[sample] >= TOP_STRATA * len(rows)]
    rate = float(yes[rows[top]].float().mean())
    rho = purity(len(pictures.confirmed), len(pictures.others), rate)
    final = refined(state, pictures) if refine else state
    text_log_odds = final.votes(rows).log_odds() if refine else text
    return Verdict(
        is_id=world.is_id[rows],
        text_log_odds=text,
        log_odds=with_pictures(text_log_odds, pictures.vote(world.features[rows], rows), rho),
        sample=sample,
        yes=yes[rows[sample]],
        questions=len(asked),
        state=final,
        pictures=pictures,
        purity=rho,
    )


def _mined(world: World, history: Tensor) -> Tensor:
    """Return the negative images, lowest S_nl first."""
    mining = MiningSettings()
    return history[mine_negative_images(world.initial[history], mining.gamma, mining.eta).indices]


def _with_banks(world: World, history: Tensor, mined: Tensor, described: Tensor, yes: Tensor | None) -> State:
    said = world.said[described]
    if yes is not None:
        said = said[~yes[described]]
    vsnl, mean = VsnlSettings(), world.features[history].double().mean(dim=0)
    similar = similar_classes(world.classes, mean, vsnl.delta, vsnl.min_classes).tolist()
    alike = [label for row in similar for label in world.similar.get(row, ())]
    return State(world, history, mined, described, _each_once(said[said >= 0].tolist()), _each_once(alike))


def _each_once(rows: list[int]) -> Tensor:
    return torch.tensor(list(dict.fromkeys(rows)), dtype=torch.int64)


def _digest(name: str, row: int, salt: str) -> bytes:
    return hashlib.sha256(f"{salt}\n{name}\n{row}".encode()).digest()


def _digest_of(seed: int, row: int) -> bytes:
    return hashlib.sha256(f"{seed} {row}".encode()).digest()
