"""ViT-B/32 with random weights: the arithmetic, and so the time, of the real one, without a download."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from ants_engine.clip.encoder import ClipEncoder
from ants_engine.clip.model import quiet_logging
from ants_engine.settings.config import ClipSettings

MODEL = "ViT-B-32"


@contextmanager
def random_clip(batch_size: int = 64) -> Iterator[ClipEncoder]:
    """Give an encoder, in fp32 on the CPU, whose weights file lives as long as the context."""
    with tempfile.TemporaryDirectory(prefix="ants-benchmark-") as folder:
        weights = Path(folder) / "weights.safetensors"
        with quiet_logging(), torch.random.fork_rng():
            import open_clip

            torch.manual_seed(0)
            state = open_clip.create_model(MODEL).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, weights)
        settings = ClipSettings(
            model=MODEL, pretrained=str(weights), device="cpu", precision="fp32", batch_size=batch_size
        )
        yield ClipEncoder.load(settings)
