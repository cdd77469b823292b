"""Stage `features`.

Purpose: the frozen CNN's features of every image and the frozen language encoder's of every text,
computed once for all variants and seeds.
Inputs: the images and expressions tables, the pictures, and the backbone where the study tunes it.
Outputs: the feature cache: visual.npy, tokens.npy, texts.parquet and features.json.
"""


rule features:
    input:
        **PICTURES,
        **TEXTS,
        **TUNED,
        code=code("features"),
    output:
        visual=study("features/visual.npy"),
        tokens=study("features/tokens.npy"),
        texts=study("features/texts.parquet"),
        features=study("features/features.json"),
    log:
        study("logs/features.log"),
    benchmark:
        study("benchmarks/features.tsv")
    conda:
        "../envs/camground.yaml"
    # batches side by side, each on one thread
    threads: ALL_CORES
    resources:
        mem_mb=lambda wildcards, threads: 2500 + 500 * threads,
        gpu=GPU,
    params:
        config=features_config,
        folder=subpath(output.features, parent=True),
    message:
        "Features of every image and text"
    shell:
        "camground features --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --output-dir {params.folder:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"


# The cache as inputs of other rules; `features` names its folder.
FEATURES = dict(rules.features.output.items())
