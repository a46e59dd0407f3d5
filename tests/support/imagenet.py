"""ImageNet's class names as open_clip publishes them."""

import importlib.util
import runpy
from pathlib import Path


def _class_names() -> list[str]:
    found = importlib.util.find_spec("open_clip")
    assert found is not None
    assert found.origin is not None
    # the one file of plain data: open_clip itself takes seconds to import, in each process that collects tests
    names: list[str] = runpy.run_path(str(Path(found.origin).with_name("zero_shot_metadata.py")))["IMAGENET_CLASSNAMES"]
    return names


IMAGENET_CLASSNAMES = _class_names()
