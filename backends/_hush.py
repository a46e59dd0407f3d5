"""Keep transformers and its hub client off the terminal."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LIBRARIES = ("transformers", "huggingface_hub", "accelerate", "torch")
_BARS = threading.Lock()


@contextmanager
def hushed() -> Iterator[None]:
    """Drop what those libraries log from the calling thread; other threads keep their messages."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.name.partition(".")[0] not in _LIBRARIES

    handlers = [handler for name in (*_LIBRARIES, None) for handler in logging.getLogger(name).handlers]
    if logging.lastResort is not None:
        handlers.append(logging.lastResort)
    for handler in handlers:
        handler.addFilter(keep)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(keep)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Switch their progress bars off, and back to how they were; one thread at a time."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as bars

    with _BARS:
        hub_shows = not are_progress_bars_disabled()
        loading_shows = bars.is_progress_bar_enabled()
        _unwarned(bars.disable_progress_bar)
        try:
            yield
        finally:
            if loading_shows:
                _unwarned(bars.enable_progress_bar)
            _unwarned(enable_progress_bars if hub_shows else disable_progress_bars)


def _unwarned(switch: Callable[[], object]) -> None:
    # The switches warn where the user's environment variable has the last word on bars.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        switch()
