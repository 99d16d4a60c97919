"""The entry point of `crdbmesh` and `python -m crdbmesh`. It imports little, so that Ctrl-C works from the start."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line, by default this process's own, and end the process.

    An interrupt while modules load ends the process at once: there is nothing to finish.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            # The process was started with it closed, as by `>&-`.
            setattr(sys, stream, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    from crdbmesh.terminal import app

    app.main(arguments)


if __name__ == "__main__":
    main()
