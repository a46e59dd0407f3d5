"""A saved state under changed settings: frozen scoring and streams then do what a detector made with them would.

Banks stay as they are. What is worked out from features (S_nl, lambda, the threshold, the ranking by activation) is
worked out anew from what the state has kept: the latest ``stream.history`` pictures, and the negative images.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ants_engine.detector.detector import ROWS_AT_ONCE, Detector, EncodedBatch
from ants_engine.errors import DetectorFolderError, SettingError
from ants_engine.learning.detector_folder import SavedDetector, load_detector
from ants_engine.learning.initial_detector import fusion_of, group_count, in_group_order, in_own_order
from ants_engine.learning.report import BuildReport
from ants_engine.learning.scoring import (
    balanced_sums,
    find_judged,
    find_threshold,
    find_weight,
    looks_at,
    ranked_by_activation,
)
from ants_engine.learning.state import AdaptationState, Rows
from ants_engine.method.mining import adaptive_threshold
from ants_engine.settings.config import Settings
from ants_engine.settings.uses import Use, check_changes, use_of

_INITIAL = ("temperature", "groups", "group_length", "grouping", "permute", "seed")
"""Parts of a detector that S_nl depends on."""


def with_changed_settings(
    state: AdaptationState,
    before: Settings,
    after: Settings,
    logit_scale: Callable[[], float],
    *,
    given: bool = True,
) -> AdaptationState:
    """Return the state as it is under other settings.

    Args:
        state: made, or saved, with ``before``.
        before: its settings.
        after: those that it is to have.
        logit_scale: 1 / temperature of its CLIP; called only where the settings leave the temperature to it.
        given: a person asked for each change; one that would do nothing is then refused.

    Raises:
        SettingError: a change cannot take effect without building again.
    """
    untaught = _untaught(state)
    changed = check_changes(before, after, untaught=untaught, given=given)
    if not changed:
        return state
    detector = _with_scoring(state.detector, changed, after, logit_scale)
    if after.scoring.threshold == "calibrated" and detector.calibration is None:
        raise SettingError("scoring.threshold = 'calibrated': this detector was not; calibrate it (ants calibrate)")
    if untaught:
        return AdaptationState.cold(detector, after)
    state = state.resized(after)
    if "mining.gamma" in changed:
        state = replace(state, gamma=after.mining.gamma)
    scoring = [key for key in changed if use_of(key).use is Use.SCORING]
    return _settled(state, detector, scoring, changed, after) if scoring else state


def load_fork(
    folder: Path, ours: SavedDetector, logit_scale: Callable[[], float]
) -> tuple[AdaptationState, BuildReport]:
    """Return what a stream of another fork has learned and saved, under the settings of this detector.

    Raises:
        DetectorFolderError: the folder cannot be used, or is of another CLIP, of other classes, or built with other
            settings than this detector.
    """
    saved = load_detector(folder)
    theirs = saved.state.detector
    if theirs.classes != ours.state.detector.classes:
        raise DetectorFolderError(f"{folder}: of a detector with other classes")
    if theirs.clip_identity.get("sha256") != ours.state.detector.clip_identity.get("sha256"):
        raise DetectorFolderError(f"{folder}: of a detector with another CLIP")
    try:
        state = with_changed_settings(saved.state, saved.settings, ours.settings, logit_scale, given=False)
    except SettingError as error:
        raise DetectorFolderError(f"{folder}: of a detector with other settings: {error}") from None
    return state, saved.report


def _untaught(state: AdaptationState) -> bool:
    detector = state.detector
    started_full = detector.ens.texts == detector.initial.texts
    return not state.pictures and not len(detector.vsnl) and (started_full or not len(detector.ens))


def _with_scoring(
    detector: Detector, changed: Sequence[str], settings: Settings, logit_scale: Callable[[], float]
) -> Detector:
    """Change what says how features become scores."""
    scoring, neglabel = settings.scoring, settings.neglabel
    if "scoring.temperature" in changed:
        temperature = 1.0 / logit_scale() if scoring.temperature == "auto" else scoring.temperature
        detector = replace(detector, temperature=temperature)
    if "scoring.in_score" in changed:
        detector = replace(detector, fusion=fusion_of(scoring.in_score))
    if "scoring.group_length" in changed:
        detector = replace(detector, group_length=scoring.group_length)
    if "scoring.random_permute" in changed:
        detector = replace(detector, permute=scoring.random_permute)
    if {"seed", "neglabel.grouping"} & set(changed):
        # the bank is stored in the order of its groups
        own = in_own_order(detector.initial, detector.grouping, detector.seed)
        initial = in_group_order(own, settings)
        detector = replace(detector, initial=initial, seed=settings.seed, grouping=neglabel.grouping)
    if {"neglabel.groups", "neglabel.min_group_length", "neglabel.grouping"} & set(changed):
        detector = replace(detector, groups=group_count(len(detector.initial), settings))
    return detector


def _settled(
    state: AdaptationState, detector: Detector, scoring: Sequence[str], changed: Sequence[str], settings: Settings
) -> AdaptationState:
    """Work out what follows from a changed detector."""
    number = settings.scoring.threshold
    if scoring == ["scoring.threshold"] and not isinstance(number, str):
        return replace(state, detector=replace(detector, threshold=number))
    recent = state.recent.tensor()
    if not len(recent):
        _refuse_without_history(settings)
    pooled = detector.fusion == "pool" and len(state.recent_votes) != len(recent)
    if pooled or any(getattr(detector, name) != getattr(state.detector, name) for name in _INITIAL):
        state = _with_initial_scores(state, detector, "mining.gamma" in changed, settings)
    looks = looks_at(detector, recent, state.recent_initial.tensor(), state.recent_votes.tensor())
    if detector.fusion == "pool":
        state, _ = find_judged(replace(state, detector=replace(detector, activation=None)), settings)
        return _with_recent_scores(state, state.detector, looks)
    if scoring != ["scoring.threshold"]:
        # lambda does not hang on the threshold
        detector = replace(detector, activation=None)
        state = _with_past_scores(state, detector, looks)
        detector = ranked_by_activation(detector, recent, state.recent_initial.tensor(), settings)
        detector = replace(detector, weight=find_weight(detector, looks, state.negatives, settings))
        state = _with_recent_scores(state, detector, looks)
    detector = detector.recalibrated()
    return replace(state, detector=replace(detector, threshold=find_threshold(detector, looks, settings)))


def _with_initial_scores(
    state: AdaptationState, detector: Detector, gamma_given: bool, settings: Settings
) -> AdaptationState:
    """Score what is kept of earlier pictures anew against the initial negatives."""
    recent, votes = _initial_scores(detector, state.recent.tensor())
    candidates, asked = state.candidates, state.asked
    scores = _refilled(candidates.scores, _initial_scores(detector, candidates.features.tensor())[0])
    asked_votes = _refilled(asked.votes, _initial_scores(detector, asked.features.tensor())[1])
    state = replace(
        state,
        recent_initial=_refilled(state.recent_initial, recent),
        recent_votes=_refilled(state.recent_votes, votes),
        candidates=replace(candidates, scores=scores),
        asked=replace(asked, votes=asked_votes) if len(votes) else asked,
    )
    if not len(state.past_scores):
        return state
    # of pictures further back only the scores were kept
    state = replace(state, past_scores=_refilled(state.past_scores, recent))
    if gamma_given or not state.ens_updates:
        return state
    return replace(state, gamma=adaptive_threshold(recent, settings.mining.eta).threshold)


def _with_past_scores(state: AdaptationState, detector: Detector, looks: Sequence[EncodedBatch]) -> AdaptationState:
    """Score what is kept of earlier pictures anew against the sentences, where a stream goes on from that."""
    if len(state.activation_scores):
        ens = torch.cat([detector.ens_score(look) for look in looks])
        state = replace(state, activation_scores=_refilled(state.activation_scores, ens))
    if state.balanced:
        far, near = balanced_sums(detector, looks)
        count = sum(len(look.predicted) for look in looks)
        state = replace(state, far_sum=far, near_sum=near, balanced=count)
    return state


def _with_recent_scores(state: AdaptationState, detector: Detector, looks: Sequence[EncodedBatch]) -> AdaptationState:
    count = len(state.recent_scores)
    if not count:
        return state
    scores = torch.cat([detector.id_scores(detector.columns(look)) for look in looks])
    return replace(state, recent_scores=_refilled(state.recent_scores, scores[-count:]))


def _refuse_without_history(settings: Settings) -> None:
    scoring = settings.scoring
    open_ones = ["scoring.threshold"] if isinstance(scoring.threshold, str) else []
    open_ones += ["scoring.weight"] if scoring.in_score == "ada" and isinstance(scoring.weight, str) else []
    if open_ones:
        raise SettingError(
            f"this detector was saved without the features of its pictures, so {' and '.join(open_ones)} cannot be "
            "found anew: give numbers for them too, or build again"
        )


def _refilled(rows: Rows, values: Tensor) -> Rows:
    return replace(rows, chunks=()).append(values)


def _initial_scores(detector: Detector, features: Tensor) -> tuple[Tensor, Tensor]:
    """Return S_nl (N,) and, in a pool, the lexicon's votes (N,), else none."""
    looks = [detector.look(features[start : start + ROWS_AT_ONCE]) for start in range(0, len(features), ROWS_AT_ONCE)]
    none = torch.empty(0)
    votes = [look.lexicon_vote for look in looks if look.lexicon_vote is not None]
    return torch.cat([none, *(look.initial for look in looks)]), torch.cat([none, *votes])
