import pytest
import torch

from ants_engine.clip.encoder import InputBatches

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
