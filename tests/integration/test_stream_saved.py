"""A stream that is saved in mid-stream and goes on elsewhere: the same bits."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.errors import DetectorFolderError
from tests.golden.stream_fixture import numbered_pictures
from tests.support.stream_world import (
    PAPER,
    PRESETS,
    REFERENCE,
    answer,
    bits,
    changed,
    cold,
    given_encoder,
    mllm,
    one_by_one,
    picture_features,
    run,
    text_features,
)

BATCHES, BATCH = 40, 3
COUNT = BATCHES * BATCH
FEATURES, PICTURES = picture_features(COUNT, seed=2), numbered_pictures(COUNT)
ACTIVE = changed(
    REFERENCE, scoring={"activation": {"enabled": True, "gap": 0.2, "negative_count": 9}}, ens={"start": "lexicon"}
)
SETTINGS = {"paper": PAPER, "reference": REFERENCE, "activation": ACTIVE}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    made = [folder / f"{number:03}.png" for number in range(COUNT)]
    for path, picture in zip(made, PICTURES, strict=True):
        Image.fromarray(picture).save(path)
    return made


def loaded(folder: Path) -> ANTS:
    return ANTS.load(folder, encoder=given_encoder(), backend=mllm())


def rest(paths: list[Path] | None, start: int) -> Any:
    return one_by_one(PICTURES[start:]) if paths is None else paths[start:]


@pytest.mark.parametrize(
    ("name", "lag", "kept_as"),
    [
        ("paper", 0, "copies"),
        ("paper", 3, "copies"),
        ("reference", 0, "files"),
        ("reference", 3, "copies"),
        ("activation", 3, "files"),
    ],
)
async def test_saved_at_every_batch_it_goes_on_to_the_same_bits(
    name: str, lag: int, kept_as: str, paths: list[Path], tmp_path: Path
) -> None:
    given = paths if kept_as == "files" else None
    ants = cold(SETTINGS[name])
    expected, pending, copied = [], 0, 0
    async for scores in ants.stream(rest(given, 0), features=FEATURES, batch_size=BATCH, lag=lag):
        expected.append(bits(scores))
        folder = tmp_path / f"{len(expected):02}"
        ants.save(folder)
        pending = max(pending, len(ants.state.pending))
        copied = max(copied, len(list(folder.glob("pictures/*.png"))))
    assert len(expected) == BATCHES
    assert (pending > 0) == (lag > 0)
    assert (copied > 0) == (kept_as == "copies")
    for batch in range(1, BATCHES):
        again = loaded(tmp_path / f"{batch:02}")
        start = again.state.pictures
        assert start == batch * BATCH
        # to the end from the first; from the others until what was under way when it was saved has taken effect
        batches = BATCHES if batch == 1 else lag + 2
        end = start + batches * BATCH
        left = one_by_one(PICTURES[start:end]) if given is None else given[start:end]
        found = await run(again, left, FEATURES[start:end], batch_size=BATCH, lag=lag)
        assert found == expected[batch : batch + batches], f"saved after batch {batch}"


@pytest.mark.parametrize("kept_as", ["copies", "files"])
@pytest.mark.parametrize("name", SETTINGS)
async def test_saved_into_one_folder_after_every_batch(
    name: str, kept_as: str, paths: list[Path], tmp_path: Path
) -> None:
    given = paths if kept_as == "files" else None
    expected = await run(cold(SETTINGS[name]), rest(given, 0), FEATURES, batch_size=BATCH, lag=2)
    ants = cold(SETTINGS[name])
    for batch in range(BATCHES):
        ants.save(tmp_path / "d")
        ants = loaded(tmp_path / "d")
        start, end = batch * BATCH, (batch + 1) * BATCH
        images = one_by_one(PICTURES[start:end]) if given is None else given[start:end]
        assert await run(ants, images, FEATURES[start:end], batch_size=BATCH, lag=2) == [expected[batch]]


async def test_copies_move_with_the_folder_and_survive_saving_it_again(tmp_path: Path) -> None:
    expected = await run(cold(PAPER), PICTURES, FEATURES, batch_size=BATCH, lag=4)
    ants = cold(PAPER)
    await run(ants, one_by_one(PICTURES[:30]), FEATURES[:30], batch_size=BATCH, lag=4)
    ants.save(tmp_path / "here")
    copies = sorted(path.name for path in (tmp_path / "here" / "pictures").iterdir())
    assert copies
    shutil.move(tmp_path / "here", tmp_path / "there")
    del ants
    for _ in range(2):
        # into the folder that it lives on, and then into another
        moved = loaded(tmp_path / "there")
        moved.save(tmp_path / "there")
        moved.save(tmp_path / "elsewhere")
        for folder in ("there", "elsewhere"):
            assert sorted(path.name for path in (tmp_path / folder / "pictures").iterdir()) == copies
    shutil.rmtree(tmp_path / "there")
    found = await run(loaded(tmp_path / "elsewhere"), PICTURES[30:], FEATURES[30:], batch_size=BATCH, lag=4)
    assert found == expected[10:]


async def test_a_picture_that_is_gone_costs_its_caption_and_not_the_rest(tmp_path: Path, paths: list[Path]) -> None:
    mine = [shutil.copy(path, tmp_path) for path in paths[:30]]
    ants = cold(PAPER)
    await run(ants, mine, FEATURES[:30], batch_size=BATCH, lag=4)
    waiting = [
        item.name for update in ants.state.pending for item in getattr(update, "asked", ()) if hasattr(item, "ref")
    ]
    assert waiting
    ants.save(tmp_path / "d")
    Path(waiting[0]).unlink()
    again = loaded(tmp_path / "d")
    stream = again.stream(PICTURES[30:], features=FEATURES[30:], batch_size=BATCH, lag=4)
    assert len([scores async for scores in stream]) == BATCHES - 10
    assert [item.name for item in stream.report.set_aside if item.what == "picture"] == [waiting[0]]
    assert waiting[0] not in again.detector.ens.sources


@pytest.mark.parametrize("preset", PRESETS)
async def test_what_was_loaded_scores_and_says_the_same(preset: str, tmp_path: Path) -> None:
    ants = cold(PRESETS[preset])
    await run(ants, PICTURES, FEATURES, batch_size=BATCH, lag=1)
    ants.save(tmp_path / "d")
    again = loaded(tmp_path / "d")
    one, other = ants.score_features(FEATURES), again.score_features(FEATURES)
    for column in ("id_score", "ens_score", "vsnl_score", "neglabel_score", "predicted"):
        assert getattr(one, column).tobytes() == getattr(other, column).tobytes()
    assert ants.explain(FEATURES[0]) == again.explain(FEATURES[0])
    again.save(tmp_path / "again")
    for path in (tmp_path / "d").iterdir():
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_detector_of_format_1_goes_on_without_a_history(preset: str, tmp_path: Path) -> None:
    import json

    ants = cold(PRESETS[preset])
    await run(ants, PICTURES[:60], FEATURES[:60], batch_size=BATCH)
    ants.save(tmp_path / "d")
    manifest = json.loads((tmp_path / "d" / "detector.json").read_text())
    del manifest["state"], manifest["template"], manifest["own_template"]
    manifest["format"] = 1
    (tmp_path / "d" / "detector.json").write_text(json.dumps(manifest))
    old = loaded(tmp_path / "d")
    assert (old.weight, old.threshold, old.detector.ens.texts) == (ants.weight, ants.threshold, ants.detector.ens.texts)
    assert old.score_features(FEATURES).id_score.tobytes() == ants.score_features(FEATURES).id_score.tobytes()
    assert (old.state.pictures, len(old.state.recent)) == (0, 0)
    found = await run(old, PICTURES[60:], FEATURES[60:], batch_size=BATCH)
    assert len(found) == 20
    assert old.detector.classes.template == "The nice {}."
    assert len(old.detector.vsnl) > 0


async def test_another_clip_is_refused(tmp_path: Path) -> None:
    from ants_engine.clip.encoding import GivenEncoder

    cold(PAPER).save(tmp_path)
    with pytest.raises(DetectorFolderError, match="another CLIP"):
        ANTS.load(tmp_path, encoder=GivenEncoder(text_features, 12, logit_scale=50.0))


async def test_saving_between_two_streams_keeps_what_was_asked(tmp_path: Path) -> None:
    asked: list[str] = []

    def listen(call: Any) -> str:
        asked.append(call.prompt if call.picture is None else call.picture.sha256)
        return answer(call)

    settings = changed(PAPER, dispatch={"mode": "record", "store": str(tmp_path / "store")})
    whole = cold(settings, ScriptedBackend.from_callable(listen))
    await run(whole, PICTURES, FEATURES, batch_size=BATCH, lag=4)
    once, before = set(asked), len(asked)
    assert len(once) == before
    half = cold(settings, ScriptedBackend.from_callable(listen))
    await run(half, PICTURES[:60], FEATURES[:60], batch_size=BATCH, lag=4)
    half.save(tmp_path / "d")
    own = {"dispatch": {"store": str(tmp_path / "store")}}
    again = ANTS.load(tmp_path / "d", encoder=given_encoder(), backend=ScriptedBackend.from_callable(listen), **own)
    await run(again, PICTURES[60:], FEATURES[60:], batch_size=BATCH, lag=4)
    assert len(asked) == before, "every answer was in the store"
    assert again.detector.ens.texts == whole.detector.ens.texts
