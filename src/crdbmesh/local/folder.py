"""A mesh's local folder: spec, keys, certificates, kubeconfigs, run journals.

The world is the state; what lies here are the secrets that made it, the spec last used, and what happened when. The
folder is 0700 and every file in it 0600. Losing it loses the login key and the CA keys (so `up` cannot continue),
while `status` of Azure and `down` still work from the mesh's tag.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import platformdirs

from crdbmesh import redaction as secrecy
from crdbmesh.errors import ConfigError, Finding, HeldError
from crdbmesh.local import files
from crdbmesh.local import secrets as folders

SPEC = "mesh.yaml"
LOCK = "lock"
JOURNALS = "journals"
_TOKENS = folders.token("")


def root(environ: Mapping[str, str]) -> Path:
    """Where all meshes' folders are: `CRDBMESH_HOME`, or the platform's place for application data."""
    if given := environ.get("CRDBMESH_HOME"):
        return Path(given).expanduser()
    return Path(platformdirs.user_data_dir("crdbmesh"))


def list_meshes(folder: Path) -> list[str]:
    """The names of the meshes known locally."""
    if not folder.is_dir():
        return []
    return sorted(entry.parent.name for entry in folder.glob(f"*/{SPEC}"))


class Home:
    """The folder of one mesh.

    Args:
        folder: its path; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def exists(self) -> bool:
        """Whether a spec has been kept here."""
        return (self.folder / SPEC).is_file()

    def read(self, name: str) -> str | None:
        """A file's text, or None when it is absent.

        Raises:
            ConfigError: others can read it, or it cannot be read.
        """
        path = self.folder / name
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _wrong(path, f"cannot be read ({error.strerror})", "make it readable by you") from error
        except UnicodeDecodeError:
            raise _wrong(path, "is not text", "restore it from a backup") from None
        if stat.S_IMODE(mode) & 0o077:
            raise _wrong(path, f"can be read by others (mode {stat.S_IMODE(mode):o})", f"run chmod 600 {path}")
        _learn(name, text)
        return text

    def write(self, name: str, text: str) -> None:
        """Write a file whole: readers see the old text or the new, and nobody else ever sees either."""
        _learn(name, text)
        path = self.folder / name
        self._make(path.parent)
        files.write_private(path, text)

    def find_or_make(self, name: str, make: Callable[[], str]) -> str:
        """A file's text; when it is absent, what `make` returns is written first and returned."""
        with self._lock:
            found = self.read(name)
            if found is None:
                found = make()
                self.write(name, found)
            return found

    def delete(self, name: str) -> None:
        """Remove a file; absent is done."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).unlink()

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the folder: one run at a time on this machine. A folder that the block leaves empty is removed.

        Args:
            name: who holds it, for people.

        Raises:
            HeldError: another process holds it.
        """
        self._make(self.folder)
        path = self.folder / LOCK
        with _open_lock(path) as file:
            file.truncate(0)
            file.write(json.dumps({"name": name, "since": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}))
            file.flush()
            try:
                yield
            finally:
                if not self.exists():
                    with contextlib.suppress(OSError):
                        path.unlink()
                        self.folder.rmdir()

    def remove(self) -> None:
        """Remove the whole folder; absent is done."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def journal(self, command: str, now: dt.datetime) -> Journal:
        """Start the journal of a run."""
        self._make(self.folder / JOURNALS)
        path = self.folder / JOURNALS / f"{now:%Y%m%dT%H%M%S.%f}-{command}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return Journal(path, os.fdopen(descriptor, "a", encoding="utf-8"))

    def _make(self, folder: Path) -> None:
        # Levels that are there are left alone, except for the mesh's own; a new one is nobody else's from the start,
        # the folder of all meshes too: who may write there could put another folder in this one's place.
        for level in (*reversed(folder.parents), folder):
            level.mkdir(mode=0o700, exist_ok=True)
        for level in (self.folder, folder):
            level.chmod(0o700)


class Journal:
    """What a run did, a JSON object a line, written as it happens."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self.path = path
        self._file = file
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, **fields: Any) -> None:
        """Append one line; `at` is added."""
        line = secrecy.hide(json.dumps({"at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), **fields}))
        with self._lock:
            if not self._file.closed:
                self._file.write(f"{line}\n")
                self._file.flush()

    def close(self) -> None:
        """No more lines."""
        with self._lock:
            self._file.close()


def _open_lock(path: Path) -> IO[str]:
    """The lock file, locked; it says who holds it."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed it, and somebody else may hold the one that is there now.
            if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
            file.close()
        except BlockingIOError:
            with file:
                told = _told(file.read())
            raise HeldError(
                f"{path.parent.name} is being worked on: {told}", hint="wait until it ends, or end it with Ctrl-C there"
            ) from None


def _told(text: str) -> str:
    try:
        document = json.loads(text)
        return f"{document['name']}, since {document['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process on this machine"


def _learn(name: str, text: str) -> None:
    secrecy.learn(text, whole=name.startswith(_TOKENS))


def _wrong(path: Path, reason: str, remedy: str) -> ConfigError:
    return ConfigError([Finding("file", str(path), reason, remedy)])
