"""Stage `train`.

Purpose: train the grounder of one variant with one seed, selected on captions.
Inputs: the images, expressions and proposals tables, the cams table that the model is shown and the
one that its teacher is made of, the feature cache, the seed's matcher to start from; never targets.
Outputs: checkpoint, resolved config, history, summary, and the boxes that each epoch chooses on
val, which `evaluate` measures. An interrupted training goes on from its resume folder.
"""


rule train:
    input:
        **FEATURES,
        **TEXTS,
        proposals=rules.proposals.output.proposals,
        cams=CAMS,
        teacher_cams=teacher_cams,
        matcher=rules.matcher.output.checkpoint,
        matcher_config=rules.matcher.output.config,
        pictures=pictures_seen,
        code=code("train"),
    output:
        checkpoint=trained("{variant}", "{seed}", "train/checkpoint.safetensors"),
        config=trained("{variant}", "{seed}", "train/config.yaml"),
        history=trained("{variant}", "{seed}", "train/history.parquet"),
        val_boxes=trained("{variant}", "{seed}", "train/val_boxes.parquet"),
        summary=trained("{variant}", "{seed}", "train/summary.json"),
    log:
        study("logs/train-{variant}-seed{seed}.log"),
    benchmark:
        study("benchmarks/train-{variant}-seed{seed}.tsv")
    # before predictions, so that no long job is left alone at the end
    priority: 1
    conda:
        "../envs/camground.yaml"
    # one, so that --cores changes no byte; several trainings fill the cores, which wastes less than several
    # threads in each
    threads: 1
    resources:
        mem_mb=3500,
        gpu=GPU,
    params:
        config=train_config,
        features=subpath(input.features, parent=True),
        matcher=subpath(input.matcher, parent=True),
        folder=subpath(output.checkpoint, parent=True),
        resume=study("resume/{variant}-seed{seed}"),
    message:
        "Train {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "camground train --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --proposals {input.proposals:q} --cams {input.cams:q}"
        " --teacher-cams {input.teacher_cams:q} --features {params.features:q} --matcher {params.matcher:q}"
        " --output-dir {params.folder:q} --resume-dir {params.resume:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
