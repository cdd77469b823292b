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
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from camground.proposals.proposer import Photograph
from camground.study.errors import UserError


def number_in(name: str) -> int | None:
    """The number that a file name ends with, its ending not counted; None where there is none."""
    digits = re.search(r"\d+$", PurePath(name).stem)
    return int(digits[0]) if digits else None


class ImageIds:
    """The photographs of a study by the ids of the file at `path`.

    file_names: by id, of a file that lists its own images; else None.
    """

    def __init__(
        self, photographs: Sequence[Photograph], path: Path, file_names: dict[Any, str] | None
    ) -> None:
        self.photographs, self.path, self.file_names = photographs, path, file_names
        self._by_id = {photograph.image_id: photograph for photograph in photographs}
        self._by_number: dict[int | None, list[Photograph]] = defaultdict(list)
        # in the order in which a name is looked up: the more of a path it is, the surer
        self._by_name: list[dict[str, list[Photograph]]] = [defaultdict(list) for _ in range(3)]
        for photograph in photographs:
            self._by_number[number_in(photograph.path)].append(photograph)
            names = [_forms(name) for name in (photograph.path, photograph.image_id)]
            for table, forms in zip(self._by_name, zip(*names, strict=True), strict=True):
                for form in dict.fromkeys(forms):
                    table[form].append(photograph)

    def find(self, image_id: Any) -> Photograph | None:
        """The photograph; None for one that is not of the study.

        Raises `ValueError` for an id that can be none, `UserError` for one that means two photographs.
        """
        if isinstance(image_id, float) and image_id.is_integer():
            image_id = int(image_id)
        if type(image_id) not in (int, str):
            raise ValueError("the image_id is no whole number and no text")
        if self.file_names is not None:
            if image_id not in self.file_names:
                raise ValueError("the image_id is not in the file's list `images`")
            return self._by_file_name(self.file_names[image_id])
        if isinstance(image_id, str):
            photograph = self._by_file_name(image_id)
            if photograph is not None or not re.fullmatch(r"[0-9]+", image_id):
                return photograph
        return self._only(image_id, self._by_number.get(int(image_id), []))

    def listed(self) -> set[str]:
        """The study's ids of the images that the file lists, boxes or not."""
        photographs = [self._by_file_name(name) for name in (self.file_names or {}).values()]
        return {photograph.image_id for photograph in photographs if photograph is not None}

    def nothing_matches(self, others: set[str]) -> str:
        """What to say when no id of the file is a photograph of the study."""
        theirs = [*(self.file_names or {}).values(), *sorted(others), "none"][0]
        ours = self.photographs[0].path
        number = number_in(ours)
        what = f"its number {number}" if number is not None else "it has no number at its end"
        return (
            f"{self.path}: none of its images is one of the study's {len(self.photographs)}. Its image_id is"
            f" such as {theirs}; a photograph of the study is {ours} ({what}). An image_id must be"
            " that number or a file name, or the file must list its images with id and file_name"
        )

    def _by_file_name(self, name: str) -> Photograph | None:
        if name in self._by_id:
            return self._by_id[name]
        for table, form in zip(self._by_name, _forms(name), strict=True):
            if form in table:
                return self._only(name, table[form])
        return None

    def _only(self, image_id: Any, photographs: list[Photograph]) -> Photograph | None:
        if len(photographs) > 1:
            first, second = photographs[0].path, photographs[1].path
            raise UserError(
                f"{self.path}: image_id {image_id!r} can be {first} or {second}; give the file a list"
                " `images` of id and file_name, or paths as image_id"
            )
        return photographs[0] if photographs else None


def _forms(name: str) -> tuple[str, str, str]:
    """A path as it stands, its file name, and that without the ending."""
    return name, PurePath(name).name, PurePath(name).stem
