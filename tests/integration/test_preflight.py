"""What `ANTS.build` and streams find out before CLIP is touched, and what a full store makes unnecessary."""

import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ants_engine import ANTS
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.datasets.source import read_benchmark
from ants_engine.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BadRequestError,
    LexiconError,
    ModelNotFoundError,
    NoImagesError,
    StoreUnavailableError,
    TemplateError,
)
from ants_engine.evaluation.evaluation import evaluate
from ants_engine.evaluation.method import EvaluationPlan
from tests.integration.conftest import CLASSES, OBJECTS
from tests.support.models_server import ModelsServer, Reply, failed, listing, said


class Untouched:
    """A CLIP that nobody may use."""

    dim = 8
    logit_scale = 100.0

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"CLIP was used: {name}")


def chat(body: dict[str, Any]) -> Reply:
    """Answer as an MLLM might."""
    if isinstance(body["messages"][0]["content"], str):
        return said("\n".join(f"{number}. {name}" for number, name in enumerate(OBJECTS[:5], 1)))
    picture = body["messages"][0]["content"][0]["image_url"]["url"]
    return said(f"A {OBJECTS[sum(picture.encode()) % 12]} beside a {OBJECTS[len(picture) % 12]}.")


def asking(settings: dict[str, Any], url: str, **more: Any) -> dict[str, Any]:
    return {**settings, "mllm": {"backend": "openai", "model": "qwen", "base_url": url}, **more}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")


@pytest.fixture
def closed() -> str:
    with ModelsServer(listing(), said("")) as server:
        return server.url


@pytest.mark.parametrize("rule", ["lowest_share", "histogram"])
async def test_a_build_looks_before_it_uses_clip(
    rule: str, images: list[Image.Image], settings: dict[str, Any], closed: str, tmp_path: Path
) -> None:
    settings["mining"]["rule"] = rule
    clip: Any = Untouched()
    for more, error in (
        ({"ens": {"template": "ens/v999"}}, TemplateError),
        ({"lexicon": {"source": "./nowhere.txt"}}, LexiconError),
        ({"mllm": {"backend": "huggingface", "model": "./nowhere"}}, ModelNotFoundError),
        ({"dispatch": {"mode": "replay", "store": str(tmp_path / "nothing")}}, StoreUnavailableError),
    ):
        with pytest.raises(error):
            await ANTS.build(CLASSES, images, encoder=clip, **{**settings, **more})
    with pytest.raises(NoImagesError, match="none of the 2 files"):
        await ANTS.build(CLASSES, ["gone.png", "gone_too.png"], encoder=clip, **settings)
    with pytest.raises(BackendUnavailableError):
        await ANTS.build(CLASSES, images, encoder=clip, **asking(settings, closed))
    for models, reply, error in (
        (listing("llava"), failed(404, "no such model"), BadRequestError),
        (failed(401, "no"), failed(401, "no"), AuthenticationError),
    ):
        with ModelsServer(models, reply) as server, pytest.raises(error):
            await ANTS.build(CLASSES, images, encoder=clip, **asking(settings, server.url))


async def test_a_stream_looks_before_it_uses_clip(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], closed: str, tmp_path: Path
) -> None:
    (await ANTS.build(CLASSES, encoder=encoder, **asking(settings, closed))).save(tmp_path / "d")
    said = {"mllm": asking(settings, closed)["mllm"], "dispatch": settings["dispatch"], "text": settings["text"]}
    ants = ANTS.load(tmp_path / "d", clip={"model": "./nowhere"}, **said)
    with pytest.raises(BackendUnavailableError):
        async for _ in ants.stream(images[:4]):
            pass


async def test_scoring_looks_for_the_pictures_before_it_loads_clip(
    encoder: ClipEncoder, settings: dict[str, Any], tmp_path: Path
) -> None:
    (await ANTS.build(CLASSES, encoder=encoder, **settings)).save(tmp_path / "d")
    ants = ANTS.load(tmp_path / "d", clip={"model": "./nowhere"})
    with pytest.raises(NoImagesError, match="no such file or folder"):
        await ants.score("nowhere/")


async def test_a_full_store_needs_no_server(
    encoder: ClipEncoder, images: list[Image.Image], settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with ModelsServer(listing("qwen"), chat) as server:
        first = await ANTS.build(CLASSES, images[:12], encoder=encoder, **asking(settings, server.url))
        assert len(server.asked) == first.report.asked > 0
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        again = await ANTS.build(CLASSES, images[:12], encoder=encoder, **asking(settings, server.url))
    assert again.report.asked == 0
    assert again.threshold == first.threshold
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "cannot be reached" in warning
    assert "only a question that is not there needs the MLLM" in warning
    other = asking(settings, server.url)
    other["mllm"]["model"] = "another"
    with pytest.raises(BackendUnavailableError):
        await ANTS.build(CLASSES, images[:12], encoder=encoder, **other)


async def test_an_evaluation_looks_before_clip_sees_a_picture(
    images: list[Image.Image], settings: dict[str, Any], closed: str, tmp_path: Path
) -> None:
    for place in ("id/apple/1", "far/odd/2"):
        path = tmp_path / "pictures" / f"{place}.png"
        path.parent.mkdir(parents=True)
        images[0].save(path)
    from ants_engine import load_settings

    benchmark = read_benchmark(tmp_path / "pictures")
    clip: Any = Untouched()
    plan = EvaluationPlan(seeds=(0,))
    with pytest.raises(BackendUnavailableError):
        await evaluate(benchmark, load_settings(**asking(settings, closed)), plan, ["mcm", "ants-ens"], encoder=clip)
    wrong = load_settings(**settings, eoe={"template": "eoe_near/v999"})
    with pytest.raises(TemplateError):
        await evaluate(benchmark, wrong, plan, ["eoe"], encoder=clip)
