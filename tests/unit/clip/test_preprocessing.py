from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ants_engine.clip.encoder import InputBatches, Preprocess

SETTINGS: dict[str, Any] = {
    "size": 32, "mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(32, 32), (100, 75), (75, 100), (10, 200), (1, 1)])
def test_the_same_bits(mode: str, interpolation: str, size: tuple[int, int]) -> None:
    given = SETTINGS | {"resize_mode": mode, "interpolation": interpolation, "fill_color": 9}
    ours = Preprocess(given)
    assert ours._table is not None
    image = noise(*size)
    assert torch.equal(ours(image), ours.whole(image))
    assert ours(image).shape == (3, 32, 32)


def test_every_level_of_every_channel() -> None:
    ours = Preprocess(SETTINGS | {"size": 256, "mean": [0.0, 0.5, 0.3], "std": [1.0, 0.5, 0.7]})
    for turned in range(3):
        ramps = [np.roll(np.tile(np.arange(256, dtype=np.uint8), (256, 1)), turned * 50 * c, axis=1) for c in range(3)]
        image = Image.fromarray(np.stack(ramps, axis=2))
        assert torch.equal(ours(image), ours.whole(image))


def test_pictures_of_another_mode_go_open_clips_way() -> None:
    ours = Preprocess(SETTINGS)
    for mode in ("L", "RGBA", "P"):
        image = noise(50, 40).convert(mode)
        assert torch.equal(ours(image), ours.whole(image))


def test_steps_of_another_form_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip.transform

    monkeypatch.setattr(open_clip.transform, "image_transform_v2", lambda *_, **__: lambda image: torch.ones(3, 2, 2))
    ours = Preprocess(SETTINGS)
    assert ours._table is None
    assert torch.equal(ours(noise(4, 4)), torch.ones(3, 2, 2))


INPUTS = [torch.full((3, 4, 5), float(number)) for number in range(3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_become_one_batch_in_the_models_precision(dtype: torch.dtype) -> None:
    batch = InputBatches("cpu", dtype).move(INPUTS)
    assert batch.shape == (3, 3, 4, 5)
    assert batch.dtype == dtype
    assert batch.is_contiguous()
    torch.testing.assert_close(batch.float(), torch.stack(INPUTS))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_channels_are_last_and_reused_memory_spoils_nothing() -> None:
    batches = InputBatches("cuda", torch.float16)
    moved = [batches.move([one + 10 * turn for one in INPUTS]) for turn in range(20)]
    assert moved[0].is_contiguous(memory_format=torch.channels_last)
    for turn, batch in enumerate(moved):
        torch.testing.assert_close(batch.float().cpu(), torch.stack(INPUTS) + 10 * turn)
