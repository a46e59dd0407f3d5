"""A doctored detector folder goes on streaming: no picture of this machine reaches the MLLM."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ants_engine import ANTS
from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.clip.picture import encode_picture
from ants_engine.protocol import Call
from tests.golden.stream_fixture import numbered_pictures
from tests.support.stream_world import ENGINE, PAPER, answer, changed, cold, given_encoder, picture_features, run

COUNT, BATCH = 24, 4
FEATURES = picture_features(COUNT, seed=2)


@pytest.mark.parametrize("kind", ["ens", "judge"])
@pytest.mark.parametrize("given", ["another file", "no digest"])
async def test_a_private_picture_is_set_aside_and_never_shown(given: str, kind: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:02}.png" for number in range(COUNT)]
    for path, picture in zip(paths, numbered_pictures(COUNT), strict=True):
        Image.fromarray(picture).save(path)
    ants = cold(changed(ENGINE, threshold={"questions": 900}) if kind == "judge" else PAPER)
    await run(ants, paths[:12], FEATURES[:12], batch_size=BATCH, lag=9)
    ants.save(tmp_path / "d")
    private = tmp_path / "private.png"
    secret = Image.fromarray(np.full((32, 32, 3), 77, np.uint8))
    secret.save(private)
    manifest = tmp_path / "d" / "detector.json"
    data = json.loads(manifest.read_text())
    waiting = {key for update in data["state"]["pending"] if update["kind"] == kind for key in update["asked"]}
    assert waiting, "pictures wait to be described"
    for item in data["state"]["known"]:
        item["path"] = str(private)
        if given == "no digest":
            del item["sha256"]
    manifest.write_text(json.dumps(data))

    shown: list[str] = []

    def listen(call: Call) -> str:
        if call.picture is not None:
            shown.append(call.picture.sha256)
        return answer(call)

    again = ANTS.load(tmp_path / "d", encoder=given_encoder(), backend=ScriptedBackend.from_callable(listen))
    assert bool(again.report.notes) == (given == "no digest")
    stream = again.stream(paths[12:], features=FEATURES[12:], batch_size=BATCH, lag=0)
    async for _ in stream:
        pass
    assert encode_picture(secret, 448).sha256 not in shown
    assert shown, "pictures of this stream are shown"
    reasons = [item.reason for item in stream.report.set_aside if item.what == "picture"]
    said = "sha256 of its content differs" if given == "another file" else "without the sha256"
    assert len([reason for reason in reasons if said in reason]) >= len(waiting)
