"""Caches on disk: features of texts and picture files, and digests of what an MLLM was shown.

Losing a file, or any part of one, costs time and nothing else. What is read back has the bits that encoding gives.

=================== ============================================ ======================================
class               file                                         key
=================== ============================================ ======================================
`TextFeatureCache`  a safetensors file per model and long list   the model and the whole list
`TextRows`          a row file per model                         a list of texts and a row's position
`PictureFeatures`   a row file per model and preprocessing       the sha256 of a picture's file
`ShownPictures`     a row file per size                          the sha256 of a picture's file
=================== ============================================ ======================================
"""

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

from ants_engine.clip.decode import DECODING
from ants_engine.common.atomic_file import write_whole
from ants_engine.protocol import JSON
from ants_engine.settings.config import ImageSettings

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

KEY_BYTES = 32
_CHECK_BYTES = 16
_LOCK_TIMEOUT = 10.0
"""Seconds to wait for another process to finish appending."""
_BITS_DECIDED_BY = ("sha256", "compiled", "towers", "device", "versions", "dim")


class RowFile:
    """An append-only file of fixed-width rows: keys (32 bytes) to values (``width`` bytes).

    A row is key, value and a checksum over both and the file's title, so that neither a torn row nor a row of another
    file is ever returned. Only the keys are held in memory. Several threads and processes may use one file; rows that
    another process has appended are seen when the file is opened the next time.
    """

    def __init__(self, path: Path, title: bytes, width: int) -> None:
        """Name the file; nothing is read or created yet.

        Args:
            path: the file. A lock file beside it, ending in ``.lock``, is held while rows are appended.
            title: what the values were made with; part of every checksum.
            width: bytes of a value, at least 1.
        """
        self._path = path
        self._title = title
        self._width = width
        self._row = KEY_BYTES + width + _CHECK_BYTES
        self._places: dict[bytes, int] | None = None
        self._lock = threading.Lock()
        self._logged = False

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of every key, or None where there is no valid row (blocking)."""
        with self._lock:
            places = self._opened()
            found: list[bytes | None] = [None] * len(keys)
            if not any(key in places for key in keys):
                return found
            try:
                with self._path.open("rb") as file:
                    for number, key in enumerate(keys):
                        if key in places:
                            file.seek(places[key])
                            found[number] = self._checked(key, file.read(self._row))
            except OSError as error:
                self._log("read", error)
            for key, value in zip(keys, found, strict=True):
                if value is None:
                    # a new row will be appended
                    places.pop(key, None)
            return found

    def put(self, rows: Sequence[tuple[bytes, bytes]]) -> bool:
        """Append rows whose keys are not there yet (blocking).

        Returns:
            Whether they were kept; a folder that cannot be written is no error.

        Raises:
            ValueError: a key or a value is of the wrong length.
        """
        if any(len(key) != KEY_BYTES or len(value) != self._width for key, value in rows):
            raise ValueError(f"keys of {KEY_BYTES} and values of {self._width} bytes are expected")
        with self._lock:
            places = self._opened()
            new = {key: value for key, value in rows if key not in places}
            if not new:
                return True
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{self._path}.lock", timeout=_LOCK_TIMEOUT), self._path.open("ab") as file:
                    start = file.seek(0, 2)
                    # a row that a crash cut off is padded; its checksum never matches
                    padding = -start % self._row
                    file.write(bytes(padding) + b"".join(key + new[key] + self._check(key, new[key]) for key in new))
            except (OSError, Timeout) as error:
                self._log("keep", error)
                return False
            for number, key in enumerate(new):
                places[key] = start + padding + number * self._row
            return True

    def get_floats(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """Return every key's value as float32 (width / 4,), or None."""
        return [None if value is None else np.frombuffer(value, "<f4").astype(np.float32) for value in self.get(keys)]

    def put_floats(self, keys: Sequence[bytes], rows: "torch.Tensor") -> bool:
        """Append float32 (n, width / 4) under n keys; see `put`."""
        values = rows.numpy().astype("<f4", copy=False)
        return self.put([(key, row.tobytes()) for key, row in zip(keys, values, strict=True)])

    def _opened(self) -> dict[bytes, int]:
        if self._places is None:
            self._places = {}
            try:
                count = self._path.stat().st_size // self._row
                if count:
                    kind = np.dtype([("key", f"V{KEY_BYTES}"), ("rest", f"V{self._row - KEY_BYTES}")])
                    # of a large file only the pages with keys are read
                    keys = np.memmap(self._path, dtype=kind, mode="r", shape=(count,))["key"].tobytes()
                    # the last row of a key wins
                    self._places = {keys[KEY_BYTES * n : KEY_BYTES * (n + 1)]: n * self._row for n in range(count)}
            except FileNotFoundError:
                pass
            except (OSError, ValueError) as error:
                self._log("read", error)
        return self._places

    def _checked(self, key: bytes, row: bytes) -> bytes | None:
        value, check = row[KEY_BYTES:-_CHECK_BYTES], row[-_CHECK_BYTES:]
        if len(row) == self._row and row[:KEY_BYTES] == key and check == self._check(key, value):
            return value
        logger.warning("%s: a row is damaged and is made anew", self._path)
        return None

    def _check(self, key: bytes, value: bytes) -> bytes:
        return hashlib.sha256(self._title + key + value).digest()[:_CHECK_BYTES]

    def _log(self, verb: str, error: Exception) -> None:
        if not self._logged:
            self._logged = True
            logger.info("%s: cannot %s (%s)", self._path, verb, getattr(error, "strerror", None) or error)


# ---- texts -----------------------------------------------------------------------------------------------------------


class TextFeatureCache:
    """A file per long list of texts, so that a lexicon is encoded once per CLIP model and not once per run."""

    def __init__(self, folder: Path | None) -> None:
        """Name the folder.

        Args:
            folder: created with the first file; ``None`` keeps nothing.
        """
        self._folder = folder

    def path(self, model_sha256: str, texts: Sequence[str]) -> Path | None:
        """Return the file of these texts' features; None where nothing is kept."""
        if self._folder is None or not model_sha256:
            return None
        return self._folder / f"texts-{model_sha256[:16]}-{texts_sha256(texts)[:32]}.safetensors"

    def load(self, model_sha256: str, texts: Sequence[str]) -> "torch.Tensor | None":
        """Read the features of exactly these texts in this order (blocking).

        Args:
            model_sha256: `Encoder.text_batches_sha256`; nothing is kept where it is empty.
            texts: K texts.

        Returns:
            Float32 (K, D), or ``None`` if they are missing or the file is damaged in any way.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self.path(model_sha256, texts)
        if path is None:
            return None
        try:
            data = path.read_bytes()
            features: torch.Tensor = load(data)["features"]
            # 8 bytes of length, then a JSON header
            expected = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s: encoded anew, the file cannot be read (%s)", path, error)
            return None
        found = _labels(model_sha256, texts, features) if features.dtype == torch.float32 else {}
        if features.ndim != 2 or len(features) != len(texts) or found != expected:
            logger.warning("%s: encoded anew, the file is damaged", path)
            return None
        return features

    def save(self, model_sha256: str, texts: Sequence[str], features: "torch.Tensor") -> bool:
        """Keep features, float32 (K, D), in a file that is written atomically (blocking).

        Returns:
            Whether they were kept; a folder that cannot be written is no error.
        """
        from safetensors.torch import save

        path = self.path(model_sha256, texts)
        if path is None:
            return False
        features = features.contiguous()
        data = save({"features": features}, metadata=_labels(model_sha256, texts, features))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data, mode=0o600)
        except OSError as error:
            logger.info("%s: text features are not kept (%s)", path.parent, error.strerror)
            return False
        return True


def texts_sha256(texts: Sequence[str]) -> str:
    """Hash a list of texts, their order included."""
    return hashlib.sha256(json.dumps(list(texts), ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def _labels(model_sha256: str, texts: Sequence[str], features: "torch.Tensor") -> dict[str, str]:
    """Describe the content in full: a file name holds only prefixes of the digests."""
    return {
        "model_sha256": model_sha256,
        "texts_sha256": texts_sha256(texts),
        "features_sha256": hashlib.sha256(features.contiguous().numpy().tobytes()).hexdigest(),
    }


class TextRows:
    """As `TextFeatureCache`, for many short lists (classes, sentences, look-alikes): one file per model.

    The key is a list, not a text: a user's encoder may give a text other last bits beside other texts.
    """

    def __init__(self, folder: Path | None, dim: int) -> None:
        """Name the folder.

        Args:
            folder: created with the first list; ``None`` keeps nothing.
            dim: D, the features' length.
        """
        self._folder = folder
        self._dim = dim
        self._files: dict[str, RowFile] = {}

    def load(self, model_sha256: str, texts: Sequence[str]) -> "torch.Tensor | None":
        """Read the features of exactly these texts in this order (blocking).

        Args:
            model_sha256: `Encoder.text_batches_sha256`; nothing is kept where it is empty.
            texts: K texts.

        Returns:
            Float32 (K, D), or ``None`` where a row is missing or damaged.
        """
        import torch

        file = self._file(model_sha256)
        rows = [] if file is None else file.get_floats(_keys(texts))
        found = [row for row in rows if row is not None]
        return torch.from_numpy(np.stack(found)) if found and len(found) == len(rows) else None

    def save(self, model_sha256: str, texts: Sequence[str], features: "torch.Tensor") -> bool:
        """Keep features, float32 (K, D) (blocking).

        Returns:
            Whether they were kept; a folder that cannot be written is no error.
        """
        file = self._file(model_sha256)
        return file is not None and len(texts) > 0 and file.put_floats(_keys(texts), features)

    def _file(self, model_sha256: str) -> RowFile | None:
        if self._folder is None or not model_sha256:
            return None
        if model_sha256 not in self._files:
            path = self._folder / f"texts-{model_sha256[:16]}.rows"
            self._files[model_sha256] = RowFile(path, f"{model_sha256} {self._dim}".encode(), 4 * self._dim)
        return self._files[model_sha256]


def _keys(texts: Sequence[str]) -> list[bytes]:
    whole = texts_sha256(texts)
    return [hashlib.sha256(f"{whole} {row}".encode()).digest() for row in range(len(texts))]


# ---- pictures --------------------------------------------------------------------------------------------------------


def content_key(data: bytes) -> bytes:
    """Return the sha256 of a file's content."""
    return hashlib.sha256(data).digest()


class PictureFeatures:
    """CLIP features by the sha256 of a picture's file; one file per model, preprocessing, precision and versions.

    They can be reused since a feature does not depend on its batch (`ClipEncoder`).
    """

    def __init__(self, folder: Path, identity: Mapping[str, JSON], limits: ImageSettings) -> None:
        """Name the file; nothing is read yet.

        Args:
            folder: created with the first features.
            identity: `ClipEncoder.identity`.
            limits: part of the file's identity, so that a picture that they refuse is not found.
        """
        made_with = {name: identity.get(name) for name in _BITS_DECIDED_BY} | {"decoding": DECODING}
        self._rows = _file(
            folder, "features", made_with | {"max_pixels": limits.max_pixels}, 4 * int(str(identity["dim"]))
        )

    def load(self, keys: Sequence[bytes]) -> "list[torch.Tensor | None]":
        """Return float32 (D,) per key, or None where it is not known (blocking)."""
        import torch

        return [None if row is None else torch.from_numpy(row) for row in self._rows.get_floats(keys)]

    def save(self, keys: Sequence[bytes], features: "torch.Tensor") -> None:
        """Keep float32 (n, D), L2-normalised, of n pictures (blocking). A full disk is no error."""
        self._rows.put_floats(keys, features)


class ShownPictures:
    """The digest of what the MLLM is shown of a picture, by the sha256 of the picture's file.

    Answers are looked up by it, so that a picture whose answer is in the store need not be decoded.
    """

    def __init__(self, folder: Path, max_side: int, limits: ImageSettings) -> None:
        """Name the file; nothing is read yet.

        Args:
            folder: created with the first digest.
            max_side: longest side in pixels of what is shown.
            limits: part of the file's identity, so that a picture that they refuse is not found.
        """
        # another decoder may give other samples
        made_with = {
            "decoding": DECODING,
            "max_side": max_side,
            "max_pixels": limits.max_pixels,
            "pillow": metadata.version("pillow"),
        }
        self._rows = _file(folder, "shown", made_with, 32)

    def load(self, key: bytes) -> str | None:
        """Return `Picture.sha256` of what was shown, or None where it is not known (blocking)."""
        (value,) = self._rows.get([key])
        return None if value is None else value.hex()

    def save(self, key: bytes, sha256: str) -> None:
        """Keep a digest (blocking). A full disk is no error."""
        self._rows.put([(key, bytes.fromhex(sha256))])


def _file(folder: Path, kind: str, made_with: Mapping[str, object], width: int) -> RowFile:
    title = hashlib.sha256(json.dumps([kind, made_with], sort_keys=True).encode()).digest()
    return RowFile(folder / f"{kind}-{title.hex()[:16]}.rows", title, width)
