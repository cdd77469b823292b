"""Small tables of images and expressions, with and without swaps."""

from __future__ import annotations

from pathlib import Path

from camground.study import tables

# The expressions that have swaps, and how many each.
SWAP_COUNTS = {"i1#0": 2, "i4#3": 1, "i4#0": 3, "i0#0": 1}
SWAP_CLASSES = ("size", "colour", "relation")


def write_pairs(folder: Path) -> tuple[Path, Path]:
    """The tables of five images i0 to i4 of split train, 40 x 20 pixels, with n + 1 phrases of image n; the
    paths of images and expressions."""
    images = [
        {"image_id": f"i{n}", "path": f"{n}.png", "width": 40, "height": 20, "split": "train"}
        for n in range(5)
    ]
    expressions = [
        {
            "expression_id": f"i{n}#{k}",
            "image_id": f"i{n}",
            "text": f"thing {n * k}",
            "kind": "phrase",
            "split": "train",
            "boxed": None,
            "swap_of": None,
            "word_class": None,
            "false_of_image": None,
        }
        for n in range(5)
        for k in range(n + 1)
    ]
    tables.write("images", images, folder / "images.parquet")
    tables.write("expressions", expressions, folder / "expressions.parquet")
    return folder / "images.parquet", folder / "expressions.parquet"


def write_swaps(path: Path) -> None:
    """Add swaps to the table of expressions: before and after those that they are of, one of another split,
    and one of an expression that is not in the table. The second swap of an expression may be true."""
    rows = tables.read_arrow("expressions", path).to_pylist()
    by_id = {row["expression_id"]: row for row in rows}
    swaps = [
        {
            **by_id[origin],
            "expression_id": f"{origin}-swap{n}",
            "text": f"swap {n} of {origin}",
            "kind": "swap",
            "swap_of": origin,
            "word_class": SWAP_CLASSES[n],
            "false_of_image": n != 1,
        }
        for origin, count in SWAP_COUNTS.items()
        for n in range(count)
    ]
    elsewhere = {**swaps[-1], "expression_id": "x", "split": "val"}
    orphan = {**swaps[-1], "expression_id": "y", "swap_of": "sentence"}
    tables.write("expressions", [*swaps[:3], *rows, elsewhere, *swaps[3:], orphan], path)
