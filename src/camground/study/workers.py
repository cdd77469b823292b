"""What worker processes share."""

from __future__ import annotations

import os
import threading
import time


def end_with_parent(parent: int) -> None:
    """End this worker process within a second of the death of its parent, of this id, which may be dead
    already: one that is killed tells its workers nothing, and they would wait for work for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
