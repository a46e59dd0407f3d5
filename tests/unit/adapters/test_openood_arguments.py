from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ants_engine.adapters.openood import Arguments
from ants_engine.errors import ClassListError, SettingError


class Config(dict[str, Any]):
    """As OpenOOD's: attributes are keys, and one that is not there is a KeyError."""

    def __getattr__(self, key: str) -> Any:
        return self[key]


def configured(**arguments: Any) -> dict[str, Any]:
    return {"postprocessor": {"name": "ants", "postprocessor_args": arguments}}


def test_nothing_said() -> None:
    for config in (None, {}, Config(), Config(postprocessor=Config()), SimpleNamespace(), "ants"):
        assert Arguments.read(config) == Arguments()


def test_every_form_of_a_configuration_is_read() -> None:
    wanted = Arguments(detector="saved", settings={"clip": {"model": "./a.b"}}, mode="stream")
    values: dict[str, Any] = {"detector": "saved", "settings": {"clip": {"model": "./a.b"}}, "mode": "stream"}
    nested = Config(
        postprocessor=Config(postprocessor_args=Config(values, settings=Config(clip=Config(model="./a.b"))))
    )
    attributes = SimpleNamespace(postprocessor=SimpleNamespace(postprocessor_args=SimpleNamespace(**values)))
    for config in (configured(**values), nested, attributes):
        found = Arguments.read(config)
        assert found == wanted
        assert type(found.settings) is dict


def test_class_names_are_a_list_or_a_file(tmp_path: Path) -> None:
    listed = tmp_path / "classes.txt"
    listed.write_text("tabby cat\n\n  owl \n", "utf-8")
    assert Arguments.read(configured(id_classes=str(listed))).id_classes == ("tabby cat", "owl")
    assert Arguments.read(configured(id_classes=["tabby cat", "owl"])).id_classes == ("tabby cat", "owl")
    with pytest.raises(ClassListError, match=r"none\.txt cannot be read"):
        Arguments.read(configured(id_classes=str(tmp_path / "none.txt")))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"detektor": "saved"}, "detektor is unknown; did you mean detector"),
        ({"xyz": 1}, "known are detector, id_classes, settings, mode"),
        ({"mode": "streaming"}, "'streaming'; one of frozen, stream, validation"),
        ({"detector": "saved", "id_classes": ["owl"]}, "not both"),
    ],
)
def test_mistakes_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        Arguments.read(configured(**arguments))
