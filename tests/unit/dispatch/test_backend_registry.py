"""Backends are found by entry point, and their options are checked."""

import sys
from pathlib import Path
from typing import Any

import pytest

from ants_engine.dispatch.backend_registry import available, backend_name, create_backend, declared_model
from ants_engine.errors import MissingDependencyError, SettingError, UnknownBackendError
from ants_engine.protocol import Backend
from ants_engine.settings.config import MLLMSettings

MODULE = """
from pydantic import BaseModel, ConfigDict, SecretStr
from ants_engine.protocol import Answer, Capabilities

class Kite:
    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)
        model: str
        detail: int = 1
        key: SecretStr | None = None
    capabilities = Capabilities()
    def __init__(self, options):
        self.options = options
    async def identity(self): return {"model": self.options.model}
    async def load(self): pass
    async def generate(self, call): return Answer("hi")
    async def aclose(self): pass

class Lazy(Kite):
    def __init__(self, options):
        import no_such_package_here.part

class Partial:
    Options = Kite.Options
    def __init__(self, options): pass

class Plain:
    pass
"""
POINTS = """\
[ants_engine.backends]
kite = kite_backend:Kite
lazy = kite_backend:Lazy
partial = kite_backend:Partial
plain = kite_backend:Plain
gone = kite_backend:Gone
broken = kite_broken:Anything
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kite_backend.py").write_text(MODULE)
    (tmp_path / "kite_broken.py").write_text("import no_such_package_here\n")
    info = tmp_path / "kite_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kite-backend\nVersion: 1.0\nProvides-Extra: lazy\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("kite_backend", "kite_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def settings(**values: Any) -> MLLMSettings:
    return MLLMSettings.model_validate(values)


def test_installed_backends_are_listed() -> None:
    assert {"huggingface", "openai", "scripted", "kite"} <= set(available())
    assert available() == sorted(available())


def test_a_backend_of_another_package_is_made_from_its_own_options() -> None:
    backend = create_backend(settings(backend="kite", model="m", detail=2))
    assert isinstance(backend, Backend)
    assert backend.options.detail == 2  # type: ignore[attr-defined]
    assert backend_name(type(backend)) == "kite"
    assert backend_name(Path) == "Path"


def test_an_unknown_backend_names_the_nearest_and_the_installed() -> None:
    with pytest.raises(UnknownBackendError, match=r'no backend "kit" is installed; did you mean kite\?.*huggingface'):
        create_backend(settings(backend="kit"))


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(
        SettingError, match=r"^mllm\.modle: unknown setting of backend kite; did you mean mllm\.model\?"
    ):
        create_backend(settings(backend="kite", model="m", modle="x"))


def test_every_bad_option_is_named_and_no_value_repeated() -> None:
    with pytest.raises(SettingError) as caught:
        create_backend(settings(backend="kite", detail="sk-secret", key=17))
    message = str(caught.value)
    assert "mllm.model: backend kite needs it" in message
    assert "mllm.detail: " in message
    assert "sk-secret" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("name", "advice"),
    [("broken", "pip install no_such_package_here"), ("lazy", r"pip install 'kite-backend\[lazy\]'")],
)
def test_a_missing_package_comes_with_the_line_that_installs_it(name: str, advice: str) -> None:
    with pytest.raises(MissingDependencyError, match=rf"backend {name} needs package no_such_package_here.*{advice}$"):
        create_backend(settings(backend=name, model="m"))


@pytest.mark.parametrize(
    ("name", "complaint"), [("plain", "is not a backend"), ("gone", "does not exist"), ("partial", "lacks a part")]
)
def test_what_is_no_backend_is_called_so(name: str, complaint: str) -> None:
    with pytest.raises(UnknownBackendError, match=complaint):
        create_backend(settings(backend=name, model="m"))


@pytest.mark.parametrize(
    ("model", "declared"),
    [
        ("Qwen/Qwen2-VL-2B-Instruct", "Qwen/Qwen2-VL-2B-Instruct"),
        ("gpt-4o", "gpt-4o"),
        ("org/model:free", "org/model:free"),
        ("/home/me/models/tiny", "tiny"),
        ("./tiny/", "tiny"),
        ("../mllm", "mllm"),
        ("~/tiny", "tiny"),
        ("examples/emoji_world/mllm", "mllm"),
        ("C:\\models\\tiny", "tiny"),
        (Path("/home/me/tiny"), "tiny"),
    ],
)
def test_the_declared_name_holds_no_machine_path(model: object, declared: str) -> None:
    assert declared_model(settings(backend="kite", model=model)) == declared


def test_the_declared_name_falls_back_to_the_backends_default() -> None:
    assert declared_model(settings(backend="scripted")) == "scripted"
    assert declared_model(settings(backend="kite")) == ""
    assert declared_model(settings(backend="not installed")) == ""
