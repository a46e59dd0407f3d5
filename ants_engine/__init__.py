"""Zero-shot out-of-distribution detection with CLIP and a multimodal LLM (ANTS, arXiv 2509.03951).

::

    from ants_engine import ANTS
    ants = await ANTS.build(id_classes, images)
    scores = await ants.score(more_images)                  # frozen: the detector stays as it is
    async for scores in ants.stream(even_more_images): ...  # adapts as it goes

Importing this package imports neither torch nor CLIP; they come with the first name that needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ants_engine.ants import ANTS
    from ants_engine.common.progress import ProgressEvent
    from ants_engine.detector.detector import Detector
    from ants_engine.detector.scores import Adaptation, Explanation, Score, Scores, Verdict
    from ants_engine.learning.report import BuildReport
    from ants_engine.learning.run_observer import RunObserver
    from ants_engine.learning.stream import Stream
    from ants_engine.protocol import Answer, Backend, Call, Capabilities
    from ants_engine.settings.config import Settings
    from ants_engine.settings.loader import load_settings

_HOME = {
    "ANTS": "ants",
    "Adaptation": "detector.scores",
    "Answer": "protocol",
    "Backend": "protocol",
    "BuildReport": "learning.report",
    "Call": "protocol",
    "Capabilities": "protocol",
    "Detector": "detector.detector",
    "Explanation": "detector.explanation",
    "ProgressEvent": "common.progress",
    "RunObserver": "learning.run_observer",
    "Score": "detector.scores",
    "Scores": "detector.scores",
    "Settings": "settings.config",
    "Stream": "learning.stream",
    "Verdict": "detector.scores",
    "load_settings": "settings.loader",
}

__all__ = [
    "ANTS",
    "Adaptation",
    "Answer",
    "Backend",
    "BuildReport",
    "Call",
    "Capabilities",
    "Detector",
    "Explanation",
    "ProgressEvent",
    "RunObserver",
    "Score",
    "Scores",
    "Settings",
    "Stream",
    "Verdict",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
