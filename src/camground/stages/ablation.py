"""Stage `ablation`: the study's table, for programs and for readers."""

from __future__ import annotations

from camground.evaluation.config import StudyMethods
from camground.stages.command import ConfigText, OutputFile, ResultsFolder, read_config


def ablation(
    config: ConfigText,
    root: ResultsFolder,
    output: OutputFile,
    csv: OutputFile,
    markdown: OutputFile,
    latex: OutputFile,
) -> None:
    """Compare every variant and baseline with the reference: means, deviations, differences, intervals."""
    from camground.evaluation.ablation import compare, read_method
    from camground.report.ablation_table import AblationTable
    from camground.report.method_tables import render_latex, render_markdown
    from camground.study import tables
    from camground.study.progress import log

    study = read_config(config, StudyMethods)
    names = (*study.baselines, *study.methods, *study.variants)
    methods = [read_method(root, name, study.seeds_of(name)) for name in names]
    table = compare(methods, study.dataset, study.ablation)
    tables.write("ablation", table, output)
    outcomes = methods[0].outcomes[0]
    images = {str(s): rows["image_id"].nunique() for s, rows in outcomes.groupby("split")}
    readable = AblationTable.of(table, study, images)
    texts = {markdown: render_markdown(readable), latex: render_latex(readable)}
    texts[csv] = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    for file, text in texts.items():
        with tables.atomic(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    log.info("%d methods compared with %s", len(methods) - 1, study.ablation.reference)
