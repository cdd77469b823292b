"""Checks of the files and folders that a reader is pointed at."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from camground.study.errors import UserError


def existing_folder(path: Path, advice: str) -> Path:
    """`path`, which must be a folder; else a `UserError` that ends with the advice."""
    if not path.is_dir():
        raise UserError(f"{path}: no such folder; {advice}")
    return path


def inside_folder(name: str) -> str:
    """A photograph's normalised path inside the images folder, which is its id too. Raises `ValueError`:
    empty, absolute, or leading out of the folder."""
    if not name:
        raise ValueError("no photograph named")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("a photograph is named by its path inside the images folder")
    return path.as_posix()


def has_word(text: str) -> bool:
    """Whether a text has a letter or digit."""
    return any(letter.isalnum() for letter in text)
