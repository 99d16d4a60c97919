"""A mesh's local folder: spec, keys, certificates, kubeconfigs and run journals.

The state of a mesh is the world itself. The folder holds the secrets that made it, the record of where it is and of
what was made for it, the spec last used, and a journal of each run. It is 0700 and every file in it 0600. Losing it
loses the login key and the CA keys, so that `up` cannot continue; `status` of Azure still works from the mesh's tag,
and `down` deletes what a tag alone claims once that is confirmed.
"""

import contextlib
import datetime as dt
import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from io import FileIO
from pathlib import Path
from typing import Any

from crdbmesh import redaction
from crdbmesh.errors import ConfigError, HeldError, UnsafeError
from crdbmesh.local import contents, files, guard

SPEC = "mesh.yaml"
JOURNALS = "journals"
REMOVED = "removed"
"""The folder, among those of the meshes, of the folders of meshes that were taken down."""
KEPT = dt.timedelta(days=30)
_MOVED_AT = "%Y%m%dT%H%M%S"
_MOVED = re.compile(r"(?P<mesh>[a-z][-a-z0-9]*)-(?P<moved>\d{8}T\d{6})(-\d+)?")
_LOCK = "lock"
_HOLDER = "lock-holder"
"""Says who holds the lock. A file of its own, because on Windows nobody else can read the lock while it is held."""


def find_root(environ: Mapping[str, str]) -> Path:
    """Return the folder of all meshes' folders: `CRDBMESH_HOME`, or the platform's place for application data."""
    if given := environ.get("CRDBMESH_HOME"):
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("crdbmesh"))


def list_meshes(root: Path) -> list[str]:
    """Return the names of the meshes that have a spec below `root`, sorted."""
    if not root.is_dir():
        return []
    return sorted(entry.parent.name for entry in root.glob(f"*/{SPEC}"))


def erase_removed(root: Path, now: dt.datetime, *, mesh: str | None = None) -> None:
    """Erase the folders that `put_aside` moved `KEPT` ago or earlier, and all of `mesh` at once."""
    removed = root / REMOVED
    if any(guard.problems_within(removed)):
        return
    for entry in removed.glob("*"):
        if found := _MOVED.fullmatch(entry.name):
            moved = dt.datetime.strptime(found["moved"], _MOVED_AT).replace(tzinfo=dt.UTC)
            if found["mesh"] == mesh or now - moved >= KEPT:
                shutil.rmtree(entry)


class Journal(AbstractContextManager["Journal", None]):
    """The journal of a run: a JSON object a line, written as things happen, as far as the disk takes them.

    Attributes:
        failure: why a line could not be written, or None.
    """

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.failure: str | None = None
        self._file = file
        self._lock = threading.Lock()

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, **fields: Any) -> None:
        """Append one line, with the time as `at`; a line that does not fit is left out as a whole."""
        at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        line = f"{redaction.hide(json.dumps({'at': at, **fields}))}\n".encode()
        with self._lock:
            if self._file.closed:
                return
            try:
                if (written := self._file.write(line)) != len(line):
                    self._file.truncate(self._file.tell() - written)
                    self.failure = os.strerror(errno.ENOSPC)
            except OSError as error:
                self.failure = error.strerror or str(error)

    def close(self) -> None:
        """Close the file; later lines are dropped."""
        with self._lock:
            self._file.close()


class LocalFolder:
    """The local folder of one mesh; the first write creates it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._making = threading.Lock()

    def exists(self) -> bool:
        """Return True when the folder holds a spec."""
        return (self.path / SPEC).is_file()

    def read(self, name: str) -> str | None:
        """Return a file's text, or None; raise UnsafeError if others could read or plant it, ConfigError if none."""
        path = self.path / name
        try:
            text = guard.read_text(path, private=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _error(path, f"cannot be read ({error.strerror})", "make it readable by you") from error
        except UnicodeDecodeError:
            raise _error(path, "is not text", "restore it from a backup") from None
        _learn(name, text)
        return text

    def write(self, name: str, text: str) -> None:
        """Write a file in one move: readers see the old text or the new, and no other user ever sees either."""
        _learn(name, text)
        path = self.path / name
        self._make(path.parent)
        files.write_private(path, text)

    def find_or_make(self, name: str, make: Callable[[], str]) -> str:
        """Return a file's text; when there is no such file, write what `make` returns and return that."""
        with self._making:
            found = self.read(name)
            if found is None:
                found = make()
                self.write(name, found)
            return found

    def append(self, name: str, line: str) -> None:
        """Add a line to a file, unless it is there."""
        with self._making:
            text = self.read(name) or ""
            if line not in text.splitlines():
                self.write(name, f"{text}{line}\n")

    def delete(self, name: str) -> None:
        """Remove a file; do nothing when there is no such file."""
        (self.path / name).unlink(missing_ok=True)

    def require_safe(self) -> None:
        """Raise UnsafeError, with all that is wrong, for a folder in which others could plant or change something."""
        if found := [*guard.problems_above(self.path.parent), *guard.problems_within(self.path)]:
            raise UnsafeError(found)

    def holds_secrets(self) -> bool:
        """Return True when something of a mesh was made with what is in the folder."""
        return any((self.path / name).exists() for name in contents.MADE_WITH)

    @contextlib.contextmanager
    def locked(self, holder: str) -> Iterator[None]:
        """Hold the folder, so that one run at a time on this machine uses it; remove it when it ends up empty.

        It is a HeldError if another process holds it, and an UnsafeError if others could plant or change something in
        it.
        """
        import filelock

        self.require_safe()
        self._make(self.path)
        lock = filelock.FileLock(self.path / _LOCK, timeout=0, mode=0o600)
        try:
            lock.acquire()
        except filelock.Timeout:
            reason = f"{self.path.name} is being worked on: {self._read_holder()}"
            raise HeldError(reason, hint="wait until it ends, or end it with Ctrl-C there") from None
        try:
            since = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            files.write_private(self.path / _HOLDER, json.dumps({"name": holder, "since": since}))
            yield
        finally:
            self.delete(_HOLDER)
            if not self.exists():
                with contextlib.suppress(OSError):
                    self.delete(_LOCK)
                    self.path.rmdir()
            lock.release()

    def remove(self) -> None:
        """Remove the whole folder; do nothing when there is none."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def put_aside(self, now: dt.datetime) -> Path:
        """Move the whole folder to the removed ones, and return its new place; call it while the folder is held."""
        removed = self.path.parent / REMOVED
        files.make_folder(removed)
        number = 1
        while True:
            target = removed / f"{self.path.name}-{now:{_MOVED_AT}}{'' if number == 1 else f'-{number}'}"
            try:
                # A folder may take the place of an empty one.
                target.mkdir(mode=0o700)
            except FileExistsError:
                number += 1
            else:
                return self.path.replace(target)

    def journal(self, command: str, now: dt.datetime) -> Journal:
        """Start the journal of a run."""
        self._make(self.path / JOURNALS)
        path = self.path / JOURNALS / f"{now:%Y%m%dT%H%M%S.%f}-{command}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        return Journal(path, os.fdopen(descriptor, "ab", buffering=0))

    def _read_holder(self) -> str:
        try:
            document = json.loads((self.path / _HOLDER).read_text(encoding="utf-8"))
            return f"{document['name']}, since {document['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process on this machine"

    def _make(self, folder: Path) -> None:
        files.make_folder(folder)
        for level in (self.path, folder):
            if level.is_symlink():
                raise UnsafeError(list(guard.problems_within(level)))
            level.chmod(0o700)


def _learn(name: str, text: str) -> None:
    redaction.learn(text, whole=name.startswith(contents.TOKENS))


def _error(path: Path, reason: str, remedy: str) -> ConfigError:
    return ConfigError.of("file", str(path), reason, remedy)
