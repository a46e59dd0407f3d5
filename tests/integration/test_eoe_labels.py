"""EOE's outlier labels: asked, kept, replayed, read, and scored with."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ants_engine.backends.scripted import ScriptedBackend
from ants_engine.baselines import registry
from ants_engine.baselines.baseline import TextSpace
from ants_engine.baselines.eoe_labels import OutlierLabels, outlier_labels
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.detector.class_list import ClassList
from ants_engine.dispatch.coordinator import Coordinator
from ants_engine.errors import (
    AuthenticationError,
    NotEnoughAnswersError,
    QuotaError,
    RefusedAnswerError,
    ReplayMissError,
    TemplateError,
    UsageError,
)
from ants_engine.method.neglabel import equal_groups
from ants_engine.protocol import Answer, Call
from ants_engine.settings.config import Settings
from ants_engine.settings.loader import load_settings
from tests.integration.conftest import CLASSES, ROOT, WORLD

RECORDED = ROOT.parent / "shared" / "data" / "llm_labels"
TEMPLATE = "The nice {}."
LOOK_ALIKES = {
    "red apple": "1. tomato\n2. peach\n3. red ball",
    "dog face": "1. wolf\n2. Sailboats\n3. dog face mask",
    "sailboat": "1. windmill\n2. Wolf\n3. tent",
    "guitar": "1. violin\n2. banjo\n3. lute\n4. harp",
}


def near(call: Call) -> Answer:
    """Three look-alikes of the class that is asked for."""
    return Answer(LOOK_ALIKES[call.prompt.split('"')[1]], prompt_tokens=20, completion_tokens=7)


async def ask(
    store: Path,
    backend: ScriptedBackend | None = None,
    names: list[str] = CLASSES,
    fits: Callable[[str], bool] = lambda text: True,
    mode: str = "record",
    **eoe: Any,
) -> OutlierLabels:
    """Ask for the labels of some classes."""
    settings = load_settings(
        environment={},
        mllm={"backend": "scripted"},
        dispatch={"store": str(store), "mode": mode, "attempts": 1, "runs": None, "grace": 0.2},
        eoe=eoe,
    )
    classes = ClassList.of(names, TEMPLATE)
    async with Coordinator(settings, backend=backend) as coordinator:
        return await outlier_labels(classes, settings, coordinator, fits)


def scripted(function: Callable[[Call], str | Answer], **options: Any) -> ScriptedBackend:
    return ScriptedBackend.from_callable(function, ScriptedBackend.Options(**options))


async def test_every_class_is_asked_for_and_only_new_names_are_kept(tmp_path: Path) -> None:
    backend = scripted(near)
    labels = await ask(tmp_path, backend)
    assert labels.texts == ("tomato", "peach", "red ball", "wolf", "windmill", "tent", "violin", "banjo", "lute")
    assert labels.sources == ("red apple",) * 3 + ("dog face",) + ("sailboat",) * 2 + ("guitar",) * 3
    # the plural of a class, a kind of the class asked for, and a name that was there
    assert {(item.name, item.reason) for item in labels.set_aside} == {
        ("Sailboats", "names_id_class"),
        ("dog face mask", "names_id_class"),
        ("Wolf", "duplicate"),
    }
    assert (labels.asked, labels.from_store, labels.failed) == (4, 0, 0)
    assert (labels.prompt_tokens, labels.completion_tokens) == (80, 28)
    assert (labels.template, len(labels.template_sha256)) == ("eoe_near/v1", 64)
    assert labels.prompts(ClassList.of(CLASSES, "a {}"))[:2] == ["a tomato", "a peach"]
    assert {call.prompt for call in backend.calls} == {
        f'Which 3 other classes are visually similar to "{name}"? Name only things that are not "{name}". '
        "Answer with a numbered list, one name per line."
        for name in CLASSES
    }
    assert {(call.picture, call.decoding.max_new_tokens) for call in backend.calls} == {(None, 136)}


async def test_what_was_answered_is_never_asked_again(tmp_path: Path) -> None:
    first = await ask(tmp_path, scripted(near))
    backend = scripted(near)
    again = await ask(tmp_path, backend)
    assert backend.calls == []
    assert (again.asked, again.from_store) == (0, 4)
    assert (again.texts, again.sources, again.set_aside) == (first.texts, first.sources, first.set_aside)
    assert (again.prompt_tokens, again.completion_tokens) == (80, 28)
    replayed = await ask(tmp_path, mode="replay")
    assert (replayed.texts, replayed.asked, replayed.from_store) == (first.texts, 0, 4)
    with pytest.raises(ReplayMissError, match="never recorded"):
        await ask(tmp_path, mode="replay", names=[*CLASSES, "teapot"])
    with pytest.raises(ReplayMissError, match="never recorded"):
        await ask(tmp_path, mode="replay", count=4)


async def test_the_far_task_is_one_question_about_all_classes(tmp_path: Path) -> None:
    backend = scripted(lambda call: "Sure! Here they are:\ncoral reef\nguitar\ngalaxy\nGalaxy\ncircuit board\nmoss\n")
    labels = await ask(tmp_path, backend, task="far", count=3)
    assert labels.texts == ("coral reef", "galaxy", "circuit board")
    assert set(labels.sources) == {"all classes"}
    assert {(item.name, item.reason) for item in labels.set_aside} >= {
        ("guitar", "names_id_class"),
        ("Galaxy", "duplicate"),
        ("moss", "bank_full"),
    }
    (call,) = backend.calls
    assert '"red apple, dog face, sailboat, guitar"' in call.prompt
    assert "Name 3 different classes" in call.prompt
    assert (labels.asked, labels.prompt_tokens) == (1, None)
    assert (await ask(tmp_path, mode="replay", task="far", count=3)).texts == labels.texts


async def test_a_label_that_clip_would_cut_is_set_aside(tmp_path: Path) -> None:
    labels = await ask(tmp_path, scripted(near), fits=lambda text: text != "The nice windmill.")
    assert "windmill" not in labels.texts
    assert len(labels.texts) == 8
    assert [(item.name, item.reason) for item in labels.set_aside][-1] == (
        "windmill",
        "longer than CLIP's text context",
    )


async def test_one_failure_costs_one_answer_and_many_end_it(tmp_path: Path) -> None:
    def refuses(names: set[str]) -> ScriptedBackend:
        def answer(call: Call) -> Answer:
            if call.prompt.split('"')[1] in names:
                raise RefusedAnswerError("no")
            return near(call)

        return scripted(answer)

    labels = await ask(tmp_path / "one", refuses({"guitar"}))
    assert (labels.failed, labels.asked, len(labels.texts)) == (1, 4, 6)
    assert [item.name for item in labels.set_aside if item.what == "request"] == ["guitar"]
    with pytest.raises(NotEnoughAnswersError, match="eoe near: 2 of 4 answers can be used") as caught:
        await ask(tmp_path / "many", refuses({"guitar", "sailboat"}))
    assert [type(error) for error in caught.value.exceptions] == [RefusedAnswerError]
    for answer in ("I'm sorry, I can't help with that.", ""):
        with pytest.raises(NotEnoughAnswersError, match="eoe far: 0 of 1 answers can be used"):
            await ask(tmp_path / "far", scripted(lambda call, answer=answer: answer), task="far")


@pytest.mark.parametrize("kind", [AuthenticationError, QuotaError])
async def test_an_error_that_would_meet_every_question_ends_it_at_once(tmp_path: Path, kind: type[Exception]) -> None:
    def locked(call: Call) -> str:
        raise kind("no")

    backend = scripted(locked, max_concurrency=1)
    with pytest.raises(kind):
        await ask(tmp_path, backend, names=[f"thing {number}" for number in range(50)])
    assert len(backend.calls) < 5


async def test_what_still_waits_is_given_up_and_the_coordinator_stays_of_use(tmp_path: Path) -> None:
    def locked(call: Call) -> str:
        raise QuotaError("spent")

    backend = scripted(locked, max_concurrency=1)
    settings = load_settings(environment={}, mllm={"backend": "scripted"}, dispatch={"store": str(tmp_path)})
    classes = ClassList.of([f"thing {number}" for number in range(50)], TEMPLATE)
    async with Coordinator(settings, backend=backend) as coordinator:
        with pytest.raises(QuotaError):
            await outlier_labels(classes, settings, coordinator, bool)
        with pytest.raises(QuotaError):
            await outlier_labels(classes, load_settings(settings, eoe={"task": "far"}), coordinator, bool)
    assert len(backend.calls) < 5


async def test_cancellation_leaves_nothing_behind(tmp_path: Path) -> None:
    async def never(call: Call) -> str:
        await asyncio.Event().wait()
        return ""

    before = len(asyncio.all_tasks())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(tmp_path, ScriptedBackend.from_callable(never)), 0.5)
    assert len(asyncio.all_tasks()) == before


async def test_what_cannot_work_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="asks without a picture"):
        await ask(tmp_path, scripted(near, text_only=False))
    with pytest.raises(TemplateError, match="no prompt template eoe_near/v9"):
        await ask(tmp_path, scripted(near), template="eoe_near/v9")
    with pytest.raises(TemplateError, match=r"not given: \$max_words"):
        await ask(tmp_path, scripted(near), template="ens/v1")


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers are not here")
@pytest.mark.parametrize("file", sorted(path.name for path in RECORDED.glob("near3_*.json")))
async def test_recorded_answers_for_near_are_read(tmp_path: Path, file: str) -> None:
    recorded: dict[str, list[str]] = json.loads((RECORDED / file).read_text())
    answered = {name: names for name, names in recorded.items() if names}
    written = {name: "\n".join(f"{i}. {label}" for i, label in enumerate(names, 1)) for name, names in answered.items()}

    def answer(call: Call) -> str:
        return written[json.loads(call.prompt.split("similar to ")[1].split("?")[0])]

    labels = await ask(tmp_path, scripted(answer), names=list(answered))
    said = {label.casefold() for names in answered.values() for label in names}
    kept = {label.casefold() for label in labels.texts}
    assert len(kept) == len(labels.texts)
    assert not kept & {name.casefold() for name in answered}
    # what is left out names a class ("eagle", where "bald eagle" is one), was said before, or is no name
    assert {item.reason for item in labels.set_aside} <= {"names_id_class", "duplicate", "rambling"}
    assert len(kept) > 0.7 * len(said)
    assert labels.failed == 0


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded answers are not here")
@pytest.mark.parametrize("written", ["lines", "numbered", "json"])
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_recorded_answers_for_far_are_read(tmp_path: Path, number: int, written: str) -> None:
    recorded = json.loads((RECORDED / f"far500_ImageNet_gpt-3.5-turbo-16k_{number}.json").read_text())["far"]
    texts = {
        "lines": "\n".join(recorded),
        "numbered": "\n".join(f"{i}. {label}" for i, label in enumerate(recorded, 1)),
        "json": json.dumps(recorded),
    }
    labels = await ask(tmp_path, scripted(lambda call: texts[written]), task="far")
    different = {label.casefold() for label in recorded}
    assert len(labels.texts) > 0.97 * min(500, len(different))
    assert {label.casefold() for label in labels.texts} <= different


async def test_the_tiny_mllm_names_look_alikes_that_eoe_can_use(encoder: ClipEncoder, tmp_path: Path) -> None:
    settings: Settings = load_settings(WORLD, environment={}, dispatch={"store": str(tmp_path / "store")})
    names = ["lion", "elephant", "sailboat", "guitar", "pizza", "sunflower"]
    classes = ClassList.of(names, TEMPLATE)
    async with Coordinator(settings) as coordinator:
        labels = await outlier_labels(classes, settings, coordinator, encoder.fits)
        assert (labels.asked, labels.failed) == (6, 0)
        again = await outlier_labels(classes, settings, coordinator, encoder.fits)
    assert (again.asked, again.texts) == (0, labels.texts)
    assert 8 <= len(labels.texts) <= 18
    assert len({*labels.sources}) >= 5
    assert not {*labels.texts} & {*names}
    outliers = encoder.encode_texts(labels.prompts(classes))
    space = TextSpace(
        class_names=classes.names,
        class_features=torch.as_tensor(encoder.encode_texts([TEMPLATE.replace("{}", name) for name in names])),
        negatives=torch.zeros(0, encoder.dim),
        groups=equal_groups(0, 1, seed=0),
        temperature=1.0 / encoder.logit_scale,
        outlier_features=outliers,
    )
    eoe = registry.create("eoe", space)
    # texts stand for pictures here: a class's own is ID, an outlier label's own is not
    predicted, own = eoe.score(space.class_features)
    _, foreign = eoe.score(outliers)
    assert predicted.tolist() == list(range(6))
    assert float(np.median(own)) > float(np.median(foreign))
    assert float(own.mean()) > float(foreign.mean()) + 0.2
