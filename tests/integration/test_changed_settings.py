"""A saved detector under changed settings: each takes effect everywhere, or is refused with what to do."""

import asyncio
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ants_engine import ANTS, Scores
from ants_engine.backends.scripted import ScriptedBackend, Shows, verify_or_describe
from ants_engine.errors import DetectorFolderError, SettingError
from ants_engine.learning.run_observer import RunObserver, RunStart
from ants_engine.learning.state import AdaptationState
from ants_engine.settings.uses import USES, Use, flat
from tests.golden.stream_fixture import number_of, numbered_pictures
from tests.support.stream_world import (
    CLASSES,
    ENGINE,
    PAPER,
    PRESETS,
    REFERENCE,
    answer,
    bits,
    changed,
    cold,
    given_encoder,
    picture_features,
    pictures_of,
)

COUNT, BATCH = 48, 6
(FEATURES, SHOWN), PICTURES = pictures_of(COUNT), numbered_pictures(COUNT)
FRESH = picture_features(20, seed=9)

ANOTHER: dict[str, Any] = {
    "seed": 7,
    "preset": "reference",
    "clip.model": "ViT-L-14",
    "clip.pretrained": "laion2b_s32b_b82k",
    "clip.device": "cpu",
    "clip.precision": "fp32",
    "clip.batch_size": 3,
    "clip.text_batch_size": 5,
    "clip.compile": True,
    "clip.cache_dir": "elsewhere",
    "clip.feature_store": "elsewhere",
    "pictures.max_pixels": 10_000,
    "pictures.max_bytes": 10_000,
    "pictures.on_error": "raise",
    "pictures.decode_threads": 1,
    "pictures.urls": "allow",
    "pictures.url_timeout": 1.5,
    "pictures.url_hosts": ["camera.local"],
    "text.class_template": "A {}.",
    "text.adjective_template": "Some {} thing.",
    "text.feature_cache": "elsewhere",
    "lexicon.source": "./words.txt",
    "lexicon.id_names": "exact",
    "neglabel.count": 20,
    "neglabel.percentile": 0.5,
    "neglabel.groups": 2,
    "neglabel.min_group_length": 15,
    "neglabel.grouping": "reference",
    "neglabel.selection": "reference",
    "mining.gamma": 0.6,
    "mining.eta": 0.25,
    "mining.max_images": 3,
    "mining.same_picture": 0.5,
    "mining.describe": 0.25,
    "mining.describe_least": 40,
    "mining.rule": "histogram",
    "mining.min_waiting": 2,
    "ens.template": "ens/v2",
    "ens.max_words": 3,
    "ens.bank_size": 2,
    "ens.queue_overflow": "drop_oldest",
    "ens.start": "lexicon",
    "ens.max_updates": 1,
    "ens.reader": "reference",
    "ens.drop_id_names": False,
    "ens.max_new_tokens": 9,
    "ens.other_template": "ens/v2",
    "vsnl.template": "vsnl/v2",
    "vsnl.delta": 1.0,
    "vsnl.min_classes": 6,
    "vsnl.labels_per_class": 2,
    "vsnl.rule": "most_frequent",
    "vsnl.max_classes": 1,
    "vsnl.start_batch": 4,
    "vsnl.interval": 2,
    "vsnl.reader": "reference",
    "vsnl.max_new_tokens": 9,
    "vsnl.other_template": "vsnl/v2",
    "scoring.temperature": 0.2,
    "scoring.weight": 0.125,
    "scoring.in_score": "union",
    "scoring.group_length": 4,
    "scoring.random_permute": False,
    "scoring.activation.enabled": True,
    "scoring.activation.negative_count": 3,
    "scoring.activation.step": 1,
    "scoring.activation.gap": 0.05,
    "scoring.activation.queue_size": 12,
    "scoring.threshold": 0.3,
    "threshold.false_alarms": 0.2,
    "threshold.questions": 20,
    "threshold.judge_false_yes": 0.3,
    "eoe.task": "far",
    "eoe.template": "eoe_far/v1",
    "eoe.count": 2,
    "eoe.beta": 0.75,
    "eoe.max_new_tokens": 9,
    "mllm.backend": "scripted",
    "mllm.image_max_side": 100,
    "dispatch.mode": "record",
    "dispatch.store": "elsewhere",
    "dispatch.max_concurrency": 1,
    "dispatch.requests_per_minute": 1000,
    "dispatch.tokens_per_minute": 1_000_000,
    "dispatch.budget.requests": 9999,
    "dispatch.budget.tokens": 999_999,
    "dispatch.budget.cost": 5.0,
    "dispatch.prices.million_prompt_tokens": 1.0,
    "dispatch.prices.million_completion_tokens": 1.0,
    "dispatch.prices.request": 0.001,
    "dispatch.attempts": 2,
    "dispatch.attempt_timeout": 7.0,
    "dispatch.deadline": 70.0,
    "dispatch.store_patience": 1.0,
    "dispatch.grace": 1.0,
    "dispatch.runs": "elsewhere",
    "dispatch.min_success": 0.1,
    "stream.batch_size": 4,
    "stream.lag": 2,
    "stream.history": 5,
    "stream.score_history": 8,
    "prompts.folder": "elsewhere",
    "progress.bar": "on",
}
"""For each setting a value that the small world below does not have."""

ACTIVE = changed(REFERENCE, scoring={"activation": {"enabled": True, "gap": 0.2, "negative_count": 9}})
TOO_SMALL = {
    "ens.drop_id_names", "ens.max_new_tokens", "ens.max_words", "ens.reader", "ens.queue_overflow",
    "vsnl.max_new_tokens", "vsnl.labels_per_class", "vsnl.reader", "vsnl.start_batch",
}  # fmt: skip
POOL = changed(ENGINE, threshold={"questions": 500})
WORLDS = {"paper": PAPER, "reference": REFERENCE, "active": ACTIVE, "engine": POOL}
QUIET = {"dispatch": {"runs": None}}


def nested(key: str, value: Any) -> dict[str, Any]:
    """Return keywords that set one setting."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def same(value: Any) -> Any:
    """Return a value as it stands in settings."""
    return tuple(value) if isinstance(value, list) else value


def telling() -> ScriptedBackend:
    """Return an MLLM that describes pictures, and verifies them where it is asked to."""
    verified = verify_or_describe(lambda call: Shows(SHOWN[number_of(call)], answer(call)), without_picture=answer)
    return ScriptedBackend.from_callable(
        lambda call: (verified if call.prompt.startswith("Does the picture show") else answer)(call)
    )


async def streamed(ants: ANTS, start: int = 0, stop: int = COUNT, **options: Any) -> list[Any]:
    given: dict[str, Any] = {"features": FEATURES[start:stop], "backend": telling(), **options}
    scored: list[Scores] = [scores async for scores in ants.stream(PICTURES[start:stop], **given)]
    return [bits(scores) for scores in scored]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Per world: a detector that has seen nothing, and one that has seen half of the pictures."""
    found = {}
    for name, settings in WORLDS.items():
        folder = tmp_path_factory.mktemp(name)
        ants = cold(changed(settings, **QUIET, stream={"batch_size": BATCH}))
        ants.save(folder / "cold")
        asyncio.run(streamed(ants, 0, COUNT // 2))
        ants.save(folder / "taught")
        found[name] = (folder / "cold", folder / "taught")
    return found


def load(folder: Path, **settings: Any) -> ANTS:
    return ANTS.load(folder, encoder=given_encoder(), backend=telling(), **settings)


def world_for(key: str) -> str:
    """Choose the world in which a setting is used."""
    row = USES[key]
    if row.needs == "scoring.activation.enabled":
        return "active"
    if row.needs == "scoring.threshold" or key.startswith("mining.describe"):
        return "engine"
    reference = {"most_frequent", "histogram"} & set(row.values) or key == "scoring.random_permute"
    return "reference" if reference else "paper"


def frozen(ants: ANTS) -> tuple[Any, ...]:
    """Return what frozen scoring says, and all that explains it."""
    scores, detector = ants.score_features(FRESH), ants.detector
    told = ants.explain(FRESH[0]).to_dict()
    settings = (detector.weight, detector.threshold, detector.union)
    names = ("id_score", "ens_score", "vsnl_score", "neglabel_score")
    return (*(getattr(scores, name).tobytes() for name in names), *settings, repr(told))


def test_there_is_another_value_for_every_setting() -> None:
    assert set(ANOTHER) == set(USES) - {"mllm.*"}


@pytest.mark.parametrize("key", sorted(key for key, row in USES.items() if row.use is Use.SCORING))
def test_a_setting_of_scoring_changes_a_taught_detector_at_once_and_for_good(
    key: str, saved: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    _, folder = saved[world_for(key)]
    before, after = load(folder), load(folder, **nested(key, ANOTHER[key]))
    assert flat(after.settings)[key] == ANOTHER[key] != flat(before.settings)[key]
    if key not in {"scoring.activation.queue_size", "scoring.activation.gap"}:
        # these two only bound what the ranking is found in
        assert frozen(after) != frozen(before)
    after.save(tmp_path)
    again = load(tmp_path, **nested(key, ANOTHER[key]))
    assert frozen(again) == frozen(after) == frozen(after.fork())
    assert frozen(load(tmp_path)) == frozen(after)
    # the same value again is no change, to the bit
    assert frozen(load(folder, **nested(key, flat(before.settings)[key]))) == frozen(before)


@pytest.mark.parametrize(
    "key",
    sorted(
        key
        for key, row in USES.items()
        if row.use in {Use.SCORING, Use.STREAM, Use.START} and not key.endswith(("template", "*"))
        # how the MLLM is asked does not change the bits of a stream
        if key.partition(".")[0] not in {"dispatch", "mllm", "prompts", "text"}
    ),
)
async def test_an_untaught_detector_becomes_what_it_would_have_been(
    key: str, saved: dict[str, tuple[Path, Path]]
) -> None:
    """Loaded with another value, it streams to the bits of one made with that value."""
    world = world_for(key)
    stage, _, rest = key.partition(".")
    value = nested(rest, ANOTHER[key]) if rest else ANOTHER[key]
    wanted: dict[str, Any] = changed(WORLDS[world], **QUIET, stream={"batch_size": BATCH})
    if rest.startswith("activation."):
        active = {**wanted.get("scoring", {}).get("activation", {}), **value["activation"]}
        wanted = changed(wanted, scoring={"activation": active})
    else:
        wanted = changed(wanted, **{stage: value}) if rest else {**wanted, stage: value}
    loaded = load(saved[world][0], **nested(key, ANOTHER[key]))
    assert frozen(loaded) == frozen(cold(wanted))
    assert await streamed(loaded) == await streamed(cold(wanted))


@pytest.mark.parametrize(
    "key",
    sorted(
        key
        for key, row in USES.items()
        if row.use is Use.STREAM and key.partition(".")[0] in {"mining", "ens", "vsnl", "stream"}
        if "template" not in key
        # those make no difference to what this small world answers, or come too late in it
        if key not in TOO_SMALL
    ),
)
async def test_a_setting_of_streams_changes_what_a_taught_detector_goes_on_to(
    key: str, saved: dict[str, tuple[Path, Path]]
) -> None:
    _, folder = saved[world_for(key)]
    before, after = load(folder), load(folder, **nested(key, ANOTHER[key]))
    assert frozen(after) == frozen(before), "what was learned stays"
    backends = telling(), telling()
    found = []
    for ants, backend in zip((before, after), backends, strict=True):
        stream = ants.stream(PICTURES[COUNT // 2 :], features=FEATURES[COUNT // 2 :], backend=backend)
        told = [bits(scores) async for scores in stream]
        found.append((told, [call.prompt for call in backend.calls], len(ants.state.past_scores)))
    assert found[0] != found[1]


class Watching(RunObserver):
    def __init__(self) -> None:
        self.settings: Any = None

    def began(self, run: RunStart) -> None:
        self.settings = run.settings


@pytest.mark.parametrize(
    "key", sorted(key for key, row in USES.items() if row.use in {Use.RUN, Use.STREAM} and key in ANOTHER)
)
async def test_what_runs_next_is_given_the_changed_setting(
    key: str, saved: dict[str, tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = ANOTHER[key]
    ants = load(saved[world_for(key)][1], **nested(key, value))
    watching = Watching()
    if "template" not in key and key != "prompts.folder":
        async for _ in ants.stream(features=FEATURES[:1], observers=[watching]):
            pass
        assert str(flat(watching.settings)[key]) == str(same(value))
    assert str(flat(ants.settings)[key]) == str(same(value))
    ants.save(tmp_path / "again")
    assert str(flat(load(tmp_path / "again").settings)[key]) == str(same(value))


@pytest.mark.parametrize(
    "key", sorted(key for key, row in USES.items() if row.use in {Use.BUILD, Use.START, Use.BASELINE})
)
def test_a_setting_that_is_baked_in_is_refused_with_what_to_do(key: str, saved: dict[str, tuple[Path, Path]]) -> None:
    _, folder = saved[world_for(key)]
    with pytest.raises(SettingError, match=f"{key}|preset") as caught:
        load(folder, **nested(key, ANOTHER[key]))
    said = str(caught.value)
    assert (
        "ants eval" if USES[key].use is Use.BASELINE else "where they are made" if key == "preset" else "Build again"
    ) in said
    assert frozen(load(folder, **nested(key, flat(load(folder).settings)[key]))) == frozen(load(folder))


@pytest.mark.parametrize("key", sorted(key for key, row in USES.items() if row.needs is not None))
def test_a_setting_that_would_do_nothing_is_refused(key: str, saved: dict[str, tuple[Path, Path]]) -> None:
    row = USES[key]
    assert row.needs is not None
    idle = {
        "neglabel.grouping": "reference",
        "mining.rule": "histogram" if "lowest_share" in row.values else "lowest_share",
        "ens.reader": "reference",
        "vsnl.rule": "most_frequent" if "mean_cosine" in row.values else "mean_cosine",
        "scoring.in_score": "near_only",
        "scoring.group_length": None,
        "scoring.activation.enabled": False,
        "scoring.threshold": "otsu",
        "mining.describe": None,
    }[row.needs]
    worlds = [
        name for name in saved if row.needs != "mining.rule" or flat(load(saved[name][0]).settings)[row.needs] == idle
    ]
    # what a stream begins with is fixed in any case once it has begun
    folder = saved[worlds[0]][row.use is not Use.START]
    settings = {} if row.needs == "mining.rule" else nested(row.needs, idle)
    value = "drop_newest" if key == "ens.queue_overflow" else ANOTHER[key]
    stage, own = key.split(".", 1)
    for part, inner in nested(own, value).items():
        place = settings.setdefault(stage, {})
        place[part] = {**place.get(part, {}), **inner} if isinstance(inner, dict) else inner
    with pytest.raises(SettingError, match=rf"{re.escape(key)} is used only where {re.escape(row.needs)}"):
        load(folder, **settings)


# ---- what follows from a changed detector ----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
async def test_a_stream_goes_on_with_what_was_worked_out_anew(
    preset: str, saved: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    folder = saved[preset][1]
    before = load(folder)
    ants = load(folder, scoring={"temperature": 0.2}, seed=3, stream={"history": 10})
    state, old = ants.state, before.state
    assert (len(state.recent), len(state.recent_initial)) == (10, 10)
    np.testing.assert_allclose(
        state.recent_initial.tensor().numpy(), ants.detector.look(state.recent.tensor()).initial.numpy(), atol=1e-6
    )
    features = state.candidates.features.tensor()
    np.testing.assert_allclose(
        state.candidates.scores.tensor().numpy(), ants.detector.look(features).initial.numpy(), atol=1e-6
    )
    assert (state.pictures, state.batch, state.detector.ens.texts) == (old.pictures, old.batch, old.detector.ens.texts)
    ants.save(tmp_path)
    assert await streamed(load(tmp_path), COUNT // 2) == await streamed(ants, COUNT // 2)


async def test_the_automatic_threshold_comes_back(saved: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    ants = load(saved["paper"][1])
    found = ants.threshold
    ants.threshold = 0.1
    ants.save(tmp_path)
    assert load(tmp_path).threshold == 0.1
    assert load(tmp_path, scoring={"threshold": "auto"}).threshold == pytest.approx(found, abs=1e-6)
    assert load(tmp_path, scoring={"threshold": "auto"}).weight == ants.weight
    # lambda is the stream's, whatever the threshold; a person's threshold stays under another lambda
    assert load(tmp_path, scoring={"weight": 0.9}).threshold == 0.1


async def test_the_temperature_can_be_left_to_the_model_again(
    saved: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    ants = load(saved["paper"][1])
    load(saved["paper"][1], scoring={"temperature": 0.3}).save(tmp_path)
    back = load(tmp_path, scoring={"temperature": "auto"})
    assert back.detector.temperature == ants.detector.temperature
    np.testing.assert_allclose(back.score_features(FRESH).id_score, ants.score_features(FRESH).id_score, atol=1e-5)


def test_a_detector_without_a_history_says_what_it_needs(saved: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    ants = load(saved["paper"][1])
    # as of format 1: banks, and nothing of the pictures
    state = replace(AdaptationState.cold(ants.detector, ants.settings), detector=ants.detector)
    ANTS(state, ants.settings, ants.report, given_encoder()).save(tmp_path)
    with pytest.raises(SettingError, match=r"scoring\.threshold and scoring\.weight cannot be found anew"):
        load(tmp_path, scoring={"temperature": 0.2})
    given = load(tmp_path, scoring={"temperature": 0.2, "weight": 0.5, "threshold": 0.4})
    assert (given.detector.temperature, given.weight, given.threshold) == (0.2, 0.5, 0.4)


# ---- forks -----------------------------------------------------------------------------------------------------------


async def test_a_fork_shares_nothing_that_changes(saved: dict[str, tuple[Path, Path]]) -> None:
    parent = load(saved["paper"][1])
    before = (frozen(parent), parent.report.to_dict(), parent.state)
    first, second = parent.fork(), parent.fork()
    await streamed(first, COUNT // 2)
    assert len(first.report.batches) == len(parent.report.batches) + 4
    first.threshold = 0.2
    first.report.notes.append("of the first alone")
    first.report.templates["x"] = "y"
    assert (frozen(second), second.report.to_dict(), second.state) == before
    second.reset()
    assert second.report.batches == []
    assert (frozen(parent), parent.report.to_dict(), parent.state) == before
    assert len(first.report.batches) == len(parent.report.batches) + 4


async def test_a_stream_does_not_write_into_its_detectors_report(saved: dict[str, tuple[Path, Path]]) -> None:
    ants = load(saved["paper"][1])
    stream = ants.stream(PICTURES[:6], features=FEATURES[:6])
    stream.report.versions["x"] = "y"
    stream.report.templates["x"] = "y"
    assert "x" not in ants.report.versions | ants.report.templates


def test_a_fork_from_a_folder_has_this_detectors_settings(saved: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    parent = load(saved["paper"][1], scoring={"temperature": 0.2, "in_score": "union"})
    forked = parent.fork(saved["paper"][1])
    assert frozen(forked) == frozen(parent)
    assert forked.settings == parent.settings
    other = cold(changed(PAPER, **QUIET, stream={"batch_size": BATCH}, mining={"rule": "histogram"}))
    with pytest.raises(DetectorFolderError, match=r"mining\.rule is fixed"):
        other.fork(saved["paper"][1])
    assert parent.classes == CLASSES


# ---- thresholds ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 7, -0.5, 1.02, "high", None])
def test_a_threshold_that_no_score_can_meet_is_refused_everywhere(
    value: Any, saved: dict[str, tuple[Path, Path]]
) -> None:
    folder = saved["paper"][0]
    ants = load(folder)
    with pytest.raises(SettingError, match="threshold"):
        ants.threshold = value
    assert ants.threshold == 0.5
    assert ants.settings == load(folder).settings
    with pytest.raises(SettingError, match=r"scoring\.threshold"):
        load(folder, scoring={"threshold": value})
    with pytest.raises(SettingError, match=r"scoring\.threshold"):
        cold(changed(PAPER, scoring={"threshold": value}))


@pytest.mark.parametrize("value", [-0.01, 0, 0.0, np.float32(0.25), 1, 1.01])
def test_a_threshold_at_the_edges_is_kept(value: Any, saved: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    ants = load(saved["paper"][1])
    ants.threshold = value
    ants.save(tmp_path)
    loaded = load(tmp_path)
    assert loaded.threshold == float(value)
    unknown = loaded.score_features(FRESH).is_outlier
    assert unknown.all() or value != 1.01
    assert not unknown.any() or value > 0


@pytest.mark.parametrize("number", ["NaN", "Infinity", "7.0"])
def test_a_folder_with_such_a_threshold_is_damaged(
    number: str, saved: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    load(saved["paper"][0]).save(tmp_path)
    manifest = tmp_path / "detector.json"
    manifest.write_text(manifest.read_text().replace('"threshold": 0.5', f'"threshold": {number}', 1))
    with pytest.raises(DetectorFolderError):
        load(tmp_path)


async def test_calibrating_may_set_what_it_finds(saved: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    ants = load(saved["paper"][1])
    for rate in (0.5, 0.2):
        assert await ants.calibrate(features=FRESH, false_alarms=rate) == ants.threshold
        assert ants.settings.scoring.threshold == "calibrated"
        ants.save(tmp_path)
        assert load(tmp_path).threshold == ants.threshold


async def test_a_calibration_outlives_what_was_learned(saved: dict[str, tuple[Path, Path]]) -> None:
    ants = load(saved["paper"][1])
    await ants.calibrate(features=FRESH, false_alarms=0.2)
    ants.reset()
    assert ants.detector.calibration is not None
    assert np.float32(ants.threshold) == np.sort(ants.score_features(FRESH).id_score)[int(0.2 * (len(FRESH) + 1)) - 1]


@pytest.mark.parametrize("taught", [False, True])
def test_a_threshold_that_was_never_calibrated_is_refused(taught: bool, saved: dict[str, tuple[Path, Path]]) -> None:
    with pytest.raises(SettingError, match="ants calibrate"):
        load(saved["paper"][taught], scoring={"threshold": "calibrated"})
    with pytest.raises(SettingError, match="then calibrate"):
        cold(changed(WORLDS["paper"], **QUIET, scoring={"threshold": "calibrated"}))


def test_a_setting_that_a_pool_does_not_use_is_refused(saved: dict[str, tuple[Path, Path]]) -> None:
    with pytest.raises(SettingError, match=r"activation\.enabled has no use"):
        load(saved["active"][1], scoring={"in_score": "pool"})
    with pytest.raises(SettingError, match=r"mining\.describe_least is used only where mining\.describe is a value"):
        load(saved["paper"][1], mining={"describe_least": 3})
