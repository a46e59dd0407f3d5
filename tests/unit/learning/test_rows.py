import torch
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.learning.state import Rows


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 25))
def test_holds_the_latest_rows_in_order(sizes, limit):
    rows, expected, number = Rows.of(limit, 2), [], 0
    for size in sizes:
        more = [[float(number + i), -float(number + i)] for i in range(size)]
        number += size
        before = rows.tensor().tolist()
        longer = rows.append(torch.tensor(more).reshape(-1, 2))
        assert rows.tensor().tolist() == before, "a value never changes"
        rows, expected = longer, [*expected, *more][-limit:]
        assert rows.tensor().tolist() == expected
        assert len(rows) == len(expected)


def test_many_small_appends_leave_few_chunks_and_no_large_memory():
    rows = Rows.of(1000)
    for _ in range(5000):
        rows = rows.append(torch.zeros(1))
    assert len(rows.chunks) < 16
    assert sum(chunk.untyped_storage().nbytes() for chunk in rows.chunks) <= 2 * 4 * 1000


def test_a_slice_of_something_large_does_not_keep_it():
    large = torch.arange(100_000.0)
    rows = Rows.of(50).append(large[10:30])
    assert rows.chunks[0].untyped_storage().nbytes() == 4 * 20
    rows = Rows.of(50).append(large)
    assert rows.tensor().tolist() == large[-50:].tolist()
    assert rows.chunks[0].untyped_storage().nbytes() == 4 * 50
    for start in range(0, 1000, 7):
        rows = rows.append(large[start : start + 7])
        assert sum(chunk.untyped_storage().nbytes() for chunk in rows.chunks) <= 2 * 4 * 50


def test_dtype_and_emptiness():
    rows = Rows.of(3, 2).append(torch.ones(1, 2, dtype=torch.float64)).append(torch.empty(0, 2))
    assert (rows.tensor().dtype, rows.tensor().shape) == (torch.float32, (1, 2))
    assert Rows.of(3, 2).tensor().shape == (0, 2)
    assert len(Rows.of(torch.iinfo(torch.int64).max).append(torch.ones(5))) == 5
