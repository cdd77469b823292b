"""Tool `compare`: somebody else's boxes measured and tested on a study's expressions, with no training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camground.evaluation.config import AblationConfig, EvaluateConfig, MethodConfig, StudyMethods
from camground.stages.command import ResultsFolder
from camground.study.errors import UserError


def compare(
    results: ResultsFolder,
    boxes: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE", help="A method's boxes; the first is what the others are compared with."
        ),
    ] = [],  # noqa: B006
    rows: Annotated[
        list[str], typer.Option("--row", help="A finished row of the study to compare too, such as full.")
    ] = [],  # noqa: B006
    expressions: Annotated[
        Path | None,
        typer.Option(help="File to write instead: what a method is to answer, .csv or .json (COCO's form)."),
    ] = None,
    split: Annotated[str, typer.Option(help="Evaluated split.")] = "test",
) -> None:
    """Print the table and the paired tests of methods' boxes, or write what they are to answer.

    Reads the tables of `data` and `proposals`, which `snakemake proposals` makes; writes no result.
    In a study's config, `methods` gives the same rows a place in its report and in MLflow.
    """
    import tempfile

    from camground.evaluation.ablation import compare as compared
    from camground.evaluation.ablation import read_method
    from camground.evaluation.ground_truth import load
    from camground.evaluation.methods import questions, read_answers, write_questions
    from camground.evaluation.outcomes import Run, evaluate_files
    from camground.report.ablation_table import AblationTable
    from camground.report.method_tables import render_markdown
    from camground.study import tables
    from camground.study.progress import log

    evaluate = EvaluateConfig.parse({"splits": [split]}, "evaluate")
    images, texts = results / "data" / "images.parquet", results / "data" / "expressions.parquet"
    if expressions is not None:
        asked = questions(images, texts, evaluate.splits)
        write_questions(asked, expressions)
        log.info("%s: %d expressions of %d images", expressions, len(asked), asked["image"].nunique())
        return
    named = dict(_named(each) for each in boxes)
    if len(named) + len(rows) < 2:
        raise UserError("give two methods or more: --boxes NAME=FILE twice, or once with --row NAME")
    if taken := next((name for name in named if (results / name).exists()), None):
        raise UserError(
            f"--boxes {taken}={named[taken]}: the study has a folder {taken}; choose another name"
        )
    methods = {name: MethodConfig(boxes=file, supervision="Not stated.") for name, file in named.items()}
    found = {row: sorted(int(path.name[4:]) for path in results.glob(f"{row}/seed*")) for row in rows}
    if lost := next((row for row in rows if not found[row]), None):
        raise UserError(f"--row {lost}: {results} has no finished row of this name")
    targets = results / "data" / "targets.parquet"
    truth = load(evaluate, images, texts, targets, results / evaluate.proposals_file, None)
    listed = [read_method(results, row, found[row]) for row in rows]
    with tempfile.TemporaryDirectory() as temporary:
        for name, method in methods.items():
            folder = Path(temporary) / name / "seed0"
            predictions = folder / "predictions.parquet"
            rejected = folder / "rejected.parquet"
            answers = read_answers(name, method, images, texts, evaluate.splits, rejected)
            tables.write("predictions", answers, predictions)
            outputs = folder / "outcomes.parquet", folder / "metrics.parquet"
            evaluate_files(truth, Run(results.name, name, 0), predictions, None, *outputs)
            listed.insert(len(listed) - len(rows), read_method(Path(temporary), name, [0]))
    ablation = AblationConfig.parse({"reference": listed[0].name, "split": split})
    seeds = max(found.values(), key=len, default=[0])
    study = StudyMethods(
        dataset=results.name,
        seeds=tuple(seeds),
        variants=(),
        methods=methods,
        baselines=tuple(rows),
        ablation=ablation,
    )
    of_split = {split: int(truth.expressions["image_id"].nunique())}
    typer.echo(render_markdown(AblationTable.of(compared(listed, results.name, ablation), study, of_split)))


def _named(text: str) -> tuple[str, str]:
    name, _, file = text.partition("=")
    if not name.isidentifier() or not file:
        raise UserError(f"--boxes {text}: give NAME=FILE, the name of letters, digits and underscores")
    return name, file
