"""What a section lacks, in one sentence, with the command that would give it."""

import shlex

from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.report.document import Comparison, Requests
from ants_engine.report.seen import Seen
from ants_engine.report.truth import Truth


def missing_of(
    saved: SavedDetector,
    seen: Seen | None,
    truth: Truth | None,
    comparison: Comparison | None,
    requests: Requests | None,
    name: str,
    *,
    given: bool,
) -> dict[str, str]:
    """Return section → sentence, for every section that is not whole.

    Args:
        saved: the detector.
        seen: its pictures.
        truth: their labels.
        comparison: what could be measured with them.
        requests: what a run says.
        name: how commands call the detector.
        given: the pictures were given, and are not those that the detector has kept.
    """
    quoted = shlex.quote(name)
    found: dict[str, str] = {}
    if seen is None:
        found["pictures"] = f"No pictures: ants report {quoted} my_pictures/ scores and shows them."
    elif not given:
        found["thumbnails"] = (
            "These are the latest pictures that the detector has seen, by their features; a detector folder holds no "
            f"pictures. To see them: ants report {quoted} my_pictures/"
        )
    elif not any(seen.refs):
        found["thumbnails"] = "Only features were given, so there are no pictures to show."
    if truth is None:
        found["labels"] = (
            f"No labels, so nothing can be called right or wrong: ants report {quoted} my_pictures/ --labels "
            "labels.csv (picture,class a line; an empty class is an unknown picture), or --labels FOLDER with id/, "
            "near/ and far/."
        )
    elif comparison is None:
        found["labels"] = "The labels name no ID picture, or no unknown one: rates need both."
    if not len(saved.state.detector.ens) and not len(saved.state.detector.vsnl):
        found["texts"] = (
            f"The detector has no sentence and no look-alike yet: ants stream {quoted} my_pictures/ lets it learn."
        )
    if not saved.report.batches:
        found["batches"] = (
            "No stream has gone through this detector (one build learns from all pictures at once): ants stream "
            f"{quoted} more_pictures/ adapts batch by batch, and is kept."
        )
    elif not any(one.calls for one in saved.report.batches):
        found["latency"] = (
            "Every answer came from the response store, so no call has a latency; a stream of other pictures asks anew."
        )
    if requests is not None and not requests.seconds:
        found["answers"] = "The MLLM itself answered nothing in this run, so there is no latency and no rate to show."
    if requests is None:
        found["requests"] = f"No run was named: ants report {quoted} --run RUN; ants run list names the runs."
    return found
