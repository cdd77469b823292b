"""Stage `leakage`: photographs that the study trains on and that an evaluation split of the family holds.

Purpose: list them for the report. It is stage `data` that refuses to go on with them, unless
`data.refer.allow_leakage` or `allow_sibling_leakage` lets them pass. This is a stage of its own so that a
further data set in `data_root` makes the list anew and nothing else. For the data sets of REFER alone.
Inputs: the study's refs file, and those of the family's other sets that are in `data_root`.
Outputs: leakage.json.
"""

if STUDY.data.kind == "refer":

    rule leakage:
        input:
            downloads=receipts(),
            refs=family_files,
            code=code("leakage"),
        output:
            audit=study("data/leakage.json"),
        log:
            study("logs/leakage.log"),
        benchmark:
            study("benchmarks/leakage.tsv")
        conda:
            "../envs/camground.yaml"
        threads: 1
        resources:
            mem_mb=2000,
        params:
            root=lambda wildcards: DATA_ROOT,
            dataset=STUDY.data.refer.dataset,
            split_by=STUDY.data.refer.split_by,
        message:
            f"Photographs of {DATASET} that are trained and evaluated on"
        shell:
            "camground leakage --data-root {params.root:q} --dataset {params.dataset:q}"
            " --split-by {params.split_by:q} --allow all --output {output.audit:q}"
            " 2>&1 | tee {log:q} >&2"


# What the report shows of it.
AUDIT = [rules.leakage.output.audit] if STUDY.data.kind == "refer" else []
