"""Stage `report`.

Purpose: one HTML file that opens offline: the table, curves and a gallery of test images.
Inputs: the ablation table; every method's metrics, outcomes and predictions; the trainings'
histories; the tables of the data, among them the targets, for the true boxes.
Outputs: the report, its figures as pictures, what entered as supervision, for `camground document`, and the
card that travels with the model.
"""

# What entered as supervision is stated of it.
REFERENCE = (STUDY.variant(STUDY.ablation.reference) if VARIANTS else STUDY).to_dict()


rule report:
    input:
        **PICTURES,
        table=rules.ablation.output,
        results=all_methods("metrics.parquet", "outcomes.parquet", "predictions.parquet"),
        curves=all_trained("learning_curve.parquet"),
        trainings=all_trained("train/history.parquet", "train/config.yaml", "train/summary.json"),
        matcher=expand(
            [rules.matcher.output.history, rules.matcher.output.summary], seed=SEEDS if VARIANTS else []
        ),
        images=rules.data.output.images,
        expressions=rules.data.output.expressions,
        targets=rules.data.output.targets,
        rejected=rules.data.output.rejected,
        leakage=AUDIT,
        proposals=EVALUATED_PROPOSALS,
        # whose labels entered
        detected=rules.proposals.output.proposals,
        # those of the seed that the gallery shows
        cams=ALL_CAMS[:1],
        code=code("report"),
    output:
        html=report(
            study("report.html"),
            caption="../workflow/report/report.rst",
            category="Results",
            labels={"study": DATASET, "what": "report with pictures"},
        ),
        supervision=study("supervision.json"),
        card=study("model_card.md"),
        figures=report(
            directory(study("figures")),
            patterns=["{figure}.png"],
            caption="../workflow/report/figure.rst",
            category="Figures",
            labels={"study": DATASET, "what": "{figure}"},
        ),
    log:
        study("logs/report.log"),
    benchmark:
        study("benchmarks/report.tsv")
    conda:
        "../envs/camground.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        config=STUDY.part(
            *("dataset", "seeds", "data.kind", f"data.{STUDY.data.kind}"),
            *("evaluate", "ablation", "report", "tuning", "features", "matcher"),
            *keys("proposals", *UNUSED_METHODS),
            *keys("gradcam", *UNUSED_SOURCES),
            **{name: REFERENCE[name] for name in ("grounder", "losses", "train")},
            **METHODS_SHOWN,
        ),
        root=subpath(input.images, ancestor=2),
    message:
        "Report"
    shell:
        "camground report --config {params.config:q} --root {params.root:q} --output {output.html:q}"
        " --figures {output.figures:q}"
        " 2>&1 | tee {log:q} >&2"
