"""The card that travels with a study's model, as the model hub shows it: what it is of, what entered as
supervision, what it was measured to do, and what not to expect of it."""

from __future__ import annotations

from collections.abc import Mapping

from camground.evaluation.metric_table import METRICS, PRIMARY
from camground.grounder.config import FOUND_FROM
from camground.report.method_tables import PRESENCE, by_metric, markdown
from camground.report.results import Results

FILE = "model_card.md"  # in a study's results
SHOWN = (PRIMARY, "acc@0.25", "acc@0.75", "pointing")
# What the hub reads.
HEAD = """\
---
library_name: camground
tags: [visual-grounding, referring-expressions, weakly-supervised]
---
"""


def model_card(results: Results, supervision: Mapping[str, str]) -> str:
    """Markdown, every number read from the study's tables; supervision: as the report states it."""
    table = results.table
    entered = "".join(f"- **{subject}.** {sentence}\n" for subject, sentence in supervision.items())
    parts = [
        f"{HEAD}\n# Visual grounding, trained on {table.dataset}\n",
        "The box of what a phrase means in a photograph, learnt from image-sentence pairs: the variant"
        f" `{table.reference}` of a camground study, the seed with the best score on captions of val.\n",
        "```python\nfrom camground import GroundingPipeline\n\n"
        'ground = GroundingPipeline.from_pretrained("FOLDER or OWNER/NAME")\n'
        'ground("photo.png", ["the red boat"])\n```\n',
        f"## Data\n\n{markdown(*results.split_counts())}",
        f"## What entered as supervision\n\n{entered}",
        _measured(results),
        f"## Limits\n\n{_limits(results)}",
    ]
    return "\n".join(part for part in parts if part)


def _measured(results: Results) -> str:
    """The study's table; "" where nothing was measured."""
    table = results.table
    row = table.row(table.reference)
    if row is None:
        return ""
    metrics = [name for name in SHOWN if table.row(table.reference, name) is not None]
    return (
        f"## Measured\n\nSplit {table.split}, {row['n']:,} expressions, per cent, mean ± sample deviation"
        f" over seeds {', '.join(map(str, table.seeds))}.\n\n{by_metric(table, metrics).to_markdown()}"
    )


def _limits(results: Results) -> str:
    table, reference = results.table, results.table.reference
    sentences = ["Every phrase gets a box, what it means in the picture or not."]
    cells = {name: str(table.cell(reference, name)) for name in PRESENCE}
    if table.row(reference, "presence_auc") is not None:
        sentences.append(
            "The score is the probability that it is there, fitted on captions of val where own phrases and"
            f" those of other images are as many. On {table.split}, per cent:"
            f" {METRICS['presence_auc'].heading} {cells['presence_auc']}; at a score of at least"
            f" {FOUND_FROM:g} {cells['found']} of the own phrases count as found, and {cells['false_box']} of"
            " those of other images, some of them rightly."
        )
    sentences.append(
        f"It knows what pictures and phrases like those of {table.dataset} have taught it; of others nothing"
        " was measured. One phrase has one box, also where it means several things."
    )
    if results.table.row(reference) is None:
        sentences.insert(0, "No phrase had a box to measure by: nothing says how good the boxes are.")
    return "".join(f"- {sentence}\n" for sentence in sentences)
