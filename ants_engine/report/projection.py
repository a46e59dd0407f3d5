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

    CLIP puts pictures and texts into two cones apart from each other (Liang et al. 2022, arXiv 2203.02053): nearness
    across them says something only once each kind is taken about its own mean.
    """
    if not len(features):
        return features
    moved = features - features.mean(dim=0)
    return normalised(moved)


def normalised(rows: Tensor) -> Tensor:
    """Return rows (N, D) of length one; one of all zeros stays so."""
    return torch.div(rows, torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-12))


def maps(pictures: Tensor, readable: list[bool], classes: Tensor, texts: Tensor) -> tuple[Map, ...]:
    """Project by PCA and, where it is installed, by UMAP too.

    Args:
        pictures: (N, D), the rows that are not readable mean nothing.
        readable: per picture.
        classes: (C, D).
        texts: (M, D).

    Raises:
        MissingDependencyError: scikit-learn is not installed.
    """
    rows = torch.tensor([row for row, one in enumerate(readable) if one], dtype=torch.int64)
    words = centred(torch.cat([classes, texts]))
    everything = torch.cat([centred(pictures[rows]), words]).double().numpy()
    found = [_map("PCA", *_pca(everything), rows.tolist(), len(readable), len(classes))]
    umap = _umap(everything)
    if umap is not None:
        found.append(_map("UMAP", umap, None, rows.tolist(), len(readable), len(classes)))
    return tuple(found)


def _map(
    method: Literal["PCA", "UMAP"],
    points: Points,
    explained: tuple[float, float] | None,
    rows: list[int],
    count: int,
    classes: int,
) -> Map:
    places = [(round(float(x), 4), round(float(y), 4)) for x, y in points]
    pictures: list[tuple[float, float] | None] = [None] * count
    for row, place in zip(rows, places[: len(rows)], strict=True):
        pictures[row] = place
    first = len(rows)
    return Map(
        method=method,
        pictures=tuple(pictures),
        classes=tuple(places[first : first + classes]),
        texts=tuple(places[first + classes :]),
        explained=explained,
    )


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
        # of what it can do without, and that a seed means one thread, which is what is wanted
        warnings.simplefilter("ignore")
        try:
            umap: Any = import_module("umap").UMAP
        except (ImportError, AttributeError):
            # another package has this name too
            return None
        made = umap(n_components=2, n_neighbors=neighbours, metric="cosine", random_state=SEED)
        return np.asarray(made.fit_transform(everything), dtype=np.float64)
