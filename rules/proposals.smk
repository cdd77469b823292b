"""Stage `proposals`.

Purpose: class-agnostic candidate boxes of every image.
Inputs: the images table and the pictures; never targets, unless `proposals.method` is ground_truth,
the protocol of some evaluation studies.
Outputs: the proposals table.
"""


rule proposals:
    input:
        **PICTURES,
        images=rules.data.output.images,
        code=code("proposals"),
    output:
        proposals=study("proposals/proposals.parquet"),
    log:
        study("logs/proposals.log"),
    benchmark:
        study("benchmarks/proposals.tsv")
    conda:
        "../envs/camground.yaml"
    threads: ALL_CORES
    resources:
        mem_mb=2000,
    params:
        config=section(config, "proposals"),
    message:
        "Proposals of every image"
    shell:
        "python -m camground.proposals --config {params.config:q}"
        " --images {input.images:q} --output {output.proposals:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
