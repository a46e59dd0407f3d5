"""open_clip's preprocessing of a picture, with its arithmetic on samples looked up in a table."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_LEVELS = 256


class Preprocess:
    """RGB pictures to the model's input, to the bit as open_clip's own transform gives it. Safe in several threads.

    A sample has 256 values, so what scaling and normalising make of each is computed once, by open_clip's own steps.
    That is quicker, and it keeps torch's threads out of those that decode: every such thread would get a team of its
    own, which spins on the cores that CLIP needs.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        """Make it from the fields of open_clip's ``PreprocessCfg``."""
        from open_clip.transform import Compose, Normalize, PreprocessCfg, ToTensor, image_transform_v2

        self.whole: Callable[[Image.Image], torch.Tensor] = image_transform_v2(
            PreprocessCfg(**settings), is_train=False
        )
        """open_clip's own."""
        self._table: NDArray[np.float32] | None = None
        steps = list(getattr(self.whole, "transforms", ()))
        # of another form in another version: taken as it is
        if len(steps) > 2 and isinstance(steps[-2], ToTensor) and isinstance(steps[-1], Normalize):
            levels = np.repeat(np.arange(_LEVELS, dtype=np.uint8)[None, :, None], 3, axis=2)
            self._table = Compose(steps[-2:])(Image.fromarray(levels)).numpy()[:, 0]
            self._shape = Compose(steps[:-2])

    def __call__(self, image: Image.Image) -> "torch.Tensor":
        """Return float32 (3, H, W)."""
        import torch

        if self._table is None:
            return self.whole(image)
        shaped: Image.Image = self._shape(image)
        if shaped.mode != "RGB":
            return self.whole(image)
        samples = np.asarray(shaped)
        values = np.empty((3, *samples.shape[:2]), np.float32)
        for channel in range(3):
            np.take(self._table[channel], samples[:, :, channel], out=values[channel])
        return torch.from_numpy(values)
