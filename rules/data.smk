"""Stage `data`.

Purpose: make the scenes, or read photographs or a benchmark, into the tables that all stages share.
Inputs: nothing for scenes; captions.csv and, if there, phrases.csv of `data_root` for a folder; the refs
and instances, or the split files, of a benchmark there.
Outputs: the tables images, expressions, targets (for evaluation alone) and rejected; the scenes'
pictures. A data set of REFER that is refused because training photographs are evaluated on leaves
leakage-refused.json.
"""


rule data:
    input:
        downloads=receipts(),
        sources=source_files,
        code=code("data", STUDY.data.chosen.full_module()),
    output:
        **{name: directory(path) for name, path in PICTURES.items()},
        images=study("data/images.parquet"),
        expressions=study("data/expressions.parquet"),
        targets=study("data/targets.parquet"),
        rejected=study("data/rejected.parquet"),
    log:
        study("logs/data.log"),
    benchmark:
        study("benchmarks/data.tsv")
    conda:
        "../envs/camground.yaml"
    threads: ALL_CORES
    resources:
        # a process for each thread
        mem_mb=lambda wildcards, threads: 1500 + 250 * threads,
    params:
        config=STUDY.part(
            *("dataset", "data_root", "data.kind", "data.seed", "data.max_rejected_share"),
            f"data.{STUDY.data.kind}",
        ),
        pictures=lambda wildcards, output: ["--pictures", output.pictures] if PICTURES else [],
    message:
        f"Data set {DATASET}: tables and pictures"
    shell:
        "camground data --config {params.config:q}"
        " --images {output.images:q} --expressions {output.expressions:q}"
        " --targets {output.targets:q} --rejected {output.rejected:q} {params.pictures:q}"
        " 2>&1 | tee {log:q} >&2"


# The tables that most rules read.
TEXTS = {table: rules.data.output[table] for table in ("images", "expressions")}
