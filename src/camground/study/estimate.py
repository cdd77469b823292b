"""The time that a `snakemake` run will still take, logged after each job that ends.

What the jobs cost relative to each other is known roughly beforehand; the pace of this run on this
machine is measured, so the estimate improves as jobs end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping


class Estimate(logging.Handler):
    """A handler for Snakemake's logger that logs how much time is left.

    `costs` holds what a job of each rule costs, in any unit: its seconds times the share of the
    cores that it keeps busy, for jobs may run side by side. Rules without an entry count nothing.
    `say` takes the finished line.
    """

    def __init__(
        self,
        costs: Mapping[str, float],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.INFO)
        self.costs, self.say, self.clock = costs, say, clock
        self.begun = clock()
        self.total = self.done = 0.0
        self.rules: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        fields = record.__dict__
        event = getattr(fields.get("event"), "name", None)
        if event == "RUN_INFO":
            counts: Mapping[str, int] = fields["stats"]
            self.total = sum(self.costs.get(rule, 0.0) * count for rule, count in counts.items())
            self.done, self.begun = 0.0, self.clock()
        elif event == "JOB_INFO":
            self.rules[fields["jobid"]] = fields["rule_name"]
        elif event == "JOB_FINISHED":
            self._finished(self.rules.pop(fields["job_id"], ""))

    def _finished(self, rule: str) -> None:
        self.done += self.costs.get(rule, 0.0)
        # a rule without a cost changes nothing
        if rule in self.costs and 0 < self.done < self.total:
            elapsed = self.clock() - self.begun
            left = elapsed * (self.total - self.done) / self.done
            self.say(f"{spoken(elapsed)} so far, about {spoken(left)} left")


def spoken(seconds: float) -> str:
    """`seconds` as people read it: "40 s", "12 min", "2 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
