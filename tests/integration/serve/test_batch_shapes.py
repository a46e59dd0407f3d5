"""Bits do not depend on the sizes that were found to agree, and do on others."""

from pathlib import Path

import torch
from torch import Tensor

from ants_engine import ANTS
from ants_engine.clip.encoder import ClipEncoder
from ants_engine.serve.batch_shapes import agreeing_sizes


def test_sizes_that_agree_on_noise_agree_on_pictures(detector: Path, encoder: ClipEncoder, jpegs: list[bytes]) -> None:
    from ants_engine.clip.decode import load_rgb
    from ants_engine.config import ImageSettings

    ants = ANTS.load(detector, clip={"batch_size": 16})
    inputs = [encoder.preprocess(load_rgb(one, name="x", limits=ImageSettings())) for one in jpegs[:16]]
    sizes = agreeing_sizes(ants.encoder.encode_inputs, inputs[0].shape, 16)
    whole = ants.encoder.encode_inputs(inputs)
    for size in sizes:
        parts = [ants.encoder.encode_inputs(inputs[start : start + size]) for start in range(0, 16, size)]
        assert torch.equal(torch.cat(parts), whole)


def test_a_size_whose_bits_differ_is_left_out() -> None:
    def encode(rows: list[Tensor]) -> Tensor:
        # in threes and fewer it sums in another order
        sums = torch.zeros(len(rows))
        for column in torch.stack(rows).unbind(1)[:: -1 if len(rows) < 4 else 1]:
            sums = sums + column
        return sums[:, None]

    assert agreeing_sizes(encode, (1000,), 24) == (4, 8, 16, 24)
    assert agreeing_sizes(lambda rows: torch.stack(list(rows)), (4,), 1) == (1,)
