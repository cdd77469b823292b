"""How long each row trained, and what choosing its epoch by captions cost: the table beside the curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from camground.evaluation.metric_table import METRICS, PRIMARY
from camground.report.ablation_table import Cell, percent
from camground.report.method_tables import Line, MethodTable
from camground.report.results import Results

NOTE = (
    "Means over seeds. Limit reached: how many seeds would have gone on. Accuracy is that of the box of the"
    " highest score, no vote, on the expressions of val that choose the epoch; nothing is chosen by it."
    " Below: how far the epoch chosen by captions is below the best one by boxes, in points."
)


def chosen(curve: pd.DataFrame) -> int:
    """The row of a `learning_curve` that captions chose: the first of those with the highest score."""
    return int(curve["score"].to_numpy().argmax())


def budget(results: Results) -> MethodTable:
    """Epochs and steps of each variant, and its accuracy on val at the chosen and at the best epoch."""
    columns = ["Epochs", "Steps", "Limit reached", "Chosen epoch"]
    columns += [f"{METRICS[PRIMARY].heading} there", "Best epoch's", "Below"]
    lines = []
    for name in results.table.variants:
        summaries = [results.summary(name, seed) for seed in results.table.seeds]
        means = {key: np.mean([each[key] for each in summaries]) for key in ("epochs", "steps", "best_epoch")}
        reached = sum(summary["limit_reached"] for summary in summaries)
        cells = [f"{means['epochs']:.1f}", f"{means['steps']:,.0f}", f"{reached} of {len(summaries)}"]
        cells.append(f"{means['best_epoch']:.1f}")
        curves = [curve for curve in results.learning_curves(name).values() if len(curve)]
        if curves:
            there = float(np.mean([curve["accuracy"].iloc[chosen(curve)] for curve in curves]))
            best = float(np.mean([curve["accuracy"].max() for curve in curves]))
            cells += [percent(there), percent(best), percent(best - there)]
        padded = [Cell(text) for text in cells] + [Cell()] * (len(columns) - len(cells))
        lines.append(Line(name, "variant", padded))
    return MethodTable("Variant", [(name, None) for name in columns], lines, note=NOTE)
