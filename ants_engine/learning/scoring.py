"""Scoring a batch of a stream; lambda and the threshold after the banks have changed (paper eq. 13, 14)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ants_engine.detector.detector import ROWS_AT_ONCE, ActivationRanking, Detector, EncodedBatch
from ants_engine.learning.state import AdaptationState, start_weight
from ants_engine.method.empirical_null import empirical_null
from ants_engine.method.judge import JudgedThreshold, judged_threshold
from ants_engine.method.scoring import (
    ActivationScore,
    activation_score,
    activation_threshold,
    adaptive_weight,
    balanced_weight,
)
from ants_engine.method.threshold import otsu_threshold
from ants_engine.method.verified import purity
from ants_engine.settings.config import THRESHOLD_SLACK, Settings

NEAR_REPEATS = 10
"""How often the public code repeats the look-alikes for its balanced score."""


def balance(detector: Detector, features: Tensor, initial: Tensor, negatives: Tensor, settings: Settings) -> Detector:
    """Find lambda and, where it is left to us, the threshold.

    Args:
        detector: with its banks.
        features: (N, D) of the history.
        initial: (N,) S_nl of the same pictures.
        negatives: (X, D) features of the negative images.
        settings: how.
    """
    looks = looks_at(detector, features, initial)
    weighed = replace(detector, weight=find_weight(detector, looks, negatives, settings)).recalibrated()
    return replace(weighed, threshold=find_threshold(weighed, looks, settings))


def find_weight(detector: Detector, looks: Sequence[EncodedBatch], negatives: Tensor, settings: Settings) -> float:
    """Return lambda: the fixed one, or what the pictures say.

    Args:
        detector: with its banks.
        looks: at the N pictures of the history.
        negatives: (X, D) features of the negative images.
        settings: how.
    """
    both = settings.scoring.in_score in ("ada", "union")
    if both and settings.scoring.weight == "adaptive":
        return _adaptive(detector, negatives)
    count = sum(len(look.predicted) for look in looks)
    if both and settings.scoring.weight == "balanced" and count:
        far, near = balanced_sums(detector, looks)
        return balanced_weight(far / count, near / count)
    return start_weight(settings)


def find_threshold(
    detector: Detector,
    looks: Sequence[EncodedBatch],
    settings: Settings,
    columns: Sequence[Mapping[str, Tensor]] | None = None,
) -> float:
    """Return the threshold where no judge finds it: the fixed one, or what parts the scores of N pictures.

    Args:
        detector: with its banks and lambda.
        looks: at the pictures.
        settings: how.
        columns: what the detector gives of them, where that is known already.
    """
    threshold = settings.scoring.threshold
    if not isinstance(threshold, str):
        return threshold
    if threshold == "calibrated" or not looks:
        # what `recalibrated` has found
        return detector.threshold
    parts = [detector.columns(look) for look in looks] if columns is None else columns
    scores = torch.cat([detector.id_scores(part) for part in parts])
    return otsu_threshold(scores) if threshold in ("auto", "otsu") else null_threshold(scores, settings)


def null_threshold(scores: Tensor, settings: Settings) -> float:
    """Return the threshold of the empirical null for ``id_score`` (N,), found on their log-odds."""
    found = empirical_null(_logits(scores), settings.threshold.false_alarms)
    return float(torch.sigmoid(torch.tensor(found.threshold)))


def _logits(scores: Tensor) -> Tensor:
    """Return the log-odds (N,) float64 of scores (N,); those of 0 and 1, which float32 rounds to, are finite."""
    values = scores.double().clamp(1e-12, 1.0 - 2.0**-25)
    return values.log() - torch.log1p(-values)


def find_judged(state: AdaptationState, settings: Settings) -> tuple[AdaptationState, JudgedThreshold | None]:
    """Find the pictures' vote and the threshold of a pool; the state has banks, history and answers.

    Returns:
        The state with them, and what the judge's threshold is worth; None where the settings ask for no judge.
    """
    bare, asked = replace(state.detector, verified=None, purity=0.0), state.asked
    features, initial, votes = (rows.tensor() for rows in (state.recent, state.recent_initial, state.recent_votes))
    looks = looks_at(bare, features, initial, votes)
    columns = [bare.columns(look) for look in looks]
    # S_nl of the pictures asked about matters to no score of a pool that has a bank
    said = looks_at(bare, asked.features.tensor(), torch.sigmoid(asked.votes.tensor()), asked.votes.tensor())
    said_columns = [bare.columns(look) for look in said]
    answers, sampled = (rows.tensor() > 0.5 for rows in (asked.answers, asked.sampled))

    def judged(detector: Detector) -> JudgedThreshold:
        history = torch.cat([detector.id_scores(part) for part in columns])
        scores = torch.cat([asked.votes.empty, *(detector.id_scores(part) for part in said_columns)])
        return judged_threshold(
            history,
            scores,
            answers.tolist(),
            sampled=sampled.tolist(),
            false_alarms=settings.threshold.false_alarms,
            false_yes=settings.threshold.judge_false_yes,
        )

    detector, wanted = bare, settings.scoring.threshold == "judge"
    found = judged(bare) if columns and (len(asked) or wanted) else None
    if found is not None and found.threshold is not None:
        verified = asked.verified()
        rate = 0.0 if found.true_yes is None else found.true_yes.value
        weight = purity(len(verified.confirmed), len(verified.others), rate)
        if verified.votes and weight > 0.0:
            detector = replace(bare, verified=verified, purity=weight)
            columns = [part | detector.pictures_vote(look) for part, look in zip(columns, looks, strict=True)]
            said_columns = [part | detector.pictures_vote(look) for part, look in zip(said_columns, said, strict=True)]
            found = judged(detector) if wanted else None
    # without a threshold it cannot judge: then most of what it did not confirm is ID, and has no vote either
    found = found if wanted else None
    detector = detector.recalibrated()
    if found is not None and found.threshold is not None:
        threshold = min(found.threshold, 1.0 + THRESHOLD_SLACK)
    else:
        threshold = find_threshold(detector, looks, settings, columns)
    return replace(state, detector=replace(detector, threshold=threshold)), found


def balanced_sums(detector: Detector, looks: Sequence[EncodedBatch]) -> tuple[float, float]:
    """Return the sums over N pictures of the public code's two scores for lambda."""
    sums = [balanced_scores(detector, look) for look in looks]
    far, near = (sum(float(pair[side].double().sum()) for pair in sums) for side in (0, 1))
    return far, near


def balanced_scores(detector: Detector, look: EncodedBatch) -> tuple[Tensor, Tensor]:
    """Return the public code's two scores (N,) for lambda; a bank that is empty counts with S_nl.

    ENS in groups as long as there are ID classes; VSNL the same, repeated ten times before it is cut.
    """
    return ens_scores(detector, look)[1], vsnl_scores(detector, look)[1]


def ens_scores(detector: Detector, look: EncodedBatch) -> tuple[Tensor, Tensor]:
    """Return S_ens and its balanced score, each (N,), without regard to activation."""
    if not len(detector.ens):
        return look.initial, look.initial
    return detector.bank_scores(look, detector.ens, len(detector.classes), 1)


def vsnl_scores(detector: Detector, look: EncodedBatch) -> tuple[Tensor, Tensor]:
    """Return S_vsnl and its balanced score, each (N,)."""
    if not len(detector.vsnl):
        return look.initial, look.initial
    return detector.bank_scores(look, detector.vsnl, len(detector.classes), NEAR_REPEATS)


def _adaptive(detector: Detector, negatives: Tensor) -> float:
    if not len(detector.ens) and not len(detector.vsnl):
        return 0.5
    # where both banks are weighed over no picture at all, S_nl of them does not matter either
    looks = looks_at(detector, negatives, torch.zeros(len(negatives)))
    ens = [detector.ens_score(look) for look in looks] if len(detector.ens) else None
    vsnl = [detector.vsnl_score(look) for look in looks] if len(detector.vsnl) else None
    return adaptive_weight(
        None if ens is None else torch.cat([negatives.new_empty(0), *ens]),
        None if vsnl is None else torch.cat([negatives.new_empty(0), *vsnl]),
    )


def looks_at(detector: Detector, features: Tensor, initial: Tensor, votes: Tensor | None = None) -> list[EncodedBatch]:
    """Look again at the (N, D) features of a history piece by piece; S_nl, and in a pool z_L, are known, each (N,)."""
    pieces = [slice(start, start + ROWS_AT_ONCE) for start in range(0, len(features), ROWS_AT_ONCE)]
    known = votes if votes is not None and len(votes) == len(features) else None
    return [
        detector.relook(features[piece], initial[piece], None if known is None else known[piece]) for piece in pieces
    ]


def remember(state: AdaptationState, look: EncodedBatch) -> AdaptationState:
    """Keep the latest pictures' features, initial scores and, in a pool, the lexicon's votes."""
    votes = state.recent_votes
    # those of an earlier pool would not be of the same pictures
    votes = replace(votes, chunks=()) if look.lexicon_vote is None else votes.append(look.lexicon_vote)
    return replace(
        state,
        recent=state.recent.append(look.features),
        recent_initial=state.recent_initial.append(look.initial),
        recent_votes=votes,
    )


def settle(state: AdaptationState, settings: Settings, *, complete: bool = False) -> AdaptationState:
    """Find lambda and the threshold anew, after a bank has changed (paper eq. 13, 14); of a pool see `find_judged`.

    Args:
        state: with its banks.
        settings: how.
        complete: these are all the pictures there are. Without it a batch will follow, and what follows every batch
            is left to `score_batch`: the ranking by activation, and the public code's lambda with its threshold.
    """
    features, initial = state.recent.tensor(), state.recent_initial.tensor()
    detector = state.detector
    if complete:
        detector = ranked_by_activation(detector, features, initial, settings)
    elif settings.scoring.weight == "balanced":
        return state
    return replace(state, detector=balance(detector, features, initial, state.negatives, settings))


def score_batch(
    state: AdaptationState, look: EncodedBatch, settings: Settings
) -> tuple[AdaptationState, dict[str, Tensor]]:
    """Score a batch; return the state with what it has learned of it, and the columns of `Detector.score_columns`."""
    if settings.scoring.in_score == "pool":
        columns = state.detector.columns(look)
        scores = state.detector.id_scores(columns)
        return replace(state, recent_scores=state.recent_scores.append(scores)), columns
    balanced = settings.scoring.weight == "balanced" and settings.scoring.in_score in ("ada", "union")
    bare = replace(state.detector, activation=None)
    if balanced:
        # the balanced scores come out of the same products
        (ens_score, far), (vsnl_score, near) = ens_scores(bare, look), vsnl_scores(bare, look)
    else:
        ens_score, vsnl_score = bare.ens_score(look), bare.vsnl_score(look)
    columns = {
        "predicted": look.predicted,
        "neglabel_score": look.initial,
        "ens_score": ens_score,
        "vsnl_score": vsnl_score,
    }
    if not len(look.predicted):
        return state, columns
    if settings.scoring.activation.enabled and len(state.detector.ens):
        state, columns["ens_score"] = _activated(state, look, columns["ens_score"], settings)
    detector = state.detector
    if balanced:
        state = _balanced(state, far, near)
        detector = replace(
            detector, weight=balanced_weight(state.far_sum / state.balanced, state.near_sum / state.balanced)
        )
    scores = detector.fuse(columns["ens_score"], columns["vsnl_score"])
    state = replace(state, recent_scores=state.recent_scores.append(scores))
    if settings.scoring.threshold in ("auto", "otsu") and settings.scoring.weight == "balanced":
        detector = replace(detector, threshold=otsu_threshold(state.recent_scores.tensor()))
    return replace(state, detector=detector), columns


def ranked_by_activation(detector: Detector, features: Tensor, initial: Tensor, settings: Settings) -> Detector:
    """Rank the sentences by the latest pictures of a history, where the settings ask for it (TANL).

    Args:
        detector: with its banks, and no ranking.
        features: (N, D) of the history.
        initial: (N,) S_nl of the same pictures.
        settings: whether and how.
    """
    activation = settings.scoring.activation
    if not activation.enabled or not len(features) or not len(detector.ens):
        return detector
    keep = activation.queue_size
    past = torch.cat([detector.ens_score(look) for look in looks_at(detector, features[-keep:], initial[-keep:])])
    look = detector.relook(features[-ROWS_AT_ONCE:], initial[-ROWS_AT_ONCE:])
    found = _activation(detector, look, detector.ens_score(look), past, settings)
    if found.order is None:
        return detector
    return replace(detector, activation=ActivationRanking(found.order, activation.step))


def _activated(
    state: AdaptationState, look: EncodedBatch, ens_score: Tensor, settings: Settings
) -> tuple[AdaptationState, Tensor]:
    """Score with the sentences that this batch tells apart best (TANL); keep their ranking for frozen scoring."""
    queue = state.activation_scores.append(ens_score)
    found = _activation(state.detector, look, ens_score, queue.tensor(), settings)
    state = replace(state, activation_scores=queue)
    if found.score is None or found.order is None:
        return state, ens_score
    ranking = ActivationRanking(found.order, settings.scoring.activation.step)
    return replace(state, detector=replace(state.detector, activation=ranking)), found.score


def _activation(
    detector: Detector, look: EncodedBatch, ens_score: Tensor, past: Tensor, settings: Settings
) -> ActivationScore:
    activation = settings.scoring.activation
    return activation_score(
        look.id_logits,
        detector.bank_logits(look, detector.ens),
        ens_score,
        threshold=activation_threshold(past[-activation.queue_size :]),
        gap=activation.gap,
        max_negatives=activation.negative_count,
        step=activation.step,
    )


def _balanced(state: AdaptationState, far: Tensor, near: Tensor) -> AdaptationState:
    return replace(
        state,
        far_sum=state.far_sum + float(far.sum(dtype=torch.float64)),
        near_sum=state.near_sum + float(near.sum(dtype=torch.float64)),
        balanced=state.balanced + len(far),
    )
