"""Stage `matcher`.

Purpose: train the image-text matcher on the study's own image-sentence pairs.
Inputs: the images and expressions tables, the feature cache; never targets.
Outputs: checkpoint, resolved config, history and summary.
"""


rule matcher:
    input:
        **FEATURES,
        **TEXTS,
        code=code("matcher"),
    output:
        checkpoint=study("matcher/checkpoint.safetensors"),
        config=study("matcher/config.yaml"),
        history=study("matcher/history.parquet"),
        summary=study("matcher/summary.json"),
    log:
        study("logs/matcher.log"),
    benchmark:
        study("benchmarks/matcher.tsv")
    conda:
        "../envs/camground.yaml"
    threads: ALL_CORES
    resources:
        mem_mb=3000,
        gpu=GPU,
    params:
        config=STUDY.part("features", "matcher"),
        features=subpath(input.features, parent=True),
        folder=subpath(output.checkpoint, parent=True),
        resume=study("resume/matcher"),
    message:
        "Train the image-text matcher"
    shell:
        "camground matcher --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --features {params.features:q} --output-dir {params.folder:q}"
        " --resume-dir {params.resume:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
