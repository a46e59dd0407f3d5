"""Which OOD sets are near, which are far, and which lists are no OOD set at all.

Source: OpenOOD v1.5, arXiv 2306.09301, and the four sets that the CLIP literature uses with ImageNet.
"""

import re
from typing import Literal, TypeAlias

Group: TypeAlias = Literal["near", "far", "other"]
"""``other``: neither is known, so that the set enters no mean."""

NEAR = frozenset({"ssb_hard", "ninco", "cifar10", "cifar100", "tin", "species", "imagenet_21k"})
FAR = frozenset({
    "inaturalist", "textures", "texture", "dtd", "openimage_o", "sun", "places", "places365", "mnist", "svhn", "lsun",
    "isun",
})  # fmt: skip
SHIFTED = frozenset({
    "imagenet_v2", "imagenetv2", "imagenet_c", "imagenetc", "imagenet_r", "imagenetr", "imagenet_es", "imagenetes",
    "cifar10c", "cifar100c", "cinic10",
})  # fmt: skip
"""ID classes under another light: lists that lie beside the OOD ones and are none (full-spectrum OOD detection)."""


def group_of(name: str) -> Group:
    """Say whether an OOD set is near or far by its name; letter case and ``-`` for ``_`` make no difference."""
    plain = plain_name(name)
    if plain in NEAR or re.match("near(?![a-z])", plain):
        return "near"
    if plain in FAR or re.match("far(?![a-z])", plain):
        return "far"
    return "other"


def plain_name(name: str) -> str:
    """Return the name as the lists above write it."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")
