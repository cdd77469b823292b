"""Stage `data`: write the tables images, expressions, targets and rejected of a data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from camground.study import stage, tables
from camground.study.errors import UserError

KINDS = ("scenes", "folder", "refer", "flickr30k")


def main(arguments: Sequence[str] | None = None) -> None:
    """Dispatch on `data.kind`; `camground.data` has a module of that name for each."""
    parser = stage.parser("data", __doc__)
    for name in ("images", "expressions", "targets", "rejected"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"table `{name}` to write")
    parser.add_argument("--pictures", type=Path, help="folder for the scenes' pictures")
    options = parser.parse_args(arguments)
    config = stage.read_config(options.config)
    try:
        data = config["data"]
        kind = data["kind"]
    except (KeyError, TypeError):
        raise UserError("--config needs data.kind, one of " + ", ".join(KINDS)) from None

    if kind == "scenes":
        if options.pictures is None:
            raise UserError("data.kind scenes needs --pictures, the folder for its pictures")
        import camground.data.scenes.scenes as scenes

        scenes.write(data, options.images, options.expressions, options.targets, options.pictures)
        tables.write("rejected", [], options.rejected)
        return
    if kind == "folder":
        from camground.data.readers.folder import write
    elif kind == "refer":
        from camground.data.readers.refer import write
    elif kind == "flickr30k":
        from camground.data.readers.flickr30k import write
    else:
        raise UserError(f"data.kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    write(
        data,
        config.get("data_root"),
        options.images,
        options.expressions,
        options.targets,
        options.rejected,
    )


if __name__ == "__main__":
    stage.run("data", lambda: main(sys.argv[1:]))
