"""A bank remembers how it was cut."""

import torch

from ants_engine.method.neglabel import reference_groups
from tests.unit.detector.detectors import bank


def test_a_cut_is_made_once_per_bank() -> None:
    one, other = bank("ens", 23, 1), bank("ens", 23, 2)
    cut = one.cut(5, permute=True, seed=0)
    assert one.cut(5, permute=True, seed=0) is cut
    assert other.cut(5, permute=True, seed=0) is not cut
    groups = reference_groups(23, 5, permute=True, seed=0)
    assert torch.equal(cut.features, one.features[groups.order])
    assert cut.sizes == groups.sizes == (5,) * 4


def test_other_settings_make_another_cut() -> None:
    one = bank("ens", 23, 1)
    cuts = [
        one.cut(5, permute=True, seed=0),
        one.cut(5, permute=True, seed=1),
        one.cut(5, permute=False, seed=0),
        one.cut(7, permute=True, seed=0),
        one.cut(5, permute=True, seed=0, second_length=3),
        one.cut(5, permute=True, seed=0, second_length=3, repeats=10),
    ]
    assert len({id(cut) for cut in cuts}) == len(cuts)
    assert [cut.counts is None for cut in cuts] == [True] * 4 + [False] * 2
    # the second cut needs the rows that the first one drops
    assert len(cuts[0].features) == 20
    assert len(cuts[4].features) == 23


def test_a_short_bank_is_not_copied() -> None:
    one = bank("vsnl", 4, 1)
    cut = one.cut(4, permute=True, seed=0)
    assert cut.features is one.features
    assert cut.sizes == (4,)
    assert bank("vsnl", 0, 1).cut(4, permute=True, seed=0).sizes == ()
