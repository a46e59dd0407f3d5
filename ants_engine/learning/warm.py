"""The state that a stream goes on from after a build: the build's pictures are its history."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ants_engine.detector.detector import Detector
from ants_engine.learning.candidates import Candidate, Caption
from ants_engine.learning.history import History
from ants_engine.learning.negative_texts import read_labels, read_sentence
from ants_engine.learning.policy import count_classes
from ants_engine.learning.state import AdaptationState
from ants_engine.method.answer import Rejection
from ants_engine.method.class_names import ClassNames
from ants_engine.settings.config import Settings


def warm_state(
    detector: Detector,
    history: History,
    members: Sequence[int],
    captions: Mapping[int, str | None],
    similar: Mapping[int, str | None],
    settings: Settings,
    fits: Callable[[str], bool],
) -> AdaptationState:
    """Return the state as if the history had been streamed.

    Args:
        detector: finished.
        history: N pictures.
        members: rows of the negative images, lowest score first.
        captions: row → what the MLLM said of the picture, None where it failed.
        similar: class → what it said of the class.
        settings: bounds and readers.
        fits: whether CLIP's text context holds a text.
    """
    names = ClassNames(detector.classes.names)
    features, scores = history.features(), history.scores()
    state = count_classes(AdaptationState.cold(detector, settings), detector.relook(features, scores))
    low = [row for row, score in enumerate(scores.double().tolist()) if score < settings.mining.gamma]
    # what has left the history is forgotten, as in a stream: the banks hold its texts, and nothing asks for it again
    kept = set(low[-state.candidates.scores.limit :])
    left = [row for row in members if row in kept]
    found = [Candidate(row, history.names[row], history.predicted[row], history.refs[row]) for row in low]
    read: dict[int, Caption] = {}
    for row, raw in ((row, raw) for row, raw in captions.items() if row in kept):
        sentence = None if raw is None else read_sentence(raw, names, settings.ens, fits)
        read[row] = Caption(None if isinstance(sentence, Rejection) else sentence, history.names[row])
    labels = {
        index: () if raw is None else read_labels(raw, detector.classes.names[index], names, settings.vsnl).labels
        for index, raw in similar.items()
    }
    return replace(
        state,
        detector=detector,
        recent=state.recent.append(features),
        recent_initial=state.recent_initial.append(scores),
        candidates=state.candidates.append(found, scores[low], features[low]).described(read),
        negatives=features[left],
        pictures=len(history) + len(history.failures),
        members=tuple(left),
        captions=read,
        ens_updates=1 if captions else 0,
        held=tuple(similar),
        labels=labels,
    )
