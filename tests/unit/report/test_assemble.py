from dataclasses import replace

import pytest
import torch

from ants_engine.report.assemble import detector_document
from tests.support.report_world import PLAIN, features, taught


@pytest.mark.parametrize("fusion", ["adaptive", "union", "pool"])
async def test_shares_are_shown_only_where_they_sum_to_the_score(fusion: str) -> None:
    saved = (await taught(count=40)).saved
    fused = replace(saved.state.detector, fusion=fusion)
    saved = replace(saved, state=replace(saved.state, detector=fused))

    async def encode(_: object) -> tuple[torch.Tensor, list[str], dict[int, Exception]]:
        raise AssertionError("features are given")

    rows, labels = features(24, PLAIN)
    document = await detector_document(saved, encode, features=rows, labels=labels)  # type: ignore[arg-type]
    assert document.pictures is not None
    assert document.comparison is not None
    assert any(document.pictures.weighed) == (fusion != "pool")
    assert ("texts" in document.missing) == (fusion == "pool")
    assert any(text.moved is not None for text in document.texts) == (fusion != "pool")
    assert all(text.nearest_class is not None for text in document.texts if text.kind == "ens")
