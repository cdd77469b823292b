"""The benchmarks' studies at the size of a test: archives as they are published, at the local server.

A data set of drawn photographs of several sizes is packed as its publishers pack it; `sources` then is
the file for config key `sources`, which sends the downloads here, and `tiny` the config's difference.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw

from benchmark_files import Refer, flickr_photograph, python2_pickle, xml_object
from file_server import Server, sha256

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SIZES = ((96, 72), (64, 96), (120, 80), (72, 72))
# Folder, splitBy and the evaluation splits of each config.
REFER = {
    "refcoco": ("refcoco", "unc", ("val", "testA", "testB")),
    "refcoco+": ("refcoco+", "unc", ("val", "testA", "testB")),
    "refcocog": ("refcocog", "umd", ("val", "test")),
    "referit": ("refclef", "berkeley", ("val", "test")),
}
# The other refs file in an archive, and what it calls a split that shares photographs with ours.
SIBLINGS = {"refcoco": ("google", "val"), "refcocog": ("google", "val"), "refclef": ("unc", "testAB")}
TRAINED, EVALUATED = 8, 3  # photographs of train, and of each other split


def draw(path: Path, size: tuple[int, int], colours: tuple[str, str], seed: int) -> None:
    """A noisy ground with two coloured things, at the left and the right, in the boxes of `boxes`."""
    ground = np.random.default_rng(seed).integers(90, 150, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(ground)
    for colour, (x, y, w, h) in zip(colours, boxes(size), strict=True):
        ImageDraw.Draw(picture).rectangle((x, y, x + w - 1, y + h - 1), fill=colour)
    picture.save(path, quality=95)


def boxes(size: tuple[int, int]) -> list[list[int]]:
    """Left and right box as x, y, width, height in pixels."""
    width, height = size
    return [
        [width // 12, height // 4, width // 3, height // 2],
        [width // 2, height // 6, 5 * width // 12, 2 * height // 3],
    ]


def photographs(splits: tuple[str, ...]) -> list[tuple[int, str, tuple[int, int], tuple[str, str]]]:
    """Number, split, size and the two colours of every photograph."""
    names = ["train"] * TRAINED + [name for name in splits for _ in range(EVALUATED)]
    return [
        (number, name, SIZES[number % len(SIZES)], (COLOURS[number % 6], COLOURS[(number + 2) % 6]))
        for number, name in enumerate(names)
    ]


def drawn_refer(root: Path, config: str) -> Refer:
    """The data set that configs/`config`.yaml reads, written in `root` as it is unpacked."""
    dataset, split_by, splits = REFER[config]
    refer = Refer(root, dataset, split_by)
    for number, split, size, colours in photographs(splits):
        image_id = 500 + number
        for side, colour, box in zip(("left", "right"), colours, boxes(size), strict=True):
            texts = [f"{colour} thing", f"the {colour} box on the {side}"]
            refer.add(split, image_id, texts, [float(value) for value in box], size)
        path = next(refer.photographs.rglob(f"*{image_id}.jpg"))
        draw(path, size, colours, number)
    crowd = refer.annotate(500, [0.0, 0.0, 9.0, 9.0], category_id=18)
    width, height = SIZES[0]
    counts = {"counts": [0, 9, width * height - 9], "size": [height, width]}
    next(one for one in refer.annotations if one["id"] == crowd).update(iscrowd=1, segmentation=counts)
    return refer.write()


def write_sibling(refer: Refer) -> None:
    """The other split of the same photographs: two of our training are in one that it evaluates."""
    if refer.dataset not in SIBLINGS:
        return
    split_by, split = SIBLINGS[refer.dataset]
    refs = [dict(ref, split="train") for ref in refer.refs]
    for ref in refs:
        if ref["image_id"] in (500, 501):
            ref["split"] = split
    (refer.refs_file.parent / f"refs({split_by}).p").write_bytes(python2_pickle(refs))


def zip_folder(folder: Path, top: str) -> bytes:
    """All files below `folder` in a zip, below `top`; and what macOS leaves in one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, str(Path(top, path.relative_to(folder))))
        archive.writestr("__MACOSX/._litter", "x")
    return buffer.getvalue()


@dataclass
class Site:
    """The local server as the publishers, and what was put there by source name."""

    server: Server
    rows: dict[str, dict[str, Any]]

    def put(self, name: str, content: bytes, known: bool = True, **how: Any) -> None:
        """Serve a source after a mirror that is down and one that has moved."""
        real = self.server.add(f"/{name}", content=content, **how)
        moved = self.server.add(f"/moved-{name}", location=real)
        self.rows[name] = {
            "addresses": [self.server.address(f"/down-{name}"), moved],
            "bytes": len(content) if known else None,
            "sha256": sha256(content) if known else None,
            **{"md5": None, "git_blob": None},
        }

    def table(self, path: Path) -> Path:
        """The file for config key `sources`."""
        path.write_text(yaml.safe_dump({"sources": self.rows}))
        return path


def serve_refer(site: Site, folder: Path, config: str) -> Refer:
    """Pack and serve a data set, its photographs with a connection that breaks off once."""
    refer = drawn_refer(folder, config)
    write_sibling(refer)
    site.put(refer.dataset, zip_folder(refer.refs_file.parent, refer.dataset))
    images = "coco_train2014" if refer.of_coco else "saiapr_tc-12"
    packed = zip_folder(refer.photographs, refer.photographs.name)
    site.put(images, packed, known=False, breaks=[len(packed) // 2])
    return refer


def drawn_flickr30k(root: Path) -> Path:
    """Flickr30k Entities as it is unpacked; its folder."""
    names: dict[str, list[str]] = {}
    for number, split, size, colours in photographs(("val", "test")):
        name = str(1000092795 + number)
        names.setdefault(split, []).append(name)
        (x, y, w, h), (a, b, c, d) = boxes(size)
        left, right = (x + 1, y + 1, x + w, y + h), (a + 1, b + 1, a + c, b + d)
        objects = [
            xml_object([1, 3], left),
            xml_object([2, 3], right),
            xml_object([4], None, "scene"),
            xml_object([5], None, "nobndbox"),
        ]
        sentences = (
            f"[/EN#1/people The {colours[0]} man] by [/EN#2/clothing/other a {colours[1]} coat] .\n"
            f"[/EN#3/people Two friends] , [/EN#1/people one {colours[0]}] , in [/EN#4/scene a yard] .\n"
            f"[/EN#0/notvisual It] is [/EN#2/other the {colours[1]} one] and [/EN#5/other a car] .\n"
        )
        path = flickr_photograph(root, name, sentences, objects, size)
        draw(path.parents[1] / "flickr30k-images" / f"{name}.jpg", size, colours, number)
    folder = root / "flickr30k_entities"
    for split, listed in names.items():
        (folder / f"{split}.txt").write_text("\n".join(listed) + "\n")
    return folder


def serve_flickr30k(site: Site, folder: Path, data_root: Path) -> None:
    """Serve the annotations and splits; the photographs' archive is put there as if by hand."""
    drawn = drawn_flickr30k(folder)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("Annotations", "Sentences"):
            for path in sorted((drawn / name).iterdir()):
                archive.write(path, f"{name}/{path.name}")
    site.put("flickr30k_annotations", buffer.getvalue(), known=False)
    for split in ("train", "val", "test"):
        site.put(f"flickr30k_{split}", (drawn / f"{split}.txt").read_bytes())
    archive_path = data_root / "downloads" / "flickr30k-images.tar.gz"
    archive_path.parent.mkdir(parents=True)
    with tarfile.open(archive_path, "w:gz") as tar:
        tar.add(drawn / "flickr30k-images", "flickr30k-images")


def tiny(data_root: Path, results: Path, sources: Path, variants: tuple[str, ...]) -> dict[str, Any]:
    """The difference from a benchmark's config that makes a study of seconds of it."""
    return {
        "data_root": str(data_root),
        "results_dir": str(results),
        "sources": str(sources),
        "seeds": [0],
        "variants_to_run": list(variants),
        "data": {"refer": {"check_counts": False}},
        "proposals": {"count": 6, "input_size": 64},
        "features": {"backbone": {"image_size": 64, "grid": 4}, "batch_size": 16},
        "matcher": {"width": 16, "optimiser": {"epochs": 1, "batch_size": 4}},
        "grounder": {"cam_encoder": {"tokens": 2}, "transformer": {"grid": 2}},
        "train": {"optimiser": {"batch_size": 4}},
        "ablation": {"resamples": 100},
        "report": {"gallery": {"successes": 2, "failures": 2}},
    }
