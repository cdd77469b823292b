"""Which photograph of the study an `image_id` of a file of boxes means.

In this order:

1. A file that lists its own images (`images`: id and file_name) is matched by file name.
2. An id that is text is a photograph's image_id in the study, its path, its file name, or that without the
   ending.
3. An id that is a number, or text of digits, is the number that the photograph's file name ends with:
   581857 is COCO_train2014_000000581857.jpg, 1000092795 is 1000092795.jpg.

An id that means two photographs is refused, not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from camground.study.errors import UserError


@dataclass(frozen=True, slots=True)
class StudyImage:
    """A row of the table `images`: id, path as it stands there, width and height in pixels."""

    image_id: str
    path: str
    width: int
    height: int


def number_in(name: str) -> int | None:
    """The number that a file name ends with, its ending not counted; None where there is none."""
    digits = re.search(r"\d+$", PurePath(name).stem)
    return int(digits[0]) if digits else None


class ImageIds:
    """`find` gives the photograph of an id of the file at `path`.

    `named`: the name of the file's list of boxes, for messages, and its own images' names by id.
    """

    def __init__(
        self, images: list[StudyImage], path: Path, named: tuple[str, dict[Any, str] | None]
    ) -> None:
        self.images, self.path = images, path
        self.list, self.names = named
        self._by_id = {image.image_id: image for image in images}
        # in the order in which a name is looked up: the more of a path it is, the surer
        self._by_name: list[dict[str, list[StudyImage]]] = [{}, {}, {}]
        self._by_number: dict[int, list[StudyImage]] = {}
        for image in images:
            names = dict.fromkeys((image.path, image.image_id))
            for table, forms in zip(
                self._by_name,
                (
                    names,
                    dict.fromkeys(PurePath(name).name for name in names),
                    dict.fromkeys(PurePath(name).stem for name in names),
                ),
                strict=True,
            ):
                for name in forms:
                    table.setdefault(name, []).append(image)
            number = number_in(image.path)
            if number is not None:
                self._by_number.setdefault(number, []).append(image)

    def where(self, place: int) -> str:
        """How an entry is called in messages, such as `dets[3]`."""
        return f"{self.list}[{place}]"

    def find(self, image_id: Any) -> StudyImage | None:
        """The photograph; None for one that is not of the study.

        Raises `ValueError` for an id that can be none, `UserError` for one that means two photographs.
        """
        if isinstance(image_id, bool) or not isinstance(image_id, int | float | str):
            raise ValueError("the image_id is no number and no text")
        if isinstance(image_id, float):
            if not image_id.is_integer():
                raise ValueError("the image_id is not a whole number")
            image_id = int(image_id)
        if self.names is not None:
            if image_id not in self.names:
                raise ValueError("the image_id is not in the file's list `images`")
            return self._by_file_name(self.names[image_id])
        if isinstance(image_id, str):
            image = self._by_file_name(image_id)
            if image is not None or not re.fullmatch(r"[0-9]+", image_id):
                return image
        return self._only(image_id, self._by_number.get(int(image_id), []))

    def listed(self) -> Iterator[str]:
        """The study's ids of the images that the file lists, boxes or not."""
        for name in (self.names or {}).values():
            image = self._by_file_name(name)
            if image is not None:
                yield image.image_id

    def nothing_matches(self, others: set[str]) -> str:
        """What to say when no id of the file is a photograph of the study."""
        theirs = list((self.names or {}).values())[:1] or sorted(others)[:1] or ["none"]
        ours = self.images[0]
        number = number_in(ours.path)
        what = f"its number {number}" if number is not None else "it has no number at its end"
        return (
            f"{self.path}: none of its images is one of the study's {len(self.images)}. Its image_id is"
            f" such as {theirs[0]}; a photograph of the study is {ours.path} ({what}). An image_id must be"
            " that number or a file name, or the file must list its images with id and file_name"
        )

    def _by_file_name(self, name: str) -> StudyImage | None:
        if name in self._by_id:
            return self._by_id[name]
        whole, last, stem = self._by_name
        for table, key in ((whole, name), (last, PurePath(name).name), (stem, name)):
            if key in table:
                return self._only(name, table[key])
        return None

    def _only(self, image_id: Any, images: list[StudyImage]) -> StudyImage | None:
        if len(images) > 1:
            raise UserError(
                f"{self.path}: image_id {image_id!r} can be {images[0].path} or {images[1].path}; give the"
                " file a list `images` of id and file_name, or paths as image_id"
            )
        return images[0] if images else None
