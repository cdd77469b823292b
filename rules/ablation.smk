"""Stage `ablation`.

Purpose: the study's table: means, deviations over seeds, differences from the reference variant with
their paired bootstrap intervals over images and seeds, and the study's tests.
Inputs: metrics and outcomes of every variant, baseline and seed.
Outputs: the ablation table as Parquet, CSV, Markdown and LaTeX.
"""


rule ablation:
    input:
        results=all_methods("metrics.parquet", "outcomes.parquet"),
        code=code("ablation"),
    output:
        table=study("ablation.parquet"),
        csv=report(
            study("ablation.csv"),
            caption="../workflow/report/ablation.rst",
            category="Results",
            labels={"study": DATASET, "what": "ablation table"},
        ),
        markdown=study("ablation.md"),
        latex=study("ablation.tex"),
    log:
        study("logs/ablation.log"),
    benchmark:
        study("benchmarks/ablation.tsv")
    conda:
        "../envs/camground.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        config=STUDY.part("dataset", "seeds", "ablation", **METHODS_SHOWN),
        root=subpath(output.table, parent=True),
    message:
        "Ablation table"
    shell:
        "camground ablation --config {params.config:q} --root {params.root:q} --output {output.table:q}"
        " --csv {output.csv:q} --markdown {output.markdown:q} --latex {output.latex:q}"
        " 2>&1 | tee {log:q} >&2"
