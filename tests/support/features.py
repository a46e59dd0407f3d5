"""Features of pictures in tests."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from ants_engine.clip.encoding import Encoder
from ants_engine.clip.sources import open_images
from ants_engine.clip.worker import ClipWorker
from ants_engine.settings.config import ImageSettings


def image_features(encoder: Encoder, images: Sequence[Image.Image]) -> torch.Tensor:
    """Encode RGB pictures to (N, D)."""
    return encoder.encode_inputs([encoder.preprocess(image) for image in images])


async def worker_features(worker: ClipWorker, images: Sequence[Any]) -> torch.Tensor:
    """Encode pictures in one batch of a worker, which must accept all of them."""
    limits = ImageSettings(on_error="raise")
    return torch.cat([batch.features async for batch in worker.image_batches(open_images(images), len(images), limits)])
