"""Work on threads ahead of its use: in order, bounded, and ended by an error."""

import threading
import time

import pytest

from camground.study.ahead import map_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_are_in_order_and_at_most_so_many_ahead(threads):
    begun = []

    def work(item):
        begun.append(item)
        time.sleep(0.001 * (item % 3))
        return -item

    for used, result in enumerate(map_ahead(work, range(30), 4, threads)):
        assert result == -used
        time.sleep(0.002)
        assert len(begun) <= used + 1 + 4
    assert sorted(begun) == list(range(30))
    assert list(map_ahead(work, [], 4, threads)) == []


def test_an_error_ends_it_and_a_use_that_stops_leaves_no_thread():
    def work(item):
        if item == 5:
            raise OSError("torn")
        return item

    before = threading.active_count()
    results = map_ahead(work, range(1000), 3)
    with pytest.raises(OSError, match="torn"):
        list(results)
    unfinished = map_ahead(work, range(3), 2)
    assert next(unfinished) == 0
    unfinished.close()
    assert threading.active_count() == before
