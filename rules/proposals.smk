"""Stage `proposals`.

Purpose: class-agnostic candidate boxes of every image.
Inputs: the images table and the pictures. Targets only under `proposals.method: ground_truth`, a
protocol of evaluation studies that gives every method the objects' boxes, not which one is meant. The
file of boxes under `boxes_file`.
Outputs: the proposals table; of a file of boxes also its entries that were refused.
"""

METHOD = config["proposals"]["method"]

# Targets are read under that protocol alone: the label firewall.
OBJECTS = (
    {"targets": rules.data.output.targets, "expressions": rules.data.output.expressions}
    if METHOD == "ground_truth"
    else {}
)
BOXES = (
    {"boxes": str(Path(config["proposals"]["boxes_file"]["path"]).expanduser())}
    if METHOD == "boxes_file"
    else {}
)
REFUSED = {"rejected": study("proposals/rejected.parquet")} if BOXES else {}
# Of the sections that are a method's own, the one that is used: an edit of another changes nothing.
OTHERS = {"detector", "boxes_file"} - {METHOD}


rule proposals:
    input:
        **PICTURES,
        **OBJECTS,
        **BOXES,
        images=rules.data.output.images,
        code=code("proposals"),
    output:
        **REFUSED,
        proposals=study("proposals/proposals.parquet"),
    log:
        study("logs/proposals.log"),
    benchmark:
        study("benchmarks/proposals.tsv")
    conda:
        "../envs/camground.yaml"
    threads: ALL_CORES
    resources:
        mem_mb=8000 if METHOD == "detector" else 2000,
        gpu=GPU if METHOD == "detector" else 0,
    params:
        config=section(
            config,
            *(f"proposals.{key}" for key in config["proposals"] if key not in OTHERS),
        ),
        others=lambda wildcards, input, output: [
            *(part for name in OBJECTS for part in (f"--{name}", input[name])),
            *(part for name in REFUSED for part in (f"--{name}", output[name])),
        ],
    message:
        "Proposals of every image"
    shell:
        "python -m camground.stages.proposals --config {params.config:q}"
        " --images {input.images:q} {params.others:q} --output {output.proposals:q}"
        " --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
