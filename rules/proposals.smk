"""Stage `proposals`.

Purpose: class-agnostic candidate boxes of every image.
Inputs: the images table and the pictures. Targets only under `proposals.method: ground_truth`, a
protocol of evaluation studies that gives every method the objects' boxes, not which one is meant.
Outputs: the proposals table.
"""

# Targets are read under that protocol alone: the label firewall.
OBJECTS = (
    {"targets": rules.data.output.targets, "expressions": rules.data.output.expressions}
    if config["proposals"]["method"] == "ground_truth"
    else {}
)


rule proposals:
    input:
        **PICTURES,
        **OBJECTS,
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
        objects=lambda wildcards, input: [
            part for name in OBJECTS for part in (f"--{name}", input[name])
        ],
    message:
        "Proposals of every image"
    shell:
        "python -m camground.proposals --config {params.config:q}"
        " --images {input.images:q} {params.objects:q} --output {output.proposals:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
