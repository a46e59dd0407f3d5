"""All named streams of a server: bounded in number, saved, and found again."""

import asyncio
import logging
import re
from pathlib import Path

from ants_engine.ants import ANTS
from ants_engine.errors import DetectorFolderError
from ants_engine.protocol import Backend
from ants_engine.serve.named_stream import NamedStream
from ants_engine.serve.options import ServeOptions
from ants_engine.serve.refusal import Refusal

NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
"""Lower case, so that no file system takes two for one; no dot or slash, so that none leads elsewhere."""
_NAME = re.compile(NAME)
_LOG = logging.getLogger("ants_engine.serve")


class NamedStreams:
    """Opens streams when they are first asked for; each begins as the detector that is served."""

    def __init__(self, ants: ANTS, backend: Backend, options: ServeOptions) -> None:
        """Begin with none.

        Args:
            ants: what every stream starts from; it is not changed.
            backend: the MLLM of all streams.
            options: how many there may be, and where they are saved.
        """
        self._ants = ants
        self._backend = backend
        self._options = options
        self._open: dict[str, NamedStream] = {}
        self._opening = asyncio.Lock()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def all(self) -> list[NamedStream]:
        """Return the open ones, by name."""
        return [self._open[name] for name in sorted(self._open)]

    def find(self, name: str) -> NamedStream:
        """Return an open stream.

        Raises:
            Refusal: 404, there is none of that name.
        """
        found = self._open.get(name)
        if found is None:
            raise Refusal(404, "no_stream", "there is no open stream of this name; score with it to open it")
        return found

    async def open(self, name: str) -> NamedStream:
        """Return a stream, opened where it is not, from the folder where it was saved.

        Raises:
            Refusal: 409, as many as may be are open; 422, no name for a stream; 503, its folder cannot be read.
        """
        if not _NAME.fullmatch(name):
            raise Refusal(422, "bad_name", f"a stream's name has to match {NAME}")
        async with self._opening:
            if name in self._open:
                return self._open[name]
            if len(self._open) >= self._options.streams:
                raise Refusal(
                    409, "too_many_streams", f"{len(self._open)} streams are open and no more may be; delete one"
                )
            folder = self._folder(name)
            saved = folder if folder is not None and folder.exists() else None
            try:
                ants = await asyncio.to_thread(self._ants.fork, saved)
            except DetectorFolderError as error:
                # the message names the folder, which is nobody's business but the operator's
                _LOG.error("stream %s: %s", name, error)  # it says all there is
                raise Refusal(
                    503, "damaged_stream", "what was saved of this stream cannot be used; the server's log says why"
                ) from None
            stream = NamedStream(name, ants, self._backend, folder)
            self._open[name] = stream
            return stream

    async def close(self, name: str) -> None:
        """End a stream and forget it; what was saved of it stays in its folder.

        Raises:
            Refusal: 404, there is none of that name.
        """
        stream = self.find(name)
        del self._open[name]
        await stream.aclose()

    async def aclose(self) -> list[str]:
        """End all, and save them where there is a folder; return what could not be saved and why."""
        failed = []
        for stream in self.all():
            await stream.aclose()
            try:
                await stream.save()
            except DetectorFolderError as error:
                failed.append(f"stream {stream.name}: {error}")
        self._open.clear()
        await self._backend.aclose()
        return failed

    def _folder(self, name: str) -> Path | None:
        return None if self._options.streams_folder is None else self._options.streams_folder / name
