"""What a detector's folder may not decide for whoever loads it."""

import shlex
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from ants_engine import ANTS
from ants_engine.cli.options import assigned
from ants_engine.clip.encoding import GivenEncoder
from ants_engine.dispatch.backend_registry import GROUP, load_backend_class
from ants_engine.errors import SettingError, UsageError
from ants_engine.learning.detector_folder import save_detector
from ants_engine.settings.config import MLLMSettings, Settings
from ants_engine.settings.loader import load_settings
from ants_engine.settings.saved import GUARDED, HARMLESS, refuse_unconfirmed, taken_over, unconfirmed
from tests.unit.detector.detectors import DIM, saved_detector

AWAY = {"backend": "openai", "model": "m", "base_url": "https://evil.example/v1", "api_key_env": "AWS_SECRET"}
ALL = ("mllm.backend", "mllm.model", "mllm.base_url", "mllm.api_key_env")


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("ANTS_"):
            monkeypatch.delenv(name)


def keys(saved: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one.key for one in unconfirmed(load_settings(environment={}, **saved), given))


@pytest.mark.parametrize(
    ("mllm", "given", "expected"),
    [
        (AWAY, {}, ALL),
        (AWAY, {"mllm": {"model": "other"}}, ("mllm.backend", "mllm.base_url", "mllm.api_key_env")),
        (AWAY, {"mllm": {"base_url": "https://evil.example/v1"}}, ("mllm.backend", "mllm.model", "mllm.api_key_env")),
        (AWAY, {"mllm": MLLMSettings.model_validate({"base_url": "https://mine.example/v1"})}, ALL[:2] + ALL[3:]),
        (AWAY, {"mllm": AWAY}, ()),
        (AWAY, {"mllm": {"backend": "huggingface"}}, ()),
        (AWAY, {"mllm": {"backend": "openai"}}, ALL[1:]),
        # this machine, or the backend's own address, is no better: a key and pictures go out of this process
        ({"backend": "openai", "model": "m", "base_url": "http://127.0.0.1:8000/v1"}, {}, ALL[:3]),
        ({"backend": "openai", "model": "m"}, {}, ALL[:2]),
        ({"backend": "openai", "model": "m", "api_key_env": "OPENAI_API_KEY"}, {}, ALL[:2]),
        ({"backend": "of_another_package", "x": 1}, {}, ("mllm.backend", "mllm.x")),
        ({"backend": "huggingface", "model": "a/b", "trust_remote_code": True}, {}, ("mllm.trust_remote_code",)),
        ({"backend": "huggingface", "model": "a/b", "trust_remote_code": False}, {}, ()),
        ({"backend": "huggingface", "model": "//host/share/model"}, {}, ("mllm.model",)),
        ({"backend": "huggingface", "model": "a/b", "surprise": 1}, {}, ("mllm.surprise",)),
        (
            {"backend": "huggingface", "model": "a/b", "trust_remote_code": True},
            {"mllm": {"trust_remote_code": True}},
            (),
        ),
    ],
)
def test_what_its_user_has_to_say_again(mllm: dict[str, Any], given: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert keys({"mllm": mllm}, given) == expected


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({}, ()),
        ({"preset": "reference", "seed": 7, "clip": {"model": "ViT-L-14", "pretrained": "openai"}}, ()),
        ({"clip": {"model": "./clip"}, "lexicon": {"source": "./words.txt"}}, ()),
        ({"clip": {"model": "\\\\host\\share"}}, ("clip.model",)),
        ({"clip": {"feature_store": "f"}}, ("clip.feature_store",)),
        ({"clip": {"cache_dir": "c"}}, ("clip.cache_dir",)),
        ({"text": {"feature_cache": None}, "dispatch": {"runs": None}}, ()),
        ({"text": {"feature_cache": "/x"}}, ("text.feature_cache",)),
        ({"dispatch": {"store": "/x", "runs": "/y"}}, ("dispatch.store", "dispatch.runs")),
        ({"dispatch": {"budget": {"requests": 5}, "mode": "replay"}}, ()),
        ({"pictures": {"urls": "allow", "url_hosts": ["a"]}}, ("pictures.urls", "pictures.url_hosts")),
        ({"pictures": {"max_pixels": 1 << 40}}, ("pictures.max_pixels",)),
        ({"pictures": {"max_bytes": 1}}, ()),
        ({"prompts": {"folder": "p"}}, ("prompts.folder",)),
    ],
)
def test_what_a_folder_may_set_by_itself(saved: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert keys(saved, {}) == expected
    plain = load_settings(environment={}, **saved).model_dump()
    assert keys(saved, plain) == (), "what has been given again holds"


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_setting_is_harmless_or_guarded_and_a_new_one_is_not_harmless() -> None:
    known = set(leaves(Settings))
    for point in entry_points(group=GROUP):
        known |= {f"mllm.{point.name}.{option}" for option in load_backend_class(point.name).Options.model_fields}
    assert {*HARMLESS} & {*GUARDED} == set()
    assert known - {*HARMLESS, *GUARDED} == set(), "say in saved_settings.py whether a folder may set it by itself"
    assert {*HARMLESS, *GUARDED} - known == set(), "these are no settings any more"


def test_a_setting_that_nobody_has_thought_about_needs_its_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(HARMLESS, "mining.gamma")
    (found,) = unconfirmed(load_settings(environment={}, mining={"gamma": 0.25}), {})
    assert found.key == "mining.gamma"
    with pytest.raises(SettingError, match=r"mining\.gamma = 0\.25"):
        refuse_unconfirmed([found], asking=False)
    assert not unconfirmed(load_settings(environment={}), {}), "a default is no matter"


def test_what_the_users_own_environment_says_needs_no_second_word(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = {"dispatch": {"store": "/data/store"}, "pictures": {"urls": "allow"}}
    monkeypatch.setenv("ANTS_DISPATCH__STORE", "/data/store")
    assert keys(saved, {}) == ("pictures.urls",)
    monkeypatch.setenv("ANTS_DISPATCH__STORE", "/data/other")
    assert keys(saved, {}) == ("pictures.urls", "dispatch.store")


def test_options_of_another_backend_are_not_taken_over() -> None:
    saved = load_settings(environment={}, mllm=AWAY | {"trust_remote_code": True, "image_max_side": 99})
    given = {"mllm": {"backend": "huggingface", "model": "mine"}}
    merged = load_settings(taken_over(saved, given), environment={}, **given)
    assert merged.mllm.model_extra == {"model": "mine"}
    assert merged.mllm.image_max_side == 99
    assert taken_over(saved, {"mllm": {"backend": "openai"}}) is saved


FEATURES = np.eye(DIM, dtype=np.float32)


def test_nothing_is_asked_of_whoever_loads_what_they_saved_by_default(tmp_path: Path) -> None:
    save_detector(tmp_path, saved_detector(settings=load_settings(environment={})))
    ants = ANTS.load(tmp_path)
    assert len(ants.score_features(FEATURES)) == DIM
    assert not ants.stream(features=FEATURES).active


def test_a_misspelt_setting_of_a_backend_is_named_also_where_nothing_is_asked(tmp_path: Path) -> None:
    save_detector(tmp_path, saved_detector(settings=load_settings(environment={})))
    for mllm, said in (
        ({"base_ulr": "http://x", "backend": "openai"}, r"mllm\.base_ulr: .*did you mean mllm\.base_url"),
        ({"bakend": "openai"}, r"mllm\.bakend: unknown setting of backend huggingface"),
        ({"backend": "opnai"}, "no backend"),
    ):
        with pytest.raises(UsageError, match=said):
            ANTS.load(tmp_path, mllm=mllm)
    assert ANTS.load(tmp_path, mllm={"backend": "openai"}).settings.mllm.backend == "openai"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"config": "ants.toml"}, "has its settings"),
        ({"environment": {}}, "has its settings"),
        ({"mllm": "openai"}, "'mllm'"),
        ({"mllm": 3}, "'mllm'"),
        ({"scoring": [0.3]}, "'scoring'"),
        ({"thresholds": 0.3}, "unknown setting 'thresholds'"),
    ],
)
def test_what_is_no_setting_is_refused_in_words(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_detector(tmp_path, saved_detector(settings=load_settings(environment={})))
    with pytest.raises(SettingError, match=said):
        ANTS.load(tmp_path, **given)


def test_a_threshold_is_a_number(tmp_path: Path) -> None:
    save_detector(tmp_path, saved_detector(settings=load_settings(environment={})))
    ants = ANTS.load(tmp_path)
    before = ants.threshold
    for wrong in (True, np.True_, 10**400, None, "x", [0.3], float("nan"), -float("inf"), 7):
        with pytest.raises(SettingError):
            ants.threshold = wrong
        assert ants.threshold == before


def test_a_stream_does_not_start_before_that(tmp_path: Path) -> None:
    save_detector(tmp_path, saved_detector(settings=load_settings(environment={}, mllm=AWAY)))
    ants = ANTS.load(tmp_path)
    assert len(ants.score_features(FEATURES)) == DIM, "frozen scoring asks nobody"
    for use in (lambda: ants.stream(features=FEATURES), ants.make_backend, ants.fork().make_backend):
        with pytest.raises(SettingError, match=r"mllm\.base_url = .*your pictures and your key would be sent there"):
            use()
    mine = ANTS.load(tmp_path, mllm=AWAY)
    assert not mine.stream(features=FEATURES).active


def test_the_error_gives_the_words_that_say_it_again(tmp_path: Path) -> None:
    odd = {"backend": "openai", "model": "123", "extra_body": {"a b": ["c'd"]}, "base_url": "https://h.example/v1"}
    saved = {"mllm": odd, "pictures": {"url_hosts": ["x y"]}, "dispatch": {"store": "/a 'b'"}}
    save_detector(tmp_path, saved_detector(settings=load_settings(environment={}, **saved)))
    ants = ANTS.load(tmp_path)
    with pytest.raises(SettingError) as error:
        ants.stream(features=FEATURES)
    words = shlex.split(str(error.value).partition("say it again: ")[2].partition(" (in Python: ")[0])
    assert words[::2] == ["--set"] * len(words[1::2])
    again = assigned(tuple(words[1::2]))
    assert again == saved
    assert not ANTS.load(tmp_path, **again).stream(features=FEATURES).active
    python = str(error.value).partition("ANTS.load(folder, ")[2].partition(")). Another")[0]
    assert eval(f"dict({python})") == saved  # our own words


@pytest.mark.parametrize(
    "own",
    [{"pictures": {"urls": "allow"}}, {"pictures": {"url_hosts": ["localhost"]}}, {"clip": {"feature_store": "f"}}],
)
async def test_mere_scoring_opens_no_guard_and_writes_nowhere(own: dict[str, Any], tmp_path: Path) -> None:
    encoder = GivenEncoder({}, DIM)
    detector = saved_detector(settings=load_settings(environment={}, **own))
    object.__setattr__(detector.state.detector, "clip_identity", {"sha256": encoder.identity_sha256})
    save_detector(tmp_path / "d", detector)
    ants = ANTS.load(tmp_path / "d", encoder=encoder)
    picture = tmp_path / "a.png"
    with pytest.raises(SettingError, match="say it again"):
        await ants.score(["http://localhost:1/a.png"])
    with pytest.raises(SettingError, match="say it again"):
        ants.explain(str(picture))
    with pytest.raises(SettingError, match="say it again"):
        ants.stream([picture])
    assert len(ants.score_features(FEATURES)) == DIM


async def test_an_mllm_of_the_users_own_answers_for_the_folders(tmp_path: Path) -> None:
    from ants_engine.backends.scripted import ScriptedBackend

    save_detector(tmp_path, saved_detector(settings=load_settings(environment={}, mllm=AWAY)))
    assert not ANTS.load(tmp_path, backend=ScriptedBackend()).stream(features=FEATURES).active
    assert not ANTS.load(tmp_path).stream(features=FEATURES, backend=ScriptedBackend()).active
