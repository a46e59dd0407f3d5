import torch

from ants_engine.clip.image_ref import file_ref
from ants_engine.errors import ImageUnreadableError
from ants_engine.learning.history import History
from ants_engine.learning.pictures import PictureBatch
from ants_engine.learning.warm import warm_state
from ants_engine.settings.loader import load_settings
from tests.unit.detector.detectors import small_detector, unit_rows


def history(scores: list[float]) -> History:
    count = len(scores)
    made = History()
    refs = [file_ref(row, f"{row}.png") for row in range(count)]
    batch = PictureBatch(
        refs, [f"{row}.png" for row in range(count)], unit_rows(count, 1), [None] * count, [], list(range(count))
    )
    made.add(batch, small_detector().look(batch.features).predicted, torch.tensor(scores))
    made.failures.append(ImageUnreadableError("bad.png", "is empty"))
    return made


def test_the_state_after_a_build_is_that_of_a_stream() -> None:
    settings = load_settings(environment={}, mining={"gamma": 0.5}, stream={"history": 3})
    seen = history([0.1, 0.9, 0.5, 0.2, 0.45, 0.3])
    captions = {0: "A lamp on a table.", 3: None, 5: "a cat"}
    similar = {2: "1. wolf\n2. fox", 0: None}
    detector = small_detector()
    state = warm_state(detector, seen, [0, 3], captions, similar, settings, lambda text: True)
    assert state.detector is detector
    # the three latest of the four candidates, those that were asked about without their pictures
    assert [(item.id, item.ref is None) for item in state.candidates.items.values()] == [
        (3, True),
        (4, False),
        (5, True),
    ]
    torch.testing.assert_close(state.candidates.scores.tensor(), torch.tensor([0.2, 0.45, 0.3]))
    torch.testing.assert_close(state.candidates.features.tensor(), unit_rows(6, 1)[[3, 4, 5]])
    # of the negative images too, what has left the history is not held: their number has no bound
    assert {key: caption.text for key, caption in state.captions.items()} == {3: None, 5: None}
    assert state.labels == {2: ("wolf", "fox"), 0: ()}
    assert (state.members, state.held, state.ens_updates) == ((3,), (2, 0), 1)
    torch.testing.assert_close(state.negatives, unit_rows(6, 1)[[3]])
    # the unreadable picture counts as delivered
    assert (state.pictures, state.looked, state.batch) == (7, 6, 0)
    assert int(state.class_counts.sum()) == 6
    torch.testing.assert_close(state.feature_sum, unit_rows(6, 1).double().sum(dim=0))
    torch.testing.assert_close(state.recent.tensor(), unit_rows(6, 1)[3:])
    assert len(state.recent_initial) == 3


def test_nothing_foreign_and_nothing_asked() -> None:
    settings = load_settings(environment={})
    state = warm_state(small_detector(), history([1.0, 1.0]), [], {}, {}, settings, lambda text: True)
    assert (len(state.candidates), state.members, state.ens_updates, state.held) == (0, (), 0, ())
    assert state.negatives.shape == (0, 16)
