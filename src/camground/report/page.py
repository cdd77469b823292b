"""Everything into one HTML file: charts as SVG, pictures as `data:` addresses, no outside request."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import yaml

from camground.report import (
    charts,
    gallery,
    leakage,
    mining,
    published_table,
    split_table,
    word_swaps,
)
from camground.report.ablation_table import percent
from camground.report.anatomy import SHOWN, anatomy
from camground.report.gallery import Card
from camground.report.main_table import BOUND, best_of, heading, rows, verdict_sentences
from camground.report.results import Results
from camground.report.theme import CAUSE_COLOURS, to_svg
from camground.study.provenance import config_digest, git_sha

CAUSE_NOTES = {
    "proposal missing": "no proposal reaches IoU 0.5: no choice could have been right",
    "wrong object": "the chosen box overlaps another object more than the one that is meant",
    "wrong extent": "the right object, but the box is too big, too small or shifted",
}


def _tiles(results: Results) -> list[dict[str, str]]:
    """The headline numbers."""
    metric, reference = results.options["metric"], results.reference
    tiles = []
    row = results.ablation[reference, metric, "all"]
    deviation = "" if row["deviation"] is None else f"± {percent(row['deviation'])} over seeds; "
    note = f"{heading(metric)}; {deviation}{row['n']:,} expressions"
    tiles.append({"value": percent(row["mean"]), "name": reference, "note": note})
    known = {n: results.mean(n, metric) for n in results.baselines if n != BOUND}
    found = {name: value for name, value in known.items() if value is not None}
    if found:
        name = max(found, key=lambda n: found[n])
        tiles.append({"value": percent(found[name]), "name": name, "note": "strongest baseline"})
    best = best_of(results, metric)
    if best not in (None, reference):
        top = percent(results.mean(str(best), metric) or 0.0)
        tiles.append({"value": top, "name": str(best), "note": "best of all methods"})
    recall = results.mean(reference, "recall@0.5")
    if recall is not None:
        note = "proposal recall@0.5: the bound"
        tiles.append({"value": percent(recall), "name": "proposals", "note": note})
    own, other = (results.mean(reference, name) for name in ("cam_iou", "matcher_cam_iou"))
    if own is not None and other is not None:
        value = f"{percent(other)} → {percent(own)}"
        note = f"IoU of map and object: matcher, then {reference}"
        tiles.append({"value": value, "name": "focus on the object", "note": note})
    return tiles


def _card(card: Card, picture_ids: dict[str, str]) -> dict[str, Any]:
    """A card for the template; rectangles as x, y, width, height."""

    def rectangle(box: list[float]) -> dict[str, float]:
        x1, y1, x2, y2 = (round(value, 1) for value in box)
        return {"x": x1, "y": y1, "width": round(x2 - x1, 1), "height": round(y2 - y1, 1)}

    maps = []
    for title, heat, outcome in (
        ("matcher's CAM", card.matcher_map, "matcher_cam_iou"),
        ("own CAM", card.own_map, "cam_iou"),
    ):
        iou = card.outcomes.get(outcome)
        maps.append(
            {
                "title": title,
                "uri": None if heat is None else gallery.heat_uri(heat),
                "iou": None if iou is None else f"{iou:.2f}",
            }
        )
    return {
        "text": card.text,
        "id": card.expression_id,
        "iou": f"{card.outcomes.get('iou', 0.0):.2f}",
        "cause": card.cause,
        "note": CAUSE_NOTES.get(card.cause, "IoU of at least 0.5 with the true box"),
        "flavour": card.flavour,
        "width": card.width,
        "height": card.height,
        "picture": picture_ids[card.image_id],
        "chosen": rectangle(card.chosen) if card.chosen else None,
        "true": [rectangle(box) for box in card.true],
        "proposals": [rectangle(box) for box in card.proposals],
        "maps": maps,
    }


def _pictures(cards: list[Card], longest: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Each photograph once, however many cards use it; and image_id -> the symbol's name."""
    pictures: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for card in cards:
        if card.image_id in names:
            continue
        names[card.image_id] = f"picture{len(names)}"
        uri = gallery.picture_uri(gallery.open_picture(card, longest))
        size = {"width": card.width, "height": card.height}
        pictures.append({"name": names[card.image_id], "uri": uri, **size})
    return pictures, names


def render(results: Results, cards: list[Card], counts: dict[str, int]) -> str:
    """The page as HTML text."""
    from jinja2 import Environment, StrictUndefined

    options = results.options
    resolved = results.resolved_config()
    pictures, names = _pictures(cards, options["gallery"]["picture_width"])
    shown = [_card(card, names) for card in cards]
    mined = mining.mined(results)
    mapped = mining.measured(mined)
    drawn = {
        "accuracy": to_svg(lambda: charts.accuracy(results)),
        "causes": to_svg(lambda: charts.causes(results)),
        "groups": to_svg(lambda: charts.by_group(results)),
        "cam": to_svg(lambda: charts.cam_quality(results)),
        "curves": to_svg(lambda: charts.curves(results)),
        "mining": to_svg(lambda: mining.chart(results, mapped) if mapped else None),
    }
    facts = {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "code": git_sha(),
        "config": config_digest(resolved),
        "seeds": ", ".join(map(str, results.config["seeds"])),
        "proposals an image": f"{results.proposals_per_image():.1f}",
        "proposals from": ", ".join(results.proposal_sources()),
    }
    rejected = results.rejected()
    template = files("camground.report").joinpath("template.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.globals["css"] = (
        files("camground.report").joinpath("style.css").read_text(encoding="utf-8")
    )
    return environment.from_string(template).render(
        dataset=results.config["dataset"],
        split=options["split"],
        metric=heading(options["metric"]),
        metrics=[heading(metric) for metric in options["metrics"]],
        reference=results.reference,
        facts=facts,
        tiles=_tiles(results),
        splits=results.split_counts(),
        leakage=leakage.leakage(results),
        rejected=rejected[:50],
        rejected_count=len(rejected),
        rows=rows(results),
        verdicts=verdict_sentences(results),
        split_table=split_table.split_table(results),
        published=published_table.section(results),
        charts=drawn,
        anatomy=[
            {"key": part.key, "value": part.value, "n": part.n}
            | {"cells": [(name, percent(part.shares[name])) for name in SHOWN]}
            for part in anatomy(results)
        ],
        mined=mined,
        mined_headings=mining.HEADINGS,
        collapsed_above=percent(mining.COLLAPSED_ABOVE),
        collapsed_below=percent(mining.COLLAPSED_BELOW),
        swaps=word_swaps.by_class(results),
        pictures=pictures,
        right=[card for card in shown if card["cause"] == "right"],
        wrong=[card for card in shown if card["cause"] != "right"],
        counts=counts,
        gallery=options["gallery"],
        gallery_seed=results.config["seeds"][0],
        causes=CAUSE_NOTES,
        cause_colours=CAUSE_COLOURS,
        resolved=yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True),
    )
