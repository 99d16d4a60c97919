"""The entry: `crdbmesh`, `python -m crdbmesh`. It imports next to nothing, so that Ctrl-C is heard at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line, this process's own when none is given; ends the process.

    Until a command has begun there is nothing to finish: an interrupt that comes while modules load ends the process.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            # Started with it closed, as by `>&-`: nobody wants to read it.
            setattr(sys, stream, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    from crdbmesh.terminal import app as cli

    cli.main(arguments)


if __name__ == "__main__":
    main()
