"""Stage `report`: the study as one HTML file that opens offline, and its main pictures as PNG."""

from __future__ import annotations

from pathlib import Path

from camground.report import charts, gallery, mining
from camground.report.contact_sheet import contact_sheet
from camground.report.page import render
from camground.report.results import Results
from camground.report.theme import to_png
from camground.study import stage, tables
from camground.study.errors import UserError
from camground.study.progress import log, track


def main(arguments: list[str] | None = None) -> None:
    """Command line of the stage."""
    parser = stage.parser("report", __doc__)
    parser.add_argument("--root", type=Path, required=True, help="the study's folder, R/D")
    parser.add_argument("--output", type=Path, required=True, help="the HTML file")
    parser.add_argument("--figures", type=Path, help="folder of the PNGs (default: ROOT/figures)")
    options = parser.parse_args(arguments)
    config = stage.read_config(options.config)
    missing = {"dataset", "seeds", "variants", "baselines", "evaluate", "report"} - config.keys()
    if missing:
        raise UserError(f"--config lacks the keys {sorted(missing)}")
    results = Results(options.root, config)
    if config["report"]["gallery"]["variant"] not in results.variants:
        raise UserError(
            f"config `report.gallery.variant`: {config['report']['gallery']['variant']!r} is none"
            f" of the variants {', '.join(results.variants)}"
        )
    cards, counts = gallery.choose(results)
    gallery.fill(results, cards)
    page = render(results, cards, counts)
    figures = options.figures or options.root / "figures"
    pictures = {
        "ablation": lambda: charts.accuracy(results),
        "curves": lambda: charts.curves(results),
        "gallery": lambda: contact_sheet(cards),
    }
    mined = mining.measured(mining.mined(results))
    if mined:
        pictures["mining"] = lambda: mining.chart(results, mined)
    for name, draw in track(list(pictures.items()), "figures"):
        with tables.atomic(figures / f"{name}.png") as path:
            path.write_bytes(to_png(draw))
    with tables.atomic(options.output) as path:
        path.write_text(page, encoding="utf-8")
    log.info("%s: %.1f MB", options.output, options.output.stat().st_size / 1e6)


if __name__ == "__main__":
    stage.run("report", main)
