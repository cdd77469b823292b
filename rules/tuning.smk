"""Stage `tuning`, of studies with `tuning.stages`.

Purpose: train the backbone's last stages on the study's own image-sentence pairs, before features are
cached.
Inputs: the images and expressions tables, the pictures; never targets.
Outputs: the backbone's weights; checkpoint of what was trained, resolved config, history and summary.
"""

# The tuned backbone, as input of `features`.
TUNED = {"backbone": study("tuning/backbone.safetensors")} if STUDY.tuning.stages else {}

if TUNED:

    rule tuning:
        input:
            **PICTURES,
            **TEXTS,
            code=code("tuning"),
        output:
            backbone=study("tuning/backbone.safetensors"),
            checkpoint=study("tuning/checkpoint.safetensors"),
            config=study("tuning/config.yaml"),
            history=study("tuning/history.parquet"),
            summary=study("tuning/summary.json"),
        log:
            study("logs/tuning.log"),
        benchmark:
            study("benchmarks/tuning.tsv")
        conda:
            "../envs/camground.yaml"
        threads: 2
        resources:
            mem_mb=6000,
            gpu=GPU,
        params:
            config=STUDY.part("tuning", "features", "matcher", seed=SEEDS[0]),
            folder=subpath(output.backbone, parent=True),
            resume=study("resume/tuning"),
        message:
            "Tune the backbone"
        # always two threads, so that --cores changes no byte: sums round differently on more or fewer
        shell:
            "camground tuning --config {params.config:q} --images {input.images:q}"
            " --expressions {input.expressions:q} --output-dir {params.folder:q}"
            " --resume-dir {params.resume:q} --threads 2"
            " 2>&1 | tee {log:q} >&2"
