"""A small detector made of seeded random features, for tests that need one."""

from dataclasses import replace

import torch

from ants_engine.detector.class_list import ClassList
from ants_engine.detector.detector import Detector
from ants_engine.detector.negative_bank import NegativeBank
from ants_engine.learning.detector_folder import SavedDetector
from ants_engine.learning.report import BuildReport
from ants_engine.learning.state import AdaptationState
from ants_engine.settings.config import Settings

DIM = 16


def unit_rows(rows: int, seed: int, dim: int = DIM) -> torch.Tensor:
    """Return (rows, dim) L2-normalised random features."""
    features = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(features, dim=1)


def bank(kind: str, size: int, seed: int) -> NegativeBank:
    """Return a bank of random texts."""
    texts = tuple(f"{kind} text {i}" for i in range(size))
    return NegativeBank(kind, texts, tuple(f"{kind} source {i}" for i in range(size)), unit_rows(size, seed))


def small_detector(ens: int = 5, vsnl: int = 4, weight: float = 0.25) -> Detector:
    """Return a detector of three classes with banks of the given sizes."""
    names = ("cat", "dog", "owl")
    return Detector(
        classes=ClassList(names, tuple((f"The nice {name}.",) for name in names)),
        class_features=unit_rows(3, 1),
        initial=bank("neglabel", 12, 2),
        ens=bank("ens", ens, 3),
        vsnl=bank("vsnl", vsnl, 4),
        temperature=0.1,
        groups=4,
        seed=0,
        weight=weight,
        threshold=0.5,
        clip_identity={"sha256": "0" * 64},
    )


def untaught(detector: Detector, settings: Settings) -> AdaptationState:
    """Return the state of a detector whose banks are there and whose history is not."""
    return replace(AdaptationState.cold(detector, settings), detector=detector)


def saved_detector(
    detector: Detector | None = None, settings: Settings | None = None, report: BuildReport | None = None
) -> SavedDetector:
    """Return what a detector folder holds."""
    chosen = settings or Settings()
    return SavedDetector(untaught(detector or small_detector(), chosen), chosen, report or BuildReport())
