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
    from ants_engine.adaptation.report import Adaptation
    from ants_engine.ants import ANTS
    from ants_engine.build_report import BuildReport
    from ants_engine.config import Settings
    from ants_engine.detector import Detector
    from ants_engine.explanation import Explanation
    from ants_engine.progress import ProgressEvent
    from ants_engine.protocol import Answer, Backend, Call, Capabilities
    from ants_engine.run_observer import RunObserver
    from ants_engine.scores import Score, Scores, Verdict
    from ants_engine.settings_loader import load_settings
    from ants_engine.stream import Stream

_HOME = {
    "ANTS": "ants",
    "Adaptation": "adaptation.report",
    "Answer": "protocol",
    "Backend": "protocol",
    "BuildReport": "build_report",
    "Call": "protocol",
    "Capabilities": "protocol",
    "Detector": "detector",
    "Explanation": "explanation",
    "ProgressEvent": "progress",
    "RunObserver": "run_observer",
    "Score": "scores",
    "Scores": "scores",
    "Settings": "config",
    "Stream": "stream",
    "Verdict": "scores",
    "load_settings": "settings_loader",
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
