"""The error that a user can mend: it names the file, row or key and says what to do."""

from __future__ import annotations

import errno
import os

# What a user mends by making room, and what by giving the right to write.
FULL = {errno.ENOSPC, errno.EDQUOT}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
# SQLite's errors have texts instead.
SQLITE = {"database or disk is full": errno.ENOSPC, "attempt to write a readonly database": errno.EROFS}


class UserError(Exception):
    """Bad input. The message names what is wrong, where, and what to do; no traceback is shown."""


def storage_error(error: BaseException, path: object = None) -> UserError | None:
    """What to tell the user where a full disk or a missing right is behind `error`, else None. `path`: of
    the file or folder, where the system's own error does not name one."""
    seen: BaseException | None = error
    while seen is not None:
        number = seen.errno if isinstance(seen, OSError) else None
        for text, meant in SQLITE.items():
            number = meant if text in str(seen) else number
        if number in FULL | FORBIDDEN:
            # of two files the second is written
            what = path or getattr(seen, "filename2", None) or getattr(seen, "filename", None)
            advice = "make room" if number in FULL else "give the right to it"
            place = f"{what}: " if what else ""
            return UserError(
                f"{place}{os.strerror(number)}; {advice}, then run the same command again: what is finished"
                " is kept"
            )
        # a writer that fails may fail again as it closes its file, with an error that says less
        seen = seen.__cause__ or seen.__context__
    return None
