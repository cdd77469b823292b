"""Stage `proposals`.

Purpose: class-agnostic candidate boxes of every image.
Inputs: the images table and the pictures; what the method reads beside them: the file of boxes, or, under
`proposals.method: ground_truth`, targets. That is a protocol of evaluation studies, which gives every method
the objects' boxes, not which one is meant; else the label firewall keeps targets out.
Outputs: the proposals table; of a file of boxes also its entries that were refused.
"""

from camground.proposals.methods import METHODS

METHOD = METHODS[STUDY.proposals.method]
# Sections of the methods that are not used.
UNUSED_METHODS = METHODS.keys() - {STUDY.proposals.method}


rule proposals:
    input:
        **PICTURES,
        **{table: rules.data.output[table] for table in METHOD.reads},
        files=[str(Path(path).expanduser()) for path in STUDY.proposals.user_files.values()],
        images=rules.data.output.images,
        code=code("proposals", METHOD.proposer),
    output:
        **{table: study(f"proposals/{table}.parquet") for table in METHOD.writes},
        proposals=study("proposals/proposals.parquet"),
    log:
        study("logs/proposals.log"),
    benchmark:
        study("benchmarks/proposals.tsv")
    conda:
        "../envs/camground.yaml"
    threads: ALL_CORES
    resources:
        mem_mb=8000 if METHOD.network else 2000,
        gpu=GPU if METHOD.network else 0,
    params:
        config=STUDY.part(*keys("proposals", *UNUSED_METHODS)),
        tables=lambda wildcards, input, output: [
            *(part for table in METHOD.reads for part in (f"--{table}", input[table])),
            *(part for table in METHOD.writes for part in (f"--{table}", output[table])),
        ],
    message:
        "Proposals of every image"
    shell:
        "camground proposals --config {params.config:q} --images {input.images:q} {params.tables:q}"
        " --output {output.proposals:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"
