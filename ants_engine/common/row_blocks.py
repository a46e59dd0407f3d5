"""Row-wise arithmetic in blocks of fixed shapes, so that a row's bits do not depend on the rows beside it.

The last bits of a matrix product depend on its shape and on the number of threads that share it, and on nothing else
that differs between two calls. So rows are computed in blocks of one size, the last one filled up, each block by one
thread of torch, several blocks side by side. Other sizes are taken where a trial gives the same bits: larger ones for
speed, smaller ones where little is asked for.

Blocks side by side are also faster than one operation on all cores, which waits for the slowest core at its end,
hundreds of times per batch.
"""

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

Columns = Sequence[torch.Tensor]
"""Tensors of n rows each."""
Work = Callable[[Columns], Columns]
"""Columns of n rows to columns of n rows, each row for itself."""


class SideBySide:
    """Threads of torch with one core each: made when first needed, shared by callers, kept as torch keeps its own."""

    def __init__(self, name: str) -> None:
        """Name the threads; none is started."""
        self._name = name
        self._lock = threading.Lock()
        self._pools: dict[int, ThreadPoolExecutor] = {}
        _ALL.append(self)

    def map(self, work: Work, blocks: Sequence[Columns]) -> Iterator[Columns]:
        """Yield ``work(block)`` in order; as many blocks at a time as torch has threads, each by one thread."""
        threads = torch.get_num_threads()
        if threads == 1:
            return map(work, blocks)
        # here as there: which thread asked must not matter
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
                    # a thread takes up the default when it is first asked, and that must not come later
                    torch.get_num_threads()
                    torch.set_num_threads(1)
                    ready.wait()

                pool = ThreadPoolExecutor(threads, thread_name_prefix=self._name, initializer=begin)
                for _ in range(threads):
                    pool.submit(int)
                ready.wait()
                # the number holds for one thread, but is the default of later ones as well
                torch.set_num_threads(threads)
                self._pools[threads] = pool
            return self._pools[threads]

    def forget(self) -> None:
        """Drop the threads without a word to them: after a fork there are none."""
        self._lock = threading.Lock()
        self._pools = {}


_ALL: list[SideBySide] = []


def _forget() -> None:
    for threads in _ALL:
        threads.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class RowBlocks:
    """Computes rows in blocks of ``size``, and of other sizes where these give the same bits."""

    def __init__(self, size: int, others: Sequence[int] = (), threads: SideBySide | None = None) -> None:
        """Choose sizes; nothing is tried yet.

        Args:
            size: rows of a block.
            others: multiples of it for many rows, and smaller sizes for few.
            threads: compute blocks side by side, each on one core; None: one after another, as an accelerator wants it.
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
        """Return ``work(columns)``, each row with the bits that it has whatever stands beside it (blocking).

        Args:
            work: computes n rows, each for itself.
            columns: N rows.
            key: names the shapes of what ``work`` holds itself; trials are remembered by it and the rows' shapes.
            probe: gives rows for a trial, in which the order of sums shows; ``columns`` themselves by default.
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
        """Choose the blocks for so many rows: large ones, as long as every core has one, then the least filling."""
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
        """Tell whether blocks of another size give the bits of the usual ones.

        A kernel sums in an order that depends on shapes and not on numbers, so that any numbers show whether two orders
        differ, unless most of them are zero.
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
    """Repeat the first row up to a size; return at least ``size`` rows as they are."""
    missing = size - len(rows)
    return rows if missing <= 0 else torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])


def _cut(columns: Columns, size: int) -> list[Columns]:
    return [[column[start : start + size] for column in columns] for start in range(0, len(columns[0]), size)]
