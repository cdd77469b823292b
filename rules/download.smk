"""Stage `download`: public data sets, for the data kinds that are neither made here nor brought along.

Purpose: download, check and unpack what the study's data set needs into `data_root`, `data` unless
given; `camground download --list` prints the table of sources, and config key `sources`
names a file of other addresses.
Inputs: the network; files that somebody put there by hand.
Outputs: a receipt per source. The data itself is no output, because Snakemake deletes outputs before a
job runs again, and no code is an input, because an edit of it changes nothing of what is there.
"""

import re

from camground.data.download.sources import TABLE, read_sources

SOURCE_TABLE = str(Path(STUDY.sources or TABLE).absolute())
# For the jobs; no param of the rule, because other addresses change nothing of what is there already.
os.environ.update(CAMGROUND_SOURCES=SOURCE_TABLE)
SOURCES = checked(read_sources, SOURCE_TABLE)
DATA_ROOT = str(Path(STUDY.data_root or "data"))


def downloads():
    """The sources of the study's data set: none for scenes and for a folder of photographs.

    What the config has in a folder other than the table's is somebody's own and left to them.
    """
    keys = STUDY.data.chosen.to_dict()
    needed = SOURCES.needed(keys.get("dataset", STUDY.data.kind))
    return [name for name in needed if SOURCES[name].folder in keys.values()]


def receipts():
    """The files that the downloads of the study's data set write last."""
    return [f"{DATA_ROOT}/downloads/{name}.json" for name in downloads()]


def source_files(wildcards):
    """`source_tables`, looked for when the downloads have ended, so that a second run lists the same."""
    for name in downloads():
        checkpoints.download.get(source=name)
    return source_tables()


def family_files(wildcards):
    """The refs files of all data sets of REFER in `data_root`, the study's own among them."""
    source_files(wildcards)
    return sorted(map(str, Path(DATA_ROOT).glob("*/refs(*).p")))


localrules:
    download,


checkpoint download:
    output:
        receipt=f"{DATA_ROOT}/downloads/{{source}}.json",
    log:
        f"{DATA_ROOT}/downloads/logs/{{source}}.log",
    wildcard_constraints:
        source="|".join(map(re.escape, SOURCES.sources)),
    conda:
        "../envs/camground.yaml"
    params:
        root=lambda wildcards: DATA_ROOT,
    message:
        "Source {wildcards.source}: downloaded, checked and unpacked"
    shell:
        "camground download --root {params.root:q} {wildcards.source:q} 2>&1 | tee {log:q} >&2"
