"""Stage `matcher`.

Purpose: train the image-text matcher of one seed on the study's own image-sentence pairs.
Inputs: the images and expressions tables, the feature cache; never targets.
Outputs: checkpoint, resolved config, history and summary.
"""


rule matcher:
    input:
        **FEATURES,
        **TEXTS,
        code=code("matcher"),
    output:
        checkpoint=study("matcher/seed{seed}/checkpoint.safetensors"),
        config=study("matcher/seed{seed}/config.yaml"),
        history=study("matcher/seed{seed}/history.parquet"),
        summary=study("matcher/seed{seed}/summary.json"),
    log:
        study("logs/matcher-seed{seed}.log"),
    benchmark:
        study("benchmarks/matcher-seed{seed}.tsv")
    conda:
        "../envs/camground.yaml"
    # one, so that --cores changes no byte: sums of gradients round differently on more; seeds run side by side
    threads: 1
    resources:
        mem_mb=3500,
        gpu=GPU,
    params:
        config=lambda wildcards: STUDY.part("features", "matcher", seed=int(wildcards.seed)),
        features=subpath(input.features, parent=True),
        folder=subpath(output.checkpoint, parent=True),
        resume=study("resume/matcher-seed{seed}"),
    message:
        "Train the image-text matcher, seed {wildcards.seed}"
    shell:
        "camground matcher --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --features {params.features:q} --output-dir {params.folder:q}"
        " --resume-dir {params.resume:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
