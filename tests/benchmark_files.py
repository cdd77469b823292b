"""Small copies of the benchmarks, written in exactly their own formats, awkward cases included."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camground.study.errors import UserError
from data_stage import run_data

WIDTH, HEIGHT = 64, 48


def photograph(path: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def python2_pickle(value: Any) -> bytes:
    """What Python 2's `cPickle.dump(value, file, 2)` writes: protocol 2, `str` as byte strings
    (opcodes U and T), `unicode` for what has no Latin-1 form, integers, memo entries for all."""
    memo: dict[bytes, int] = {}
    count = 0

    def put() -> bytes:
        nonlocal count
        count += 1
        return b"q" + bytes([count - 1]) if count <= 256 else b"r" + struct.pack("<I", count - 1)

    def text(raw: bytes) -> bytes:
        if raw in memo:
            number = memo[raw]
            return b"h" + bytes([number]) if number < 256 else b"j" + struct.pack("<I", number)
        code = b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))
        encoded = code + raw + put()
        memo[raw] = count - 1
        return encoded

    def dump(value: Any) -> bytes:
        if value is None:
            return b"N"
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            if 0 <= value < 256:
                return b"K" + bytes([value])
            return (
                b"J" + struct.pack("<i", value)
                if abs(value) < 2**31
                else b"\x8a\x08" + struct.pack("<q", value)
            )
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        if isinstance(value, bytes):
            return text(value)
        if isinstance(value, str):
            try:
                return text(value.encode("latin-1"))
            except UnicodeEncodeError:
                raw = value.encode()
                return b"X" + struct.pack("<I", len(raw)) + raw + put()
        if isinstance(value, list):
            return b"]" + put() + b"(" + b"".join(dump(item) for item in value) + b"e"
        if isinstance(value, dict):
            pairs = b"".join(dump(key) + dump(item) for key, item in value.items())
            return b"}" + put() + b"(" + pairs + b"u"
        raise TypeError(type(value))

    return b"\x80\x02" + dump(value) + b"."


@dataclass
class Refer:
    """A data set of REFER in `root`: `add` refs, change `refs` and `instances` at will, then `write`."""

    root: Path
    dataset: str = "refcoco"
    split_by: str = "unc"
    refs: list[dict] = field(default_factory=list)
    images: dict[int, dict] = field(default_factory=dict)
    annotations: list[dict] = field(default_factory=list)

    @property
    def of_coco(self) -> bool:
        return self.dataset != "refclef"

    @property
    def photographs(self) -> Path:
        inside = "images/mscoco/images/train2014" if self.of_coco else "images/saiapr_tc-12"
        return self.root / inside

    @property
    def refs_file(self) -> Path:
        return self.root / self.dataset / f"refs({self.split_by}).p"

    @property
    def instances_file(self) -> Path:
        return self.root / self.dataset / "instances.json"

    def annotate(self, image_id: int, box_xywh: list[float], category_id: int = 1) -> int | str:
        """Another object of the photograph; its id, a string as refclef has them or a number."""
        number = len(self.annotations) + 1
        name: int | str = 1000000 + number if self.of_coco else f"{image_id}_{number}"
        x, y, w, h = box_xywh
        polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
        self.annotations.append(
            {
                "segmentation": [polygon],
                "area": w * h,
                "iscrowd": 0,
                "image_id": image_id,
                "bbox": box_xywh,
                "category_id": category_id,
                "id": name,
            }
        )
        return name

    def add(
        self,
        split: str,
        image_id: int,
        sentences: list[str],
        box_xywh: list[float] | None = None,
        size: tuple[int, int] = (WIDTH, HEIGHT),
    ) -> dict:
        """A ref of an object of its own, in a photograph that is made where it is missing."""
        stem = f"COCO_train2014_{image_id:012d}" if self.of_coco else str(image_id)
        if image_id not in self.images:
            folder = "" if self.of_coco else f"{image_id % 40:02d}/images/"
            name = f"{folder}{stem}.jpg"
            self.images[image_id] = {
                "license": 1,
                "file_name": f"{stem}.jpg",
                "coco_url": f"http://mscoco.org/images/{image_id}",
                "height": size[1],
                "width": size[0],
                "date_captured": "2013-11-14 20:09:35",
                "id": image_id,
            }
            photograph(self.photographs / name, *size)
        annotation = self.annotate(image_id, box_xywh or [8.5, 4.0, 20.25, 30.5])
        number = len(self.refs)
        first = sum(len(ref["sentences"]) for ref in self.refs)
        self.refs.append(
            {
                "sent_ids": list(range(first, first + len(sentences))),
                "file_name": f"{stem}_{number}.jpg",
                "ann_id": annotation,
                "ref_id": number,
                "image_id": image_id,
                "split": split,
                "sentences": [
                    {"tokens": text.split(), "raw": text.capitalize(), "sent_id": first + place, "sent": text}
                    for place, text in enumerate(sentences)
                ],
                "category_id": 1,
            }
        )
        return self.refs[-1]

    def write(self) -> Refer:
        self.refs_file.parent.mkdir(parents=True, exist_ok=True)
        self.refs_file.write_bytes(python2_pickle(self.refs))
        instances = {
            "info": {"description": "This is dev 1.0 version of the 2014 MS COCO dataset."},
            "images": list(self.images.values()),
            "licenses": [],
            "annotations": self.annotations,
            "categories": [
                {"supercategory": "person", "id": 1, "name": "person"},
                {"supercategory": "animal", "id": 18, "name": "dog"},
            ],
        }
        self.instances_file.write_text(json.dumps(instances))
        return self


def small_refer(root: Path, dataset: str = "refcoco", split_by: str = "unc") -> Refer:
    """A data set with each of the splits that the original has, not written yet."""
    splits = {"umd": ("train", "val", "test"), "google": ("train", "val")}.get(
        split_by, ("train", "val", "testA", "testB")
    )
    if dataset == "refclef":
        splits = ("train", "val", "test")
    refer = Refer(root, dataset, split_by)
    for number, split in enumerate(("train", "train", *splits), start=500):
        refer.add(split, number, ["man in a red shirt", f"left person {number}"])
    return refer


def run_refer(refer: Refer, out: Path, share: float = 0.0, **keys: Any) -> None:
    """The stage `data` on a data set, without the published counts unless asked."""
    images = str(refer.photographs.relative_to(refer.root))
    own = {"dataset": refer.dataset, "split_by": refer.split_by, "images": images}
    run_data(out, "refer", refer.root, share, **own | {"check_counts": False} | keys)


def refer_refusal(refer: Refer, out: Path, **keys: Any) -> str:
    """The message with which the stage refuses the data set; none of its tables may be left."""
    with pytest.raises(UserError) as caught:
        run_refer(refer, out, **keys)
    assert not [name for name in ("images", "expressions", "targets") if (out / f"{name}.parquet").exists()]
    return str(caught.value)


XML = """<annotation>
\t<filename>{name}.jpg</filename>
\t<size>
\t\t<width>{width}</width>
\t\t<height>{height}</height>
\t\t<depth>3</depth>
\t</size>
{objects}</annotation>
"""


def xml_object(chains: list[int], box: tuple[int, int, int, int] | None, flag: str = "") -> str:
    """An <object>: with a box, 1-based, or with the flag `scene` or `nobndbox` set."""
    names = "".join(f"\t\t<name>{chain}</name>\n" for chain in chains)
    if box is None:
        flags = {"scene": 0, "nobndbox": 0} | {flag: 1}
        inside = "".join(f"\t\t<{key}>{value}</{key}>\n" for key, value in flags.items())
    else:
        sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        coordinates = "".join(f"\t\t\t<{key}>{value}</{key}>\n" for key, value in sides)
        inside = f"\t\t<bndbox>\n{coordinates}\t\t</bndbox>\n"
    return f"\t<object>\n{names}{inside}\t</object>\n"


SENTENCES = """[/EN#1/people Two young guys] with [/EN#2/bodyparts/other long hair] in [/EN#3/scene a yard] .
[/EN#1/people Two friends] enjoy [/EN#0/notvisual time] with [/EN#4/animals a dog] .
[/EN#5/people A man] and [/EN#1/people two young guys] stand by [/EN#6/other a hidden car] .
"""
# Chain 1 has two boxes, the second of which is chain 5's too; 3 is a scene, 6 is not to be seen.
OBJECTS = [
    xml_object([1], (1, 1, 20, 40)),
    xml_object([1, 5], (21, 3, 40, 48)),
    xml_object([2], (5, 2, 12, 8)),
    xml_object([3], None, "scene"),
    xml_object([4], (50, 20, 64, 48)),
    xml_object([6], None, "nobndbox"),
]


def flickr_photograph(
    root: Path,
    name: str,
    sentences: str = SENTENCES,
    objects: list[str] = OBJECTS,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> Path:
    """The files of one photograph of Flickr30k Entities; its XML."""
    folder = root / "flickr30k_entities"
    photograph(folder / "flickr30k-images" / f"{name}.jpg", *size)
    (folder / "Sentences").mkdir(parents=True, exist_ok=True)
    (folder / "Sentences" / f"{name}.txt").write_text(sentences)
    path = folder / "Annotations" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(XML.format(name=name, width=size[0], height=size[1], objects="".join(objects)))
    return path


def small_flickr30k(root: Path) -> Path:
    """Four photographs of Flickr30k Entities: two of train, one each of val and test; its folder."""
    splits = {"train": ["1000092795", "10002456"], "val": ["1001465944"], "test": ["1007129816"]}
    for split, names in splits.items():
        for name in names:
            flickr_photograph(root, name)
        (root / "flickr30k_entities" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root / "flickr30k_entities"
