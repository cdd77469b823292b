"""The estimate of what is left of a run."""

from __future__ import annotations

import logging

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from camground.study.estimate import Estimate, spoken


class Bench:
    """An estimate with a clock and a voice that the test holds."""

    def __init__(self, costs: dict[str, float]) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self.logger = logging.Logger("bench")
        self.logger.addHandler(Estimate(costs, self.said.append, lambda: self.now))

    def tell(self, event: LogEvent, **fields: object) -> None:
        self.logger.info("", extra={"event": event, **fields})

    def job(self, number: int, rule: str, seconds: float) -> None:
        self.tell(LogEvent.JOB_INFO, jobid=number, rule_name=rule)
        self.now += seconds
        self.tell(LogEvent.JOB_FINISHED, job_id=number)


def test_what_is_left_follows_the_pace_of_the_run() -> None:
    bench = Bench({"data": 10, "train": 30})
    bench.tell(LogEvent.RUN_INFO, stats={"data": 1, "train": 2, "all": 1, "total": 4})
    bench.job(1, "data", 20)  # 10 of 70 in 20 s
    bench.job(2, "train", 60)  # 40 of 70 in 80 s
    bench.job(3, "train", 60)  # nothing left to say
    bench.job(0, "all", 0)
    assert bench.said == ["20 s so far, about 2 min left", "80 s so far, about 60 s left"]


def test_jobs_without_cost_and_other_lines_say_nothing() -> None:
    bench = Bench({"train": 30})
    bench.logger.info("a line of no event")
    bench.tell(LogEvent.RUN_INFO, stats={"odd": 1, "total": 1})
    bench.job(1, "odd", 5)
    bench.tell(LogEvent.JOB_FINISHED, job_id=77)
    assert bench.said == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (700, "12 min"), (7500, "2 h 05 min")]
)
def test_spoken(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
