"""Stage `tracking`.

Purpose: bring the MLflow store in line with the study's files, by a single writer.
Inputs: summaries, histories, metrics, the ablation table and the report.
Outputs: tracking.json, which lists what was written; the store itself (results_dir/mlflow.db, or
what MLFLOW_TRACKING_URI names) is shared by all studies and can be made again from the files.
"""


rule tracking:
    input:
        store_is_whole,
        trainings=all_trained(*(f"train/{Path(file).name}" for file in rules.train.output)),
        matcher=expand(rules.matcher.output, seed=SEEDS if VARIANTS else []),
        # of the scores of the model that is logged
        calibrations=all_trained("calibration.json"),
        card=rules.report.output.card,
        metrics=all_methods("metrics.parquet"),
        table=rules.ablation.output,
        report=rules.report.output.html,
        figures=rules.report.output.figures,
        code=code("tracking"),
    output:
        written=study("tracking.json"),
    log:
        study("logs/tracking.log"),
    benchmark:
        study("benchmarks/tracking.tsv")
    conda:
        "../envs/camground.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        config=STUDY.part(
            *("dataset", "seeds", "tracking", "ablation", "evaluate", "predict"),
            *keys("proposals", *UNUSED_METHODS),
            *keys("gradcam", *UNUSED_SOURCES),
            **METHODS_SHOWN,
        ),
        root=subpath(output.written, parent=True),
    message:
        "MLflow store"
    shell:
        "camground tracking --config {params.config:q} --root {params.root:q} --report {input.report:q}"
        " --output {output.written:q}"
        " 2>&1 | tee {log:q} >&2"
