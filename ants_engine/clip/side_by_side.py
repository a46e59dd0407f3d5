"""Parts of a batch computed at the same time, each on its own share of the cores.

One operation on all cores waits for the slowest of them at its end, hundreds of times per batch; where other threads
decode pictures at the same time, it waits often. Parts that do not wait for each other take less time (a sixth less for
ViT-B/32 on two cores that are otherwise idle), for the same arithmetic.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SMALLEST = 16
"""Rows of a part: smaller ones do not fill a core's arithmetic units."""


class SideBySide:
    """Threads of torch with few cores each: made when first needed, shared by all, and kept, as torch keeps its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}

    def map(self, work: "Callable[[torch.Tensor], torch.Tensor]", batch: "torch.Tensor") -> "torch.Tensor":
        """Return ``work(batch)``, row for row, computed in as many parts as cores and rows allow (blocking).

        The parts depend on the number of rows and of torch's threads alone, and so do the result's last bits.

        Args:
            work: (n, …) → (n, …), each row for itself.
            batch: N rows, at least 1, on the CPU.

        Returns:
            N rows.
        """
        import torch

        threads = torch.get_num_threads()
        parts = min(threads, len(batch) // SMALLEST)
        if parts < 2:
            return work(batch)
        pool = self._pool(parts, threads)
        return torch.cat(list(pool.map(work, batch.tensor_split(parts))))

    def _pool(self, parts: int, threads: int) -> ThreadPoolExecutor:
        """Start threads that have ``threads // parts`` cores each."""
        import torch

        with self._lock:
            if (parts, threads) not in self._pools:
                ready = threading.Barrier(parts + 1)

                def begin() -> None:
                    # a thread takes up the default when it is first asked, and that must not come later
                    torch.get_num_threads()
                    torch.set_num_threads(threads // parts)
                    ready.wait()

                pool = ThreadPoolExecutor(parts, thread_name_prefix="torch-part", initializer=begin)
                for _ in range(parts):
                    pool.submit(int)
                ready.wait()
                # the number holds for one thread, but is the default of later ones as well
                torch.set_num_threads(threads)
                self._pools[parts, threads] = pool
            return self._pools[parts, threads]

    def forget(self) -> None:
        """Drop the threads without a word to them: after a fork there are none."""
        self._lock = threading.Lock()
        self._pools = {}


SIDE_BY_SIDE = SideBySide()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SIDE_BY_SIDE.forget)
