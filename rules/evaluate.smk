"""Stage `evaluate`, and the baselines that need no training.

Purpose: measure predictions against the targets; run and measure the baselines in the same way.
Inputs: the predictions and swap scores, the boxes that each epoch of a training chose on val, the
tables images, expressions, proposals and cams, for labels the feature cache, and the targets, which no
earlier stage reads.
Outputs: metrics and outcomes of each variant, baseline and seed; each training's learning curve; the
baselines' predictions.
"""


rule evaluate:
    input:
        **TEXTS,
        targets=rules.data.output.targets,
        predictions=rules.predict.output.predictions,
        swaps=rules.predict.output.swaps,
        val_boxes=rules.train.output.val_boxes,
        history=rules.train.output.history,
        proposals=EVALUATED_PROPOSALS,
        cams=CAMS,
        code=code("evaluate"),
    output:
        metrics=trained("{variant}", "{seed}", "metrics.parquet"),
        outcomes=trained("{variant}", "{seed}", "outcomes.parquet"),
        learning_curve=trained("{variant}", "{seed}", "learning_curve.parquet"),
    log:
        study("logs/evaluate-{variant}-seed{seed}.log"),
    benchmark:
        study("benchmarks/evaluate-{variant}-seed{seed}.tsv")
    conda:
        "../envs/camground.yaml"
    threads: 1
    resources:
        mem_mb=1500,
    params:
        config=lambda wildcards: STUDY.part(
            *("dataset", "evaluate"), variant=wildcards.variant, seed=int(wildcards.seed)
        ),
        training=subpath(input.history, parent=True),
    message:
        "Evaluate {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "camground evaluate --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --targets {input.targets:q}"
        " --predictions {input.predictions:q} --swaps {input.swaps:q} --proposals {input.proposals:q}"
        " --cams {input.cams:q} --metrics {output.metrics:q} --outcomes {output.outcomes:q}"
        " --train-dir {params.training:q} --learning-curve {output.learning_curve:q}"
        " 2>&1 | tee {log:q} >&2"


rule baselines:
    input:
        **TEXTS,
        targets=rules.data.output.targets,
        proposals=EVALUATED_PROPOSALS,
        cams=ALL_CAMS,
        # for a teacher that reads labels
        features=list(FEATURES.values()) if STUDY.losses.distillation.label else [],
        code=code("baselines"),
    output:
        predictions=all_baselines("predictions.parquet"),
        metrics=all_baselines("metrics.parquet"),
        outcomes=all_baselines("outcomes.parquet"),
    log:
        study("logs/baselines.log"),
    benchmark:
        study("benchmarks/baselines.tsv")
    # not last, alone on one core
    priority: 1
    conda:
        "../envs/camground.yaml"
    threads: 1
    resources:
        mem_mb=1500,
    params:
        config=STUDY.part(
            *("dataset", "seeds", "evaluate", "predict.map_boxes", "predict.voting"),
            *("gradcam.box_threshold", "losses.distillation"),
            baselines=STUDY.baseline_names,
        ),
        gradcam=["--gradcam", study("gradcam")] if ALL_CAMS else [],
        features=lambda wildcards, input: ["--features", study("features")] if input.features else [],
        root=lambda wildcards, output: Path(output.metrics[0]).parents[2],
    message:
        "Baselines"
    shell:
        "camground baselines --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --targets {input.targets:q} --proposals {input.proposals:q}"
        " --output-root {params.root:q} {params.gradcam:q} {params.features:q}"
        " 2>&1 | tee {log:q} >&2"
