"""Stage `gradcam`.

Purpose: the Grad-CAM of every image and expression, of the study's own matcher or of a pretrained
vision-language model (`gradcam.source`).
Inputs: the images and expressions tables; for the matcher also it and the feature cache, for a
pretrained model the pictures; never targets.
Outputs: the cams table.
"""

if config["gradcam"]["source"] == "matcher":

    rule gradcam:
        input:
            **FEATURES,
            images=rules.data.output.images,
            expressions=rules.data.output.expressions,
            matcher=rules.matcher.output.checkpoint,
            matcher_config=rules.matcher.output.config,
            code=code("gradcam"),
        output:
            cams=study("gradcam/cams.parquet"),
        log:
            study("logs/gradcam.log"),
        benchmark:
            study("benchmarks/gradcam.tsv")
        conda:
            "../envs/camground.yaml"
        threads: ALL_CORES
        resources:
            mem_mb=3000,
            gpu=GPU,
        params:
            config=section(config, "gradcam"),
            features=subpath(input.features, parent=True),
            matcher=subpath(input.matcher, parent=True),
        message:
            "Grad-CAM of every expression"
        shell:
            "python -m camground.stages.gradcam --config {params.config:q}"
            " --images {input.images:q} --expressions {input.expressions:q}"
            " --features {params.features:q} --matcher {params.matcher:q}"
            " --output {output.cams:q} --threads {threads}"
            " 2>&1 | tee {log:q} >&2"

else:

    rule gradcam:
        input:
            **PICTURES,
            images=rules.data.output.images,
            expressions=rules.data.output.expressions,
            code=code("gradcam"),
        output:
            cams=study("gradcam/cams.parquet"),
        log:
            study("logs/gradcam.log"),
        benchmark:
            study("benchmarks/gradcam.tsv")
        conda:
            "../envs/camground.yaml"
        threads: ALL_CORES
        resources:
            mem_mb=8000,
            gpu=GPU,
        params:
            config=section(config, "gradcam"),
        message:
            "Grad-CAM of every expression, of a pretrained model"
        shell:
            "python -m camground.stages.gradcam --config {params.config:q}"
            " --images {input.images:q} --expressions {input.expressions:q}"
            " --output {output.cams:q} --threads {threads}"
            " 2>&1 | tee {log:q} >&2"
