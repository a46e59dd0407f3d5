"""Pictures, ID classes and negative texts in two dimensions."""

import warnings
from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ants_engine.errors import MissingDependencyError
from ants_engine.report.document import Map

SEED = 0
Points = NDArray[np.float64]


def centred(features: Tensor) -> Tensor:
    """Return features (N, D) about their own mean, L2-normalised.

    CLIP puts pictures and texts into two separate cones (Liang et al. 2022, arXiv 2203.02053): a cosine between the two
    means something only once each kind is centred on its own mean.
    """
    return normalised(features - features.mean(dim=0)) if len(features) else features


def normalised(rows: Tensor) -> Tensor:
    """Return rows (N, D) of length one; a row of zeros stays as it is."""
    return torch.div(rows, torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-12))


def maps(pictures: Tensor, rows: list[int], classes: Tensor, texts: Tensor) -> tuple[Map, ...]:
    """Project by PCA and, where it is installed, by UMAP too.

    Args:
        pictures: (N, D).
        rows: of the pictures that have features; the others get no place.
        classes: (C, D).
        texts: (M, D).

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    everything = torch.cat([centred(pictures[rows]), centred(torch.cat([classes, texts]))]).double().numpy()
    found: list[tuple[Literal["PCA", "UMAP"], Points, tuple[float, float] | None]] = [("PCA", *_pca(everything))]
    if (umap := _umap(everything)) is not None:
        found.append(("UMAP", umap, None))
    first = len(rows)
    result = []
    for method, points, explained in found:
        places = [(round(float(x), 4), round(float(y), 4)) for x, y in points]
        place_of = dict(zip(rows, places, strict=False))
        result.append(
            Map(
                method=method,
                pictures=tuple(place_of.get(row) for row in range(len(pictures))),
                classes=tuple(places[first : first + len(classes)]),
                texts=tuple(places[first + len(classes) :]),
                explained=explained,
            )
        )
    return tuple(result)


def _pca(everything: Points) -> tuple[Points, tuple[float, float] | None]:
    try:
        from sklearn.decomposition import PCA
    except ImportError:
        raise MissingDependencyError('the map needs scikit-learn: pip install "ants-engine[report]"') from None
    if min(everything.shape) < 2:
        return np.zeros((len(everything), 2)), None
    pca = PCA(2, svd_solver="full").fit(everything)
    first, second = (round(float(share), 4) for share in pca.explained_variance_ratio_)
    return np.asarray(pca.transform(everything), dtype=np.float64), (first, second)


def _umap(everything: Points) -> Points | None:
    neighbours = min(15, len(everything) - 1)
    if neighbours < 2:
        return None
    with warnings.catch_warnings():
        # about its optional packages, and that a seed means one thread, which is intended
        warnings.simplefilter("ignore")
        try:
            umap: Any = import_module("umap").UMAP
        except (ImportError, AttributeError):
            # another package has this name too
            return None
        made = umap(n_components=2, n_neighbors=neighbours, metric="cosine", random_state=SEED)
        return np.asarray(made.fit_transform(everything), dtype=np.float64)
