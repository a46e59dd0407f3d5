"""What a build hands over to a stream."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.errors import RateLimitError
from ants_engine.protocol import Call
from tests.golden.stream_fixture import number_of, numbered_pictures
from tests.support.stream_world import CLASSES, PAPER, answer, changed, given_encoder, picture_features, write_lexicon


async def built(folder: Path, says: Any, images: Any, features: Any, **stages: Any) -> ANTS:
    config = changed(PAPER, lexicon={"source": str(write_lexicon(folder))}, **stages)
    backend = ScriptedBackend.from_callable(says)
    return await ANTS.build(CLASSES, images, features=features, config=config, encoder=given_encoder(), backend=backend)


def every_second_fails(call: Call) -> str:
    return "" if call.picture is not None and number_of(call) % 2 else answer(call)


async def test_the_state_after_a_build_is_that_of_a_stream(tmp_path: Path) -> None:
    features = torch.from_numpy(picture_features(40))
    ants = await built(
        tmp_path,
        every_second_fails,
        numbered_pictures(40),
        features,
        stream={"history": 7},
        dispatch={"min_success": 0},
    )
    state = ants.state
    scores = ants.detector.look(state.recent.tensor()).initial
    torch.testing.assert_close(state.recent.tensor(), features[-7:])
    torch.testing.assert_close(state.recent_initial.tensor(), scores)
    everything = ants.detector.look(features).initial
    low = [row for row, score in enumerate(everything.double().tolist()) if score < state.gamma]
    assert len(low) > 12
    # the latest of the candidates, those that were asked about without their pictures
    assert list(state.candidates.items) == low[-7:]
    asked = {key for key, item in state.candidates.items.items() if item.ref is None}
    assert asked == set(state.captions) == set(state.members) != set(low[-7:])
    torch.testing.assert_close(state.candidates.scores.tensor(), everything[low[-7:]])
    torch.testing.assert_close(state.candidates.features.tensor(), features[low[-7:]])
    # of the negative images too, what has left the history is not held: their number has no bound
    ranked = sorted(low, key=lambda row: float(everything[row]))[: ants.report.negative_images]
    assert list(state.members) == [row for row in ranked if row in low[-7:]] != ranked
    torch.testing.assert_close(state.negatives, features[list(state.members)])
    assert {key: caption.text is None for key, caption in state.captions.items()} == {
        key: key % 2 == 1 for key in state.members
    }
    assert len({key % 2 for key in state.members}) == 2
    assert set(state.labels) == set(state.held)
    assert all(label.startswith("gadget") for labels in state.labels.values() for label in labels)
    assert (state.ens_updates, state.pending) == (1, ())
    assert (state.pictures, state.looked, state.batch) == (40, 40, 0)
    assert int(state.class_counts.sum()) == 40
    torch.testing.assert_close(state.feature_sum, features.double().sum(dim=0))
    assert int(state.first_seen.min()) == 0


async def test_nothing_unknown_and_nothing_asked(tmp_path: Path) -> None:
    def never(call: Call) -> str:
        assert call.picture is None
        return answer(call)

    ants = await built(tmp_path, never, numbered_pictures(9), picture_features(9), mining={"gamma": 0.0})
    state = ants.state
    assert (len(state.candidates), state.members, state.captions, state.ens_updates) == (0, (), {}, 0)
    assert state.negatives.shape == (0, ants.detector.dim)
    assert any("nothing looks unknown" in note for note in ants.report.notes)


@pytest.mark.parametrize("rule", ["mean_cosine", "most_frequent"])
async def test_a_class_whose_question_met_an_outage_is_asked_about_again_by_a_stream(rule: str, tmp_path: Path) -> None:
    away = True
    asked: list[str] = []

    def says(call: Call) -> str:
        if call.picture is None:
            asked.append(call.prompt)
            if away and len(asked) == 1:
                raise RateLimitError("busy")
        return answer(call)

    features = picture_features(30)
    ants = await built(
        tmp_path, says, numbered_pictures(30), features, vsnl={"rule": rule}, dispatch={"min_success": 0.4}
    )
    missing = set(ants.state.held) - set(ants.state.labels)
    assert len(missing) == 1
    away = False
    before = len(asked)
    async for _ in ants.stream(numbered_pictures(3), features=features[:3], batch_size=3, lag=0):
        pass
    assert asked[before:] == asked[:1]
    assert missing <= set(ants.state.labels)
