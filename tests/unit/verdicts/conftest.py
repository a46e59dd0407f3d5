"""A small world, made up."""

import pytest
import torch

from benchmarks.verdicts.worlds import World

IDS, OODS, DIM = 300, 200, 24


@pytest.fixture(scope="module")
def world() -> World:
    """Pictures around four ID classes and four other things, each described by the text that it is near to."""
    random = torch.Generator().manual_seed(0)

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=random), dim=-1)

    classes, others = unit(4, DIM), unit(4, DIM)
    shown = torch.cat([torch.arange(IDS) % 4, 4 + torch.arange(OODS) % 4])
    things = torch.cat([classes, others])
    features = torch.nn.functional.normalize(things[shown] + 0.9 * unit(IDS + OODS, DIM), dim=1)
    return World(
        name="made up",
        kind="far",
        classes=classes,
        lexicon=unit(300, DIM),
        features=features,
        ids=IDS,
        said=torch.where(shown < 4, -1, shown - 4),
        sentences=others,
        similar={0: (0, 1), 2: (1,)},
        look_alikes=unit(2, DIM),
        temperature=0.1,
    )
