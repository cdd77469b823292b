"""Stage `proposals`.

Purpose: candidate boxes of every image, with the labels of a detector's; under `evaluate.proposals: ground_truth`, a protocol
of evaluation studies, also the true boxes of the evaluated splits, which every method then chooses among.
Inputs: the images table and the pictures, the file of boxes where the method has one; of the protocol's rule
alone the targets.
Outputs: the proposals table, and of a file of boxes its entries that were refused; the evaluated splits' own
table.
"""

from camground.proposals.methods import METHODS

METHOD = METHODS[STUDY.proposals.method]
# Sections of the methods that are not used.
UNUSED_METHODS = METHODS.keys() - set(STUDY.proposals.methods)
# What evaluated boxes are chosen among; training reads `rules.proposals.output.proposals`.
EVALUATED_PROPOSALS = study(STUDY.evaluate.proposals_file)


rule proposals:
    input:
        **PICTURES,
        files=[*STUDY.proposals.user_files.values()],
        images=rules.data.output.images,
        code=code("proposals", *(METHODS[name].proposer for name in STUDY.proposals.methods)),
    output:
        **{table: study(f"proposals/{table}.parquet") for table in METHOD.writes},
        proposals=study("proposals/proposals.parquet"),
    log:
        study("logs/proposals.log"),
    benchmark:
        study("benchmarks/proposals.tsv")
    # before the matchers: what takes every core would leave one idle while it waits for the other
    priority: 10
    conda:
        "../envs/camground.yaml"
    threads: ALL_CORES
    resources:
        # a process for each thread
        mem_mb=lambda wildcards, threads: 8000 if METHOD.network else 1500 + 250 * threads,
        gpu=GPU if METHOD.network else 0,
    params:
        config=STUDY.part(*keys("proposals", *UNUSED_METHODS)),
        tables=lambda wildcards, output: [
            part for table in METHOD.writes for part in (f"--{table}", output[table])
        ],
    message:
        "Proposals of every image"
    shell:
        "camground proposals --config {params.config:q} --images {input.images:q} {params.tables:q}"
        " --output {output.proposals:q} --threads {threads}"
        " 2>&1 | tee {log:q} >&2"


rule true_boxes:
    input:
        images=rules.data.output.images,
        expressions=rules.data.output.expressions,
        targets=rules.data.output.targets,
        code=code("true_boxes"),
    output:
        proposals=study("proposals/evaluated.parquet"),
    log:
        study("logs/true_boxes.log"),
    benchmark:
        study("benchmarks/true_boxes.tsv")
    conda:
        "../envs/camground.yaml"
    threads: 1
    resources:
        mem_mb=1500,
    params:
        config=STUDY.part("evaluate.splits"),
    message:
        "True boxes of the evaluated splits"
    shell:
        "camground true_boxes --config {params.config:q} --images {input.images:q}"
        " --expressions {input.expressions:q} --targets {input.targets:q} --output {output.proposals:q}"
        " 2>&1 | tee {log:q} >&2"
