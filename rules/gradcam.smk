"""Stage `gradcam`.

Purpose: the Grad-CAM of every image and expression, of the study's own matcher or of a pretrained
vision-language model (`gradcam.source`).
Inputs: the images and expressions tables; for the matcher also it and the feature cache, for a
pretrained model the pictures; never targets.
Outputs: the cams table.
"""

from camground.matcher.cam_sources import SOURCES as CAM_SOURCES

SOURCE = CAM_SOURCES[STUDY.gradcam.source]
# Sections of the sources that are not used.
UNUSED_SOURCES = CAM_SOURCES.keys() - {STUDY.gradcam.source}
PRETRAINED = SOURCE.reads == "photographs"
MATCHER = {
    **FEATURES,
    "matcher": rules.matcher.output.checkpoint,
    "matcher_config": rules.matcher.output.config,
}


rule gradcam:
    input:
        **(PICTURES if PRETRAINED else MATCHER),
        **TEXTS,
        code=code("gradcam", SOURCE.cam),
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
        mem_mb=8000 if PRETRAINED else 3000,
        gpu=GPU,
    params:
        config=STUDY.part(*keys("gradcam", "box_threshold", *UNUSED_SOURCES)),
        folders=([] if PRETRAINED else ["--features", study("features"), "--matcher", study("matcher")]),
    message:
        f"Grad-CAM of every expression, of source {STUDY.gradcam.source}"
    shell:
        "camground gradcam --config {params.config:q}"
        " --images {input.images:q} --expressions {input.expressions:q} {params.folders:q}"
        " --output {output.cams:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
