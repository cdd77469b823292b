"""Everything into one HTML file: charts as SVG, pictures as `data:` addresses, no outside request."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from camground.evaluation.metric_table import GROUPINGS, MAIN, METRICS, PRIMARY
from camground.report import charts, gallery, mining, model_card, supervision
from camground.report.ablation_table import AblationTable, Cell, percent
from camground.report.budget import budget
from camground.report.config import ReportInput
from camground.report.leakage import leakage
from camground.report.method_tables import (
    PRESENCE,
    READ_OUT_NOTE,
    Line,
    MethodTable,
    by_metric,
    by_split,
    word_swaps,
)
from camground.report.published import published
from camground.report.results import ANSWERS, CAUSES, Results
from camground.report.theme import ANSWER_COLOURS, to_png, to_svg
from camground.study import tables
from camground.study.errors import UserError
from camground.study.progress import log, track
from camground.study.provenance import config_digest, git_sha

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Columns of the main table: what every data set has.
COLUMNS = [name for name in MAIN if METRICS[name].needs == "boxes"]
REJECTED_SHOWN = 50
NOTES = {
    "right": "IoU of at least 0.5 with the true box",
    "proposal missing": "no proposal reaches IoU 0.5: no choice could have been right",
    "wrong object": "the chosen box overlaps another object more than the one that is meant",
    "wrong extent": "the right object, but the box is too big, too small or shifted",
}


def write_report(root: Path, output: Path, figures: Path, study: ReportInput) -> None:
    """Write the page of the study below `root` (R/D) to `output` and its main charts to `figures`, PNG.

    A study without true boxes has no tables and charts of results: what is left is the gallery of answers,
    the training and the data. Raises `UserError` that names the file that is missing, damaged or of another
    study.
    """
    file = root / "ablation.parquet"
    results = Results(root, AblationTable.of(tables.read("ablation", file), study), study.evaluate)
    ablation, report = study.ablation, study.report
    measured = results.measured
    if not measured and results.boxes_of(ablation.split):
        raise UserError(
            f"{file}: no {PRIMARY} of the reference {ablation.reference!r} on split"
            f" {ablation.split!r}; check config keys ablation.reference and ablation.split"
        )
    shown = gallery.choose(results, report.gallery)
    gallery.fill(results, shown.cards)
    by_image = {card.image_id: card for card in shown.cards}
    mined = mining.mined(results) if measured else []
    if study.variants:
        entered = supervision.supervision(study, results.boxes_of("val"), results.labels())
    else:
        entered = supervision.untrained(study, results.cams_file is not None)
    coverage = {name: results.coverage(name) for name in study.methods}
    entered |= supervision.of_others(study.methods, coverage)
    for subject, sentence in entered.items():
        log.info("supervision, %s: %s", subject.lower(), sentence)
    with tables.atomic(root / supervision.FILE) as path:
        path.write_text(json.dumps(entered, indent=1))
    with tables.atomic(root / model_card.FILE) as path:
        path.write_text(model_card.model_card(results, entered), encoding="utf-8")
    unmeasured: dict[str, Callable[[], Figure | None]] = {
        "curves": partial(charts.curves, results),
        "gallery": partial(gallery.contact_sheet, shown),
    }
    drawn: dict[str, Callable[[], Figure | None]] = {
        "ablation": partial(charts.accuracy, results),
        "learning_curves": partial(charts.learning_curves, results),
        "mining": partial(mining.chart, results, mined),
        "causes": partial(charts.causes, results),
        "groups": partial(charts.by_group, results.table, report.groups),
        "cam": partial(charts.cam_quality, results.table),
    }
    names = [*drawn, *unmeasured]
    drawn = drawn | unmeasured if measured else unmeasured
    page = (
        _environment()
        .get_template("template.html")
        .render(
            **_content(results, study),
            charts=dict.fromkeys(names)
            | {name: to_svg(draw) for name, draw in drawn.items() if name != "gallery"},
            mined=mined,
            supervision=entered,
            measured=measured,
            published=published(results.table, study.data) if measured else None,
            multiple_boxes=study.evaluate.multiple_boxes,
            gallery=shown,
            pictures={name: (f"picture{i}", card) for i, (name, card) in enumerate(by_image.items())},
        )
    )
    for name in track(["ablation", "curves", "learning_curves", "gallery", "mining"], "figures"):
        picture = to_png(drawn[name]) if name in drawn else None
        if picture:
            with tables.atomic(figures / f"{name}.png") as path:
                path.write_bytes(picture)
    with tables.atomic(output) as path:
        path.write_text(page, encoding="utf-8")
    log.info("%s: %.1f MB", output, output.stat().st_size / 1e6)


def _environment() -> Environment:
    loader = PackageLoader("camground", "report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"count": "{:,}".format, "data_uri": gallery.data_uri}
    return environment


def _content(results: Results, study: ReportInput) -> dict[str, Any]:
    """What the page shows of the tables, by the template's names."""
    table = results.table
    config = results.resolved_config() if table.variants else study.to_dict()
    rejected = tables.read_arrow("rejected", results.root / "data" / "rejected.parquet").to_pylist()
    per_image, sources = results.proposals()
    anatomy = []
    measured = results.measured
    for part in results.anatomy() if measured else ():
        cells = [Cell(f"{part['n']:,}"), *(Cell(percent(part[kind])) for kind in ANSWERS)]
        anatomy.append(Line(f"{GROUPINGS[part['key']]}: {part['value']}", part["key"], cells))
    facts = {
        "code": git_sha(),
        "config": config_digest(config),
        "seeds": ", ".join(map(str, table.seeds)),
        "proposals per image": f"{per_image:.1f}",
        "proposals from": sources,
    }
    return {
        "table": table,
        "heading": METRICS[PRIMARY].heading,
        "facts": facts,
        "tiles": _tiles(table) if measured else [],
        "methods": by_metric(table, COLUMNS) if measured else None,
        "split_table": by_split(table) if measured else None,
        "anatomy": anatomy and MethodTable("Group", [(name, None) for name in ("n", *ANSWERS)], anatomy),
        "swaps": word_swaps(table) if measured else [],
        "presence": by_metric(table, PRESENCE) if table.row(table.reference, PRESENCE[0]) else None,
        "presence_notes": [(METRICS[name].heading, METRICS[name].note) for name in PRESENCE],
        "budget": budget(results),
        "mining": mining,
        "read_out_note": READ_OUT_NOTE,
        "percent": percent,
        "splits": results.split_counts(),
        "leakage": leakage(results),
        "rejected": [
            (
                row["file"],
                row["row"],
                row["value"] if len(row["value"]) <= 60 else row["value"][:59] + "…",
                row["reason"],
            )
            for row in rejected[:REJECTED_SHOWN]
        ],
        "rejected_count": len(rejected),
        "order_seed": gallery.ORDER_SEED,
        "causes": CAUSES,
        "notes": NOTES,
        "colours": ANSWER_COLOURS,
        "resolved": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    }


def _tiles(table: AblationTable) -> list[tuple[str, str, str]]:
    """The headline numbers: name, value, note."""
    row, reference = table.row(table.reference) or {}, table.reference
    deviation = table.cell(reference).deviation
    over_seeds = f"± {deviation} over seeds; " if deviation else ""
    note = f"{METRICS[PRIMARY].heading}; {over_seeds}{row['n']:,} expressions"
    tiles = [(reference, table.cell(reference).mean, note)]
    for name in table.ranked(table.baselines)[:1]:
        tiles.append((name, table.cell(name).mean, "strongest baseline"))
    for name in table.ranked(table.kinds)[:1]:
        if name != reference:
            tiles.append((name, table.cell(name).mean, "best of all methods"))
    recall = table.mean(reference, "recall@0.5")
    if recall is not None:
        tiles.append(("proposals", percent(recall), "proposal recall@0.5: the bound"))
    own, matcher = (table.mean(reference, name) for name in ("cam_iou", "matcher_cam_iou"))
    if own is not None and matcher is not None:
        note = f"IoU of map and object: matcher, then {reference}"
        tiles.append(("focus on the object", f"{percent(matcher)} → {percent(own)}", note))
    return tiles
