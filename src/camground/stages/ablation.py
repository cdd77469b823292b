"""Stage `ablation`: the study's table, for programs and for readers."""

from __future__ import annotations

from camground.evaluation.config import AblationConfig
from camground.stages.command import ConfigText, OutputFile, ResultsFolder, read_config
from camground.study.section import Section


class AblationInput(Section):
    dataset: str
    seeds: tuple[int, ...]
    ablation: AblationConfig
    variants: tuple[str, ...]
    baselines: tuple[str, ...]


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

    options = read_config(config, AblationInput)
    names = (*options.baselines, *options.variants)
    methods = [read_method(root, name, options.seeds) for name in names]
    table = compare(methods, options.dataset, options.ablation)
    tables.write("ablation", table, output)
    outcomes = methods[0].outcomes[0]
    readable = AblationTable(
        dataset=options.dataset,
        table=table,
        baselines=list(options.baselines),
        variants=list(options.variants),
        seeds=list(options.seeds),
        reference=options.ablation.reference,
        split=options.ablation.split,
        resamples=options.ablation.resamples,
        images={str(s): rows["image_id"].nunique() for s, rows in outcomes.groupby("split")},
    )
    texts = {markdown: render_markdown(readable), latex: render_latex(readable)}
    texts[csv] = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    for file, text in texts.items():
        with tables.atomic(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    log.info("%d methods compared with %s", len(methods) - 1, options.ablation.reference)
