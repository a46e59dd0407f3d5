import json
from typing import Any

import numpy as np
import torch

from ants_engine.clip.image_ref import file_ref
from ants_engine.common.progress import ProgressEvent
from ants_engine.detector.scores import Scores
from ants_engine.dispatch.limits.budget import Spent
from ants_engine.dispatch.request import Outcome
from ants_engine.dispatch.throughput_monitor import Counts, Pulse
from ants_engine.errors import ImageUnreadableError
from ants_engine.learning.report import BatchRecord
from ants_engine.learning.run_observer import AnsweredQuestion, FirstLook, RunStart, ScoredBatch
from ants_engine.protocol import Answer
from ants_engine.report.live_state import LONGEST, REST, SHOWN, Histogram, LiveState, Series
from ants_engine.settings.config import Settings
from tests.unit.dispatch.fakes import make_request


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def begun(kind: Any = "build", total: int | None = 100) -> tuple[LiveState, Clock]:
    clock = Clock()
    state = LiveState("Test", clock)
    state.began(RunStart(kind, ("cat", "dog"), total, Settings(), 0.5))
    return state, clock


def look(scores: list[float], start: int = 0, failures: int = 0) -> FirstLook:
    names = tuple(f"p{row}.png" for row in range(start, start + len(scores)))
    return FirstLook(
        names=names,
        refs=tuple(file_ref(row, name) for row, name in enumerate(names, start)),
        features=torch.zeros(len(scores), 4),
        neglabel_score=torch.tensor(scores),
        predicted=torch.zeros(len(scores), dtype=torch.int64),
        gamma=0.5,
        failures=tuple(ImageUnreadableError("bad", "x") for _ in range(failures)),
    )


def said(name: str, text: str, task: Any = "ens") -> AnsweredQuestion:
    outcome = Outcome(make_request(), Answer(text), None, "backend", 1, 0.1)
    return AnsweredQuestion(task, name, "cat", file_ref(0, name) if task == "ens" else None, outcome)


def pulse(**given: Any) -> Pulse:
    values = {"limit": 8, "slots": 16, "per_second": 2.0, "first_answer": 1.0, "quiet": 0.0, "oldest": 0.0}
    return Pulse(**values | {"stuck": False, "holding": None, "holding_seconds": 0.0, "spent": Spent()} | given)


def sections(state: LiveState, version: int = 0) -> dict[str, Any]:
    _, text = state.since(version)
    found: dict[str, Any] = {} if text is None else json.loads(text)
    return found


def facts(state: LiveState) -> dict[str, str]:
    return {fact["name"]: fact["value"] for fact in sections(state)["now"]["facts"]}


def test_a_reader_gets_all_at_first_then_what_has_changed_and_all_after_an_unknown_version() -> None:
    state, clock = begun()
    first, text = state.since(0)
    assert text is not None
    assert set(json.loads(text)) == {"run", "now"}
    assert state.since(first) == (first, None)
    clock.now += REST
    state.looked(look([0.1, 0.9], failures=1))
    second, text = state.since(first)
    assert second > first
    assert text is not None
    assert set(json.loads(text)) == {"now", "scores", "pictures"}
    assert set(sections(state, second + 1000)) == {"run", "now", "scores", "pictures"}
    assert facts(state) == {"Pictures": "3", "Look unknown": "1", "Sentences": "0", "Look-alikes": "0"}


def test_the_gallery_is_bounded_newest_first_and_comes_no_more_often_than_it_may() -> None:
    state, clock = begun()
    clock.now += REST
    state.looked(look([0.1] * 50))
    version, _ = state.since(0)
    state.answered(said("p3.png", "a tram,\n of a kind  " + "x" * 1000))
    assert "pictures" not in sections(state, version), "not yet"
    clock.now += REST
    shown = sections(state, version)["pictures"]
    assert len(shown) == SHOWN
    assert [one["name"] for one in shown[:2]] == ["p3.png", "p49.png"]
    assert shown[0]["said"].startswith("a tram, of a kind xxx")
    assert len(shown[0]["said"]) == LONGEST
    assert shown[0]["score"] == 0.1, "remembered, though the picture had left the gallery"


def test_a_thumbnail_is_sent_once_and_forgotten_with_its_picture() -> None:
    state, clock = begun()
    clock.now += REST
    state.looked(look([0.1, 0.2]))
    picture = state.without_thumbnail()
    assert picture is not None
    assert picture.name == "p1.png"
    before, _ = state.since(0)
    state.illustrate(picture, "data:x")
    name = f"thumbnail/{picture.number}"
    assert sections(state, before) == {name: "data:x"}
    other = state.without_thumbnail()
    assert other is not None
    state.illustrate(other, None)
    assert state.without_thumbnail() is None
    state.looked(look([0.1] * SHOWN, start=2))
    late = state.without_thumbnail()
    assert late is not None
    state.illustrate(late, "data:y")
    assert name not in sections(state), "the picture has left the gallery"


def test_a_thumbnail_never_comes_before_its_picture() -> None:
    state, clock = begun()
    clock.now += REST
    state.looked(look([0.1]))
    version, _ = state.since(0)
    state.looked(look([0.1], start=1))
    picture = state.without_thumbnail()
    assert picture is not None
    assert picture.name == "p1.png"
    state.illustrate(picture, "data:x")
    thumbnail = f"thumbnail/{picture.number}"
    assert not {"pictures", thumbnail} & set(sections(state, version)), "not yet"
    clock.now += REST
    assert {"pictures", thumbnail} <= set(sections(state, version))


def test_a_picture_that_something_new_is_said_of_keeps_the_thumbnail_that_was_under_way() -> None:
    state, _ = begun()
    state.looked(look([0.1]))
    picture = state.without_thumbnail()
    assert picture is not None
    state.answered(said("p0.png", "a tram"))
    state.illustrate(picture, "data:x")
    assert state.without_thumbnail() is None
    state.end("done")
    assert sections(state)[f"thumbnail/{picture.number}"] == "data:x"


def test_what_comes_after_the_end_is_not_held_back() -> None:
    state, clock = begun()
    clock.now += REST
    state.looked(look([0.1]))
    version, _ = state.since(0)
    state.end("done")
    picture = state.without_thumbnail()
    assert picture is not None
    state.illustrate(picture, "data:x")
    assert sections(state, version)[f"thumbnail/{picture.number}"] == "data:x"


def test_control_characters_of_a_name_or_an_answer_are_spelled_out_and_it_is_one_line() -> None:
    state, clock = begun()
    state.answered(said("x", "1. \x1b[2J\u2028wolf\n2. fox", task="vsnl"))
    state.answered(said("a\nb\u202e.png", "<script>"))
    clock.now += REST
    _, text = state.since(0)
    assert text is not None
    assert len(text.splitlines()) == 1
    found = json.loads(text)
    assert found["words"] == [{"class": "cat", "said": "1. \\x1b[2J wolf 2. fox"}]
    assert found["pictures"][0]["name"] == "a\\nb\\u202e.png"
    assert found["pictures"][0]["said"] == "<script>"


def test_what_it_waits_for_and_how_long_still() -> None:
    state, _ = begun()
    state.progressed(ProgressEvent("captions", 0, 10))
    counts = Counts(asked=9, answered=2, in_flight=4, retrying=1)
    state.stands(counts, pulse(spent=Spent(3, 100, 20, 0.5)))
    now = sections(state)["now"]
    assert now["waits"] == "4 with the MLLM, 2 waiting their turn, 1 waiting to be tried again"
    assert facts(state)["With the MLLM"] == "4"
    assert facts(state)["Tokens"] == "120"
    assert facts(state)["Cost"] == "–", "no prices are set"
    state.stands(counts, pulse(holding="the server", holding_seconds=12.0))
    now = sections(state)["now"]
    assert now["waits"].startswith("held by the server for 12 s")
    assert now["left"] is None, "nobody knows, while nothing moves"


def test_how_long_still_comes_from_how_fast_it_went() -> None:
    state, _ = begun()
    for done in range(5):
        state.progressed(ProgressEvent("pictures", done, 1_000_000))
    left = sections(state)["now"]["left"]
    assert left is not None
    assert left > 0
    state.progressed(ProgressEvent("pictures", 1_000_000, 1_000_000))
    assert sections(state)["now"]["left"] is None


def test_a_stream_shows_verdicts_and_batches() -> None:
    state, clock = begun("stream", None)
    state.answered(said("b", "a tram"))
    scores = Scores(
        id_score=np.array([0.9, 0.1, np.nan], dtype=np.float32),
        predicted=np.array([0, 1, -1]),
        ens_score=np.array([0.9, 0.1, np.nan]),
        vsnl_score=np.array([0.9, 0.1, np.nan]),
        neglabel_score=np.array([0.9, 0.1, np.nan]),
        weight=0.25,
        threshold=0.5,
        class_names=("cat", "dog"),
        names=["a", "b", "c"],
        failures={2: ImageUnreadableError("c", "x")},
    )
    record = BatchRecord(1, 3, 1, 0.5, 0.25, float("inf"), 4, 5, 1, 0, 0.1)
    state.scored(ScoredBatch(scores, (file_ref(0, "a"), file_ref(1, "b"), None), record))
    clock.now += REST
    found = sections(state)
    assert [(one["name"], one["nearest"], one["said"]) for one in found["pictures"]] == [("b", "dog", "a tram")]
    assert found["batches"][0]["ens_texts"] == 4
    assert found["batches"][0]["gamma"] is None, "JSON has no infinity"
    assert sum(found["scores"]["id_score"]["counts"]) == 2
    assert facts(state)["Called unknown"] == "1"
    assert facts(state)["Lambda"] == "0.25"


def test_the_first_ending_counts() -> None:
    state, _ = begun()
    state.looked(look([0.1]))
    state.end("done", ["saved"])
    state.end("failed")
    assert sections(state)["end"] == {"ending": "done", "lines": ["saved"]}
    assert "pictures" in sections(state), "nothing is held back after the end"


def test_a_series_stays_small_even_and_current() -> None:
    series: Series[int] = Series(10)
    for point in range(1003):
        series.add(point)
        assert series.points()[-1] == point
        assert len(series.points()) <= 11
    points = series.points()
    assert points[0] == 0
    assert len(points) > 5
    steps = np.diff(points[:-1])
    assert len(set(steps.tolist())) == 1, "evenly spread"


def test_scores_at_the_edges_are_counted_and_what_is_no_number_is_not() -> None:
    found = Histogram(4)
    found.add(np.array([0.0, 0.24, 0.5, 1.0, np.nan, 1.5, -0.1]), line=0.5)
    assert found.counts() == [3, 0, 1, 2]
    assert (found.total, found.below) == (6, 3)
