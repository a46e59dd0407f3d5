"""What holds for every backend that comes with the package."""

import inspect
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from pydantic import BaseModel, ValidationError

from ants_engine.protocol import Backend

NAMES = ["huggingface", "openai", "scripted"]


def load(name):
    (point,) = entry_points(group="ants_engine.backends", name=name)
    return point.load()


def test_all_are_found():
    assert {point.name for point in entry_points(group="ants_engine.backends")} >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
async def test_satisfies_the_protocol(name):
    kind = load(name)
    backend = kind(kind.Options(model="some/model"))
    assert isinstance(backend, Backend)
    assert backend.capabilities.max_concurrency >= 1
    await backend.aclose()
    await backend.aclose()


@pytest.mark.parametrize("name", NAMES)
def test_options_are_strict_frozen_and_documented(name):
    options = load(name).Options
    assert issubclass(options, BaseModel)
    assert options.model_config["frozen"]
    with pytest.raises(ValidationError, match="modle"):
        options(model="some/model", modle="x")
    lines = [line.strip() for line in inspect.getsource(options).splitlines()]
    for field in options.model_fields:
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{field}:"))
        assert lines[at + 1].startswith('"""'), field


@pytest.mark.parametrize("name", NAMES)
def test_importing_is_cheap(name):
    program = (
        f"import sys, ants_engine.backends.{name}\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'httpx2', 'PIL', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)), sys.modules.get('openai'))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[] None"
