import pytest

from ants_engine.datasets.benchmark import group_of


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("ssb_hard", "near"),
        ("SSB-hard", "near"),
        ("ninco", "near"),
        ("near", "near"),
        ("near_wolves", "near"),
        ("nearly_all", "other"),
        ("inaturalist", "far"),
        ("dtd", "far"),
        ("OpenImage_O", "far"),
        ("places365", "far"),
        ("far-2", "far"),
        ("farm", "other"),
        ("mine", "other"),
    ],
)
def test_groups_by_name(name: str, group: str) -> None:
    assert group_of(name) == group
