"""Answers of the Kubernetes API, and what those other than success mean, as errors that never show a secret.

The Status object that carries an error, its causes and its reasons are from Kubernetes' API conventions, "Response
Status Kind".
"""

import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3

from crdbmesh.errors import KubeError
from crdbmesh.redaction import cut
from crdbmesh.spec import documents

_MESSAGE_CHARACTERS = 600
_BODY_BYTES = 64 * 1024
_UNKNOWN_RESOURCE = "the server could not find the requested resource"


class NoAnswerError(KubeError):
    """There was no HTTP answer: refused, timed out, broken off."""


class UntrustedError(KubeError):
    """The server's certificate is not one that the kubeconfig's CA vouches for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        """Return True when it is a success."""
        return 200 <= self.status < 300

    @property
    def lost_race(self) -> bool:
        """Return True when an apply lost a race against another writer, so that the same apply may now succeed."""
        return self.status == 409 and not _conflicts(self.failure())

    @property
    def unknown_kind(self) -> bool:
        """Return True when the API has no such path, because it does not know the kind of object."""
        return self.status == 404 and self.failure().get("message", _UNKNOWN_RESOURCE) == _UNKNOWN_RESOURCE

    def document(self) -> dict[str, Any]:
        """Return the body as a JSON object; empty when it is none."""
        with contextlib.suppress(documents.DocumentError):
            document = documents.read_json(self.body)
            if isinstance(document, dict):
                return document
        return {}

    def failure(self) -> dict[str, Any]:
        """Return the API server's Status object that says what failed; empty when the body is none.

        One that a request's deadline makes has no kind (apiserver, pkg/server/filters/timeout.go).
        """
        document = {} if self.ok else self.document()
        untyped = "kind" not in document and document.get("status") == "Failure"
        return document if document.get("kind") == "Status" or untyped else {}

    def checked(self, doing: str, *, secret: bool = False) -> dict[str, Any]:
        """Return the object in a successful answer; raise what `error` returns for any other."""
        if not self.ok:
            raise self.error(doing, secret=secret)
        document = self.document()
        if not document:
            raise KubeError(f"{doing}: the answer is not a JSON object", status=self.status)
        return document

    def error(self, doing: str, *, secret: bool = False) -> KubeError:
        """Return what an answer other than a success means.

        `doing` says what was asked: `eastus: apply apps/v1 Deployment eastus/web`. For a secret the server's own words,
        which may quote what was sent, are left out.
        """
        status = self.failure()
        if not status:
            text = "" if secret else _trimmed(self.body[:_BODY_BYTES].decode("utf-8", errors="replace"))
            return KubeError(f"{doing}: HTTP {self.status} {text}".strip(), status=self.status)
        reason = str(status.get("reason") or "")
        if conflicts := _conflicts(status):
            hint = "Undo the other change, or give the field up"
            return KubeError(f"{doing}: conflict: {_owners(conflicts)}", status=self.status, reason=reason, hint=hint)
        if secret:
            fields = ", ".join(str(cause["field"]) for cause in _causes(status) if cause.get("field"))
            text = f"{reason or self.status} {f'({fields})' if fields else ''}".strip()
        else:
            text = _trimmed(str(status.get("message") or reason or self.status))
        return KubeError(f"{doing}: {text}", status=self.status, reason=reason)


def no_answer(name: str, doing: str, error: BaseException) -> KubeError:
    """Return what an error of urllib3's or the system's means: untrusted, or no answer."""
    cause = error.args[0] if error.args else None
    if isinstance(cause, ssl.SSLCertVerificationError):
        return UntrustedError(f"{name}: the API server's certificate is not trusted: {cause.verify_message}")
    return NoAnswerError(f"{name}: {doing}: {_words(error)}").as_retryable()


def _causes(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return (status.get("details") or {}).get("causes") or []


def _conflicts(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [cause for cause in _causes(status) if cause.get("reason") == "FieldManagerConflict"]


def _owners(conflicts: list[dict[str, Any]]) -> str:
    by_manager: dict[str, list[str]] = {}
    for cause in conflicts:
        message = str(cause.get("message") or "")
        manager = message.removeprefix("conflict with ").split(" using ")[0].strip('"') or "another manager"
        by_manager.setdefault(manager, []).append(str(cause.get("field") or "?"))
    return "; ".join(f"{manager} owns {', '.join(fields)}" for manager, fields in by_manager.items())


def _words(error: BaseException) -> str:
    match error:
        case urllib3.exceptions.NewConnectionError():
            return re.sub(r"^\[Errno -?\d+\] ", "", str(error).rsplit(": ", 1)[-1]).lower()
        case urllib3.exceptions.TimeoutError() | TimeoutError():
            return "timed out"
        case _:
            return str(error) or type(error).__name__


def _trimmed(text: str) -> str:
    return cut(" ".join(text[:_BODY_BYTES].split()), _MESSAGE_CHARACTERS)
