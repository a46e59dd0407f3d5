"""Row-wise arithmetic in blocks of fixed shapes, so that a row's bits do not depend on the rows beside it.

The last bits of a matrix product depend only on its shape and on the number of threads that share it. So rows are
computed in blocks of one size, the last one padded, each block by a single torch thread, several blocks in parallel.
Other sizes are used where a trial gives the same bits: larger ones for speed, smaller ones for few rows.

Parallel blocks are also faster than operations on all cores, each of which waits for the slowest core, hundreds of
times per batch.
"""

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

Columns = Sequence[torch.Tensor]
"""Tensors of n rows each."""
Work = Callable[[Columns], Columns]
"""Maps columns of n rows to columns of n rows, row by row."""


class SideBySide:
    """A pool of single-core torch threads: started on first use, shared by callers, never stopped."""

    def __init__(self, name: str) -> None:
        """Name the threads; none is started yet."""
        self._name = name
        self._lock = threading.Lock()
        self._pools: dict[int, ThreadPoolExecutor] = {}
        _ALL.append(self)

    def map(self, work: Work, blocks: Sequence[Columns]) -> Iterator[Columns]:
        """Yield ``work(block)`` in order; as many blocks in parallel as torch has threads, one thread each."""
        threads = torch.get_num_threads()
        if threads == 1:
            return map(work, blocks)
        # gradient mode is thread-local: use the caller's
        gradients = torch.is_grad_enabled()

        def isolated(block: Columns) -> Columns:
            with torch.set_grad_enabled(gradients):
                return work(block)

        return self._pool(threads).map(isolated, blocks)

    def _pool(self, threads: int) -> ThreadPoolExecutor:
        with self._lock:
            if threads not in self._pools:
                ready = threading.Barrier(threads + 1)

                def begin() -> None:
                    # the first query sets a thread's default, so it must come before the change
                    torch.get_num_threads()
                    torch.set_num_threads(1)
                    ready.wait()

                pool = ThreadPoolExecutor(threads, thread_name_prefix=self._name, initializer=begin)
                for _ in range(threads):
                    pool.submit(int)
                ready.wait()
                # the setting is per thread, but also becomes the default of later threads
                torch.set_num_threads(threads)
                self._pools[threads] = pool
            return self._pools[threads]

    def forget(self) -> None:
        """Drop the threads without joining them: a forked child has none."""
        self._lock = threading.Lock()
        self._pools = {}


_ALL: list[SideBySide] = []


def _forget() -> None:
    for threads in _ALL:
        threads.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class RowBlocks:
    """Computes rows in blocks of ``size``, or of other sizes that give the same bits."""

    def __init__(self, size: int, others: Sequence[int] = (), threads: SideBySide | None = None) -> None:
        """Choose sizes; trials are run on demand.

        Args:
            size: rows of a block.
            others: multiples of it for many rows, and smaller sizes for few.
            threads: compute blocks in parallel, one core each; None: one after another, for an accelerator.
        """
        self.size = size
        self._larger = sorted((other for other in others if other > size), reverse=True)
        self._smaller = sorted(other for other in others if other < size)
        self._threads = threads
        self._lock = threading.Lock()
        self._agrees: dict[Hashable, bool] = {}

    def run(
        self, work: Work, columns: Columns, key: Hashable = None, probe: Callable[[int], Columns] | None = None
    ) -> list[torch.Tensor]:
        """Return ``work(columns)``; a row's bits do not depend on the other rows (blocking).

        Args:
            work: computes n rows, row by row.
            columns: N rows.
            key: identifies the shapes that ``work`` holds itself; trials are cached by it and the rows' shapes.
            probe: gives rows for a trial that reveal the order of summation; ``columns`` themselves by default.
        """
        rows = len(columns[0])
        blocks = []
        start = 0
        for size in self._sizes(rows, work, columns, key, probe):
            blocks.append([filled(column[start : start + size], size) for column in columns])
            start += size
        if not blocks:
            return list(work(columns))
        parts = list(self._map(work, blocks))
        return [torch.cat(column)[:rows] for column in zip(*parts, strict=True)]

    def _sizes(
        self, rows: int, work: Work, columns: Columns, key: Hashable, probe: Callable[[int], Columns] | None
    ) -> list[int]:
        """Choose block sizes: large ones, as long as every core has one, then those with the least padding."""
        cores = torch.get_num_threads() if self._threads is not None else 1

        def agrees(size: int) -> bool:
            shapes = (size, key, *(column.shape[1:] for column in columns))
            with self._lock:
                if shapes not in self._agrees:
                    self._agrees[shapes] = self._try(size, work, columns, probe)
                return self._agrees[shapes]

        sizes: list[int] = []
        for size in self._larger:
            # two rounds of small blocks cost about as much as one of large ones on half of the cores
            if 2 * (rows // size) >= cores and rows >= size and agrees(size):
                sizes += [size] * (rows // size)
                rows %= size
        sizes += [self.size] * (rows // self.size)
        rows %= self.size
        if rows:
            small = next((size for size in self._smaller if size * -(-rows // size) < self.size and agrees(size)), None)
            sizes += [self.size] if small is None else [small] * -(-rows // small)
        return sizes

    def _try(self, size: int, work: Work, columns: Columns, probe: Callable[[int], Columns] | None) -> bool:
        """Return whether blocks of another size give the same bits.

        A kernel's order of summation depends on shapes, not on values, so any values reveal a difference, unless most
        of them are zero.
        """
        rows = max(size, self.size)
        given = probe(rows) if probe is not None else [filled(column[:rows], rows) for column in columns]
        usual, other = (
            [torch.cat(column) for column in zip(*self._map(work, _cut(given, block)), strict=True)]
            for block in (self.size, size)
        )
        return all(torch.equal(one, two) for one, two in zip(usual, other, strict=True))

    def _map(self, work: Work, blocks: Sequence[Columns]) -> Iterator[Columns]:
        return map(work, blocks) if self._threads is None else self._threads.map(work, blocks)


def filled(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Pad to ``size`` rows with copies of the first one; longer input is returned as it is."""
    missing = size - len(rows)
    return rows if missing <= 0 else torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])


def _cut(columns: Columns, size: int) -> list[Columns]:
    return [[column[start : start + size] for column in columns] for start in range(0, len(columns[0]), size)]
