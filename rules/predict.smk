"""Stage `predict`.

Purpose: the boxes, scores and own maps of a trained grounder on the splits that are
evaluated.
Inputs: the images, expressions, proposals and cams tables, the feature cache, a checkpoint; never
targets.
Outputs: the predictions table, the scores of the word swaps, and what makes the image score the probability
that a phrase is in the picture, fitted on captions of val.
"""


rule predict:
    input:
        **FEATURES,
        **TEXTS,
        proposals=EVALUATED_PROPOSALS,
        detected=rules.proposals.output.proposals,
        cams=CAMS,
        checkpoint=rules.train.output.checkpoint,
        config=rules.train.output.config,
        pictures=pictures_seen,
        code=code("predict"),
    output:
        predictions=trained("{variant}", "{seed}", "predictions.parquet"),
        swaps=trained("{variant}", "{seed}", "swap_scores.parquet"),
        calibration=trained("{variant}", "{seed}", "calibration.json"),
    log:
        study("logs/predict-{variant}-seed{seed}.log"),
    benchmark:
        study("benchmarks/predict-{variant}-seed{seed}.tsv")
    conda:
        "../envs/camground.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        gpu=GPU,
    params:
        config=STUDY.part("predict", "evaluate.splits"),
        features=subpath(input.features, parent=True),
        checkpoint=subpath(input.checkpoint, parent=True),
    message:
        "Predict with {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "camground predict --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --proposals {input.proposals:q}"
        " --detected {input.detected:q} --cams {input.cams:q} --features {params.features:q}"
        " --checkpoint {params.checkpoint:q} --output {output.predictions:q} --swaps {output.swaps:q}"
        " --calibration {output.calibration:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
