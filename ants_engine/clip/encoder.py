"""The CLIP encoder: preprocessing, batches, features. Everything here blocks."""

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ants_engine.clip.encoding import encoder_lock
from ants_engine.clip.model import ClipModel
from ants_engine.clip.towers import CausalTextTower, ClassTokenTower
from ants_engine.common.row_blocks import RowBlocks, SideBySide
from ants_engine.errors import FeatureError, SettingError
from ants_engine.protocol import JSON
from ants_engine.settings.config import ClipSettings


class InputBatches:
    """Stacks inputs on the device; on CUDA asynchronously from pinned memory, in channels-last format."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        """Choose the target.

        Args:
            device: a torch device string.
            dtype: the model's input precision.
        """
        self._device = device
        self._dtype = dtype
        self._cuda = device.startswith("cuda")
        self._format = torch.channels_last if self._cuda else torch.contiguous_format

    def move(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (n, 3, H, W) of n inputs, each float32 (3, H, W), n at least 1."""
        # a fresh pinned buffer per batch: torch's allocator reuses one only after its copy is done
        batch = torch.empty(len(inputs), *inputs[0].shape, dtype=inputs[0].dtype, pin_memory=self._cuda)
        torch.stack(list(inputs), out=batch)
        moved = batch.to(self._device, non_blocking=self._cuda)
        return moved.to(self._dtype, memory_format=self._format)


_LEVELS = 256


class Preprocess:
    """RGB pictures to the model's input, bit for bit as open_clip's own transform. Thread-safe.

    Scaling and normalising are a lookup table over the 256 sample values, filled once by open_clip's own steps. That is
    faster, and runs no torch operation in decoding threads: each would start an OpenMP team of its own, which spins on
    the cores that CLIP needs.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        """Build it from the fields of open_clip's ``PreprocessCfg``."""
        from open_clip.transform import Compose, Normalize, PreprocessCfg, ToTensor, image_transform_v2

        self.whole: Callable[[Image.Image], torch.Tensor] = image_transform_v2(
            PreprocessCfg(**settings), is_train=False
        )
        """open_clip's own."""
        self._table: NDArray[np.float32] | None = None
        steps = list(getattr(self.whole, "transforms", ()))
        # another version's transform of another form is used as it is
        if len(steps) > 2 and isinstance(steps[-2], ToTensor) and isinstance(steps[-1], Normalize):
            levels = np.repeat(np.arange(_LEVELS, dtype=np.uint8)[None, :, None], 3, axis=2)
            self._table = Compose(steps[-2:])(Image.fromarray(levels)).numpy()[:, 0]
            self._shape = Compose(steps[:-2])

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Return float32 (3, H, W)."""
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


# ---- the encoder -----------------------------------------------------------------------------------------------------


Short = TypeVar("Short", ClassTokenTower, CausalTextTower)

_EXTREME_RATIO = 16
_CORES = SideBySide("torch-clip-core")
BLOCK = 4
"""Rows of a block on the CPU: with fewer, matrix products use other kernels; more are hardly faster."""
MANY_TEXTS = 32
"""Rows of a larger block: `BLOCK` short texts have too few tokens to occupy a core."""


class ClipEncoder:
    """A loaded CLIP model. Thread-safe: encoding is serialised by `encoder_lock`, which is yielded between batches.

    On the CPU the features of a picture or text have the same bits alone, in any batch, and with any number of torch
    threads: rows are computed in blocks of fixed shape, one thread each. On an accelerator, and for a compiled tower,
    batches are padded to ``batch_size`` and ``text_batch_size``, and smaller ones are used where a trial gives the same
    bits; there the bits may depend on those two settings.
    """

    def __init__(self, found: ClipModel, settings: ClipSettings, device: str, precision: str) -> None:
        """Load a model that has been found; `load` is the usual way.

        Args:
            found: the model.
            settings: batch sizes are taken from here.
            device: a torch device string.
            precision: ``fp32``, ``bf16`` or ``fp16``.
        """
        self._model = found.load(device, precision)
        self._tokenizer = found.load_tokenizer()
        # a fast tokenizer keeps padding state between calls, and `fits` may be called from another thread
        self._tokenizer_lock = threading.Lock()
        self._settings = settings
        self._device = device
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self._inputs = InputBatches(device, self._dtype)
        self._picture_blocks, self._text_blocks = _blocks(settings, device)
        self._preprocess = Preprocess(self._model.visual.preprocess_cfg)
        self._size = min(_pair(self._model.visual.preprocess_cfg["size"]))
        self.context_length: int = int(self._tokenizer.context_length)
        """Tokens that a text may have, start and end tokens included."""
        self.logit_scale: float = float(self._model.logit_scale.detach().float().exp().max())
        """Factor of the cosines before a softmax: 1 / temperature."""
        self._class_token_tower = self._if_equal(
            ClassTokenTower.of(self._model), self._model.encode_image, self._noise(), "pictures"
        )
        encode_image = self._class_token_tower or self._model.encode_image
        self._encode_image = torch.compile(encode_image) if settings.compile else encode_image
        tokens = self._tokens(["a", "a photo of a dog and a cat"]).to(device)
        self._short_tower = self._if_equal(CausalTextTower.of(self._model), self._model.encode_text, tokens, "texts")
        self.dim: int = int(self._encode_tokens(self._tokens(["a"])).shape[-1])
        """D, the features' length."""
        self.identity: dict[str, JSON] = self._identify(found, precision)
        """What was loaded, as JSON and without paths; ``sha256`` is over the parts that determine features."""

    @classmethod
    def load(cls, settings: ClipSettings) -> "ClipEncoder":
        """Find and load the model that the settings name (seconds, longer with a download).

        Raises:
            ModelNotFoundError: it cannot be found, or its files cannot be used; the message says what to do.
            SettingError: the device is not there, or settings contradict each other.
        """
        found = ClipModel.find(settings)
        device = _choose_device(settings.device)
        precision = settings.precision
        if precision == "auto":
            precision = "fp32" if device.startswith("cpu") else "fp16"
        return cls(found, settings, device, precision)

    @property
    def identity_sha256(self) -> str:
        """Hex digest of the parts of `identity` that determine features: not names, device or versions."""
        return str(self.identity["sha256"])

    @property
    def text_batches_sha256(self) -> str:
        """Hex digest of what may change the last bits of a text feature: model, device, versions, shapes of batches."""
        parts = [self.identity_sha256, *(self.identity[name] for name in ("device", "versions", "towers"))]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Turn an RGB picture into the model's input: float32 (3, H, W). Safe to call from several threads."""
        width, height = image.size
        short, longest = sorted((width, height))
        most = short * min(_EXTREME_RATIO, self._size)
        if longest > most:
            # resizing 1 x 50,000 pixels would take gigabytes, and the centre crop drops those ends anyway
            left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
            image = image.crop((left, top, left + min(width, most), top + min(height, most)))
        return self._preprocess(image)

    def encode_inputs(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Encode preprocessed pictures, each float32 (3, H, W); the lock is yielded every ``batch_size``.

        Returns:
            Float32 (N, D) on the CPU, every row of length 1, in the order given.

        Raises:
            FeatureError: the model gave a number that is not finite.
        """
        if not inputs:
            return torch.empty(0, self.dim)
        rows = []
        with encoder_lock(self) as lock:
            for start in range(0, len(inputs), self._settings.batch_size):
                if start:
                    lock.yield_to_waiters()
                batch = self._inputs.move(inputs[start : start + self._settings.batch_size])
                rows.append(_run(self._picture_blocks, self._encode_image, batch))
        # the accelerator is synchronised once, here, and not after every batch
        return _normalised(torch.cat(rows), "pictures")

    def encode_texts(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> torch.Tensor:
        """Encode texts: duplicates once, those of one length together; the lock is yielded every ``text_batch_size``.

        A text longer than the context (`fits`) is truncated.

        Args:
            texts: K texts.
            on_progress: called in this thread after each batch with the number of different texts encoded so far.

        Returns:
            Float32 (K, D) on the CPU, every row of length 1, in the order given.

        Raises:
            FeatureError: the model gave a number that is not finite.
        """
        if not texts:
            return torch.empty(0, self.dim)
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        unique = list(row_of)
        size = self._settings.text_batch_size
        tokens = torch.cat([self._tokens(unique[i : i + size]) for i in range(0, len(unique), size)])
        lengths = self._lengths(tokens)
        # texts of one length together need no padding that depends on their neighbours
        order = torch.argsort(lengths, stable=True)
        features = torch.empty(len(unique), self.dim)
        with encoder_lock(self) as lock:
            for start in range(0, len(unique), size):
                if start:
                    lock.yield_to_waiters()
                rows = order[start : start + size]
                for length in sorted(set(lengths[rows].tolist())):
                    alike = rows[lengths[rows] == length]
                    features[alike] = self._encode_tokens(tokens[alike, :length])
                if on_progress is not None:
                    on_progress(min(start + size, len(unique)))
        return features[[row_of[text] for text in texts]]

    def fits(self, text: str) -> bool:
        """Return whether the whole text fits the model's context, so that it is not truncated."""
        return self.token_count(text) <= self.context_length

    def token_count(self, text: str) -> int:
        """Count the tokens of a text before truncation, start and end tokens included."""
        tokenizer = self._tokenizer
        inner = getattr(tokenizer, "tokenizer", None)
        if inner is None:
            return len(tokenizer.encode(text)) + 2
        clean = getattr(tokenizer, "clean_fn", None)
        if clean is None:
            from open_clip.tokenizer import basic_clean, canonicalize_text

            text = canonicalize_text(basic_clean(text))
        else:
            text = clean(text)
        own_marks = getattr(tokenizer, "tokenizer_mode", "") == "clips"
        with self._tokenizer_lock:
            ids = inner(
                text, add_special_tokens=not own_marks, truncation=False, padding=False, verbose=False
            ).input_ids
        return len(ids) + (3 if own_marks else 0)

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        with self._tokenizer_lock:
            tokens: torch.Tensor = self._tokenizer(texts)
        return tokens

    def _lengths(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return how many positions of each text are computed, int64 (K,); depends on the text alone."""
        whole = tokens.shape[1]
        if self._short_tower is None:
            return torch.full((len(tokens),), whole)
        needed = self._short_tower.positions(tokens) + 1
        # few distinct lengths make large batches; products of fewer than 4 rows use other kernels
        return torch.where(needed <= 8, needed.clamp(min=4), (needed + 3) // 4 * 4).clamp(max=whole)

    def _encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """Encode texts of one length, int64 (K, L)."""
        encode = self._model.encode_text if self._short_tower is None else self._short_tower
        return _normalised(_run(self._text_blocks, encode, tokens.to(self._device)), "texts")

    def _identify(self, found: ClipModel, precision: str) -> dict[str, JSON]:
        packages = ("open_clip_torch", "torch", "torchvision", "pillow")
        identity: dict[str, Any] = {
            "architecture": found.architecture,
            "pretrained": found.pretrained,
            "revision": found.revision,
            "weights_sha256": found.weights_sha256(),
            "config": {key: value for key, value in found.config.items() if key != "quick_gelu"},
            "quick_gelu": bool(found.config.get("quick_gelu", False)),
            "tokenizer_sha256": _tokenizer_sha256(self._tokenizer),
            "context_length": self.context_length,
            "preprocess": found.preprocess | {"size": list(_pair(self._model.visual.preprocess_cfg["size"]))},
            "precision": precision,
            # other kernels, or another order of operations, give other last bits
            "compiled": self._settings.compile,
            "towers": {
                "image": "whole" if self._class_token_tower is None else self._class_token_tower.way,
                "text": "whole" if self._short_tower is None else self._short_tower.way,
                "rows": f"{self._picture_blocks.size} pictures and {self._text_blocks.size} texts at a time",
            },
            "device": self._device.partition(":")[0],
            "dim": self.dim,
            "versions": {name: metadata.version(name) for name in packages},
        }
        identity["sha256"] = _sha256({key: identity[key] for key in _DETERMINING})
        # a JSON round trip, so that it equals what is read back from a file
        plain: dict[str, JSON] = json.loads(json.dumps(identity))
        return plain

    def _noise(self) -> torch.Tensor:
        """Return a batch of one picture of noise, the same each time."""
        height, width = _pair(self._model.visual.preprocess_cfg["size"])
        return self._inputs.move([torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))])

    def _if_equal(self, short: Short | None, own: Callable[..., Any], batch: torch.Tensor, what: str) -> Short | None:
        """Return the shortened tower only if its features equal those of the model's own."""
        if short is None:
            return None
        theirs, ours = (_normalised(_encoded(tower, batch), what) for tower in (own, short))
        tolerance = 1e-5 if self._dtype == torch.float32 else 2e-2
        return short if torch.allclose(theirs, ours, atol=tolerance, rtol=0.0) else None


_DETERMINING = (
    "config", "quick_gelu", "weights_sha256", "tokenizer_sha256", "context_length", "preprocess", "precision",
)  # fmt: skip


def _blocks(settings: ClipSettings, device: str) -> tuple[RowBlocks, RowBlocks]:
    """Choose the block shapes for pictures and texts."""
    if not device.startswith("cpu"):
        pictures = RowBlocks(settings.batch_size, () if settings.compile else (1, 8))
        return pictures, RowBlocks(settings.text_batch_size, (8, 32))
    # a compiled tower is compiled for one shape, and uses all cores itself
    pictures = RowBlocks(settings.batch_size) if settings.compile else RowBlocks(BLOCK, (1,), _CORES)
    return pictures, RowBlocks(BLOCK, (MANY_TEXTS,), _CORES)


def _run(blocks: RowBlocks, tower: Callable[..., Any], batch: torch.Tensor) -> torch.Tensor:
    """Run a tower on a batch on its device, block by block; return (n, D) in the model's precision."""
    (features,) = blocks.run(lambda columns: [_encoded(tower, columns[0])], [batch])
    return features


def _encoded(tower: Callable[..., Any], batch: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        features: torch.Tensor | tuple[torch.Tensor, ...] = tower(batch)
        # some towers return tokens besides
        return features[0] if isinstance(features, tuple) else features


def _normalised(features: torch.Tensor, what: str) -> torch.Tensor:
    """Return features as float32 on the CPU, L2-normalised; refuse values that are not finite."""
    whole = features.float().cpu()
    if not bool(torch.isfinite(whole).all()):
        raise FeatureError(
            f"the CLIP model gave features of {what} that are not finite numbers: damaged weights, or a precision too "
            "low for them (try clip.precision = 'fp32')"
        )
    return torch.nn.functional.normalize(whole, dim=-1)


def _pair(size: "int | Sequence[int]") -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[-1]))


def _choose_device(wanted: str) -> str:
    """Resolve ``auto``; refuse a device that is not there."""
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        # read a number back: the device "meta" holds none
        torch.zeros(1, device=wanted).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise SettingError(
            f"clip.device = {wanted!r} cannot be used here ({reason}); 'auto' takes what there is"
        ) from error
    return wanted


def _tokenizer_sha256(tokenizer: Any) -> str:
    """Hash what maps texts to ids: kind, vocabulary and, where available, the whole pipeline."""
    inner = getattr(tokenizer, "tokenizer", None)
    parts: dict[str, Any] = {"kind": type(tokenizer).__name__}
    if inner is None:
        parts["vocabulary"] = tokenizer.encoder
        parts["clean"] = getattr(tokenizer.clean_fn, "__name__", "")
    else:
        parts["vocabulary"] = inner.get_vocab()
        parts["mode"] = getattr(tokenizer, "tokenizer_mode", "")
        backend = getattr(inner, "backend_tokenizer", None)
        if backend is not None:
            pipeline = json.loads(backend.to_str())
            # these two are reset by every call
            parts["pipeline"] = {key: value for key, value in pipeline.items() if key not in ("truncation", "padding")}
    return _sha256(parts)


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
