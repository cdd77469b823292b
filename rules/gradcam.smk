"""Stage `gradcam`.

Purpose: the Grad-CAM of every image and expression, of the study's own matcher of one seed or of a
pretrained vision-language model (`gradcam.source`), which is the same for all seeds and so runs once.
Inputs: the images and expressions tables; for the matcher also it and the feature cache, for a
pretrained model the pictures; never targets.
Outputs: the cams table of each seed.
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
# Of each seed, whatever the source.
CAMS = study("gradcam/seed{seed}/cams.parquet")
# Of every seed; none where nothing is trained and no pretrained model draws them.
ALL_CAMS = expand(CAMS, seed=SEEDS) if STUDY.has_maps else []


rule gradcam:
    input:
        **(PICTURES if PRETRAINED else MATCHER),
        **TEXTS,
        code=code("gradcam", SOURCE.cam),
    output:
        cams=study("gradcam/cams.parquet") if PRETRAINED else CAMS,
    log:
        study("logs/gradcam.log" if PRETRAINED else "logs/gradcam-seed{seed}.log"),
    benchmark:
        study("benchmarks/gradcam.tsv" if PRETRAINED else "benchmarks/gradcam-seed{seed}.tsv")
    conda:
        "../envs/camground.yaml"
    # one, as in training: sums of gradients round differently on more
    threads: 1
    resources:
        mem_mb=8000 if PRETRAINED else 3000,
        gpu=GPU,
    params:
        config=STUDY.part(*keys("gradcam", "box_threshold", *UNUSED_SOURCES)),
        folders=(
            [] if PRETRAINED else ["--features", study("features"), "--matcher", study("matcher/seed{seed}")]
        ),
    message:
        f"Grad-CAM of every expression, of {STUDY.gradcam.source}{'' if PRETRAINED else ', seed {wildcards.seed}'}"
    shell:
        "camground gradcam --config {params.config:q}"
        " --images {input.images:q} --expressions {input.expressions:q} {params.folders:q}"
        " --output {output.cams:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"


if PRETRAINED:

    rule gradcam_of_seed:
        input:
            rules.gradcam.output.cams,
        output:
            CAMS,
        localrule: True
        message:
            "Grad-CAM of seed {wildcards.seed}: that of every seed"
        shell:
            "cp {input:q} {output:q}"
