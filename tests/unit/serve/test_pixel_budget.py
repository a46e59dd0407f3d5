import threading
import time
from contextlib import suppress

from ants_engine.serve.scorer import PixelBudget


def decode(budget: PixelBudget, count: int, log: list[int], go: threading.Event) -> threading.Thread:
    def run() -> None:
        with budget.turn() as turn:
            turn.take(count)
            turn.take(count)
            log.append(count)
            go.wait(10)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.05)
    return thread


def test_no_more_is_decoded_at_once_and_a_large_one_is_not_overtaken() -> None:
    budget, go, later = PixelBudget(100), threading.Event(), threading.Event()
    log: list[int] = []
    threads = [decode(budget, 60, log, go), decode(budget, 40, log, go)]
    assert (log, budget.held) == ([60, 40], 100)
    threads += [decode(budget, 500, log, later), decode(budget, 1, log, later)]
    assert log == [60, 40]
    go.set()
    time.sleep(0.05)
    assert (log, budget.held) == ([60, 40, 500], 500)
    later.set()
    for thread in threads:
        thread.join(10)
    assert (log, budget.held) == ([60, 40, 500, 1], 0)


def test_what_fails_gives_its_room_back() -> None:
    budget = PixelBudget(10)
    with suppress(ZeroDivisionError), budget.turn() as turn:
        turn.take(10)
        _ = 1 / 0
    assert budget.held == 0
