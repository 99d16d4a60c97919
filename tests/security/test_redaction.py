"""What is known to be secret is taken out of what quotes others: errors, events, journals, JSON."""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crdbmesh import redaction
from crdbmesh.clients.waiting import Say
from crdbmesh.engine import plan, run
from crdbmesh.engine.step import Event, Gap, Step
from crdbmesh.errors import CommandError, CrdbmeshError, WaitError
from crdbmesh.local import pki
from crdbmesh.local.folder import LocalFolder


@pytest.fixture
def token() -> str:
    made = secrets.token_hex(24)
    redaction.learn(f"{made}\n", whole=True)
    return made


@given(before=st.binary(max_size=9), after=st.binary(max_size=9))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_secret_is_found_in_base64_wherever_it_stands(token: str, before: bytes, after: bytes) -> None:
    shown = redaction.hide(base64.b64encode(before + token.encode() + after).decode())
    assert redaction.HIDDEN in shown
    assert base64.b64encode(token.encode()).decode()[8:-8] not in shown


def test_a_private_key_is_found_by_any_of_its_lines_and_its_certificate_stays() -> None:
    pair = pki.make_cilium_ca(now=dt.datetime.now(dt.UTC))
    redaction.learn(pair.cert_pem + pair.key_pem)
    for line in pair.key_pem.splitlines()[1:-1]:
        if len(line) >= 16:
            assert line not in redaction.hide(f"stderr: {line}")
    assert redaction.hide(pair.cert_pem) == pair.cert_pem


def test_a_kubeconfigs_credentials_are_found_and_its_certificates_stay() -> None:
    pair = pki.make_cilium_ca(now=dt.datetime.now(dt.UTC))
    cert, key = (base64.b64encode(text.encode()).decode() for text in (pair.cert_pem, pair.key_pem))
    redaction.learn(f"users:\n- user:\n    client-certificate-data: {cert}\n    client-key-data: {key}\n")
    assert redaction.hide(f"{cert} {key}") == f"{cert} {redaction.HIDDEN}"
    assert pair.key_pem.splitlines()[1] not in redaction.hide(pair.key_pem)


def test_a_short_secret_is_hidden_as_a_whole_and_a_license_key_without_being_learnt() -> None:
    redaction.learn("tEn.and*tw0!", whole=True)
    said = f"tEn.and*tw0! tEn.and*tw1! {base64.b64encode(b'tEn.and*tw0!').decode()} ='crl-0-EKiz4_Z8/GG+A='; end"
    assert redaction.hide(said) == "(secret) tEn.and*tw1! (secret) ='(secret)'; end"


def test_letters_that_lower_case_makes_longer_move_nothing(token: str) -> None:
    hidden = redaction.hide(f"{'İ' * 20} before {token} after")
    assert hidden == f"{'İ' * 20} before {redaction.HIDDEN} after"


def test_a_file_of_a_key_in_base64_is_hidden_line_by_line() -> None:
    key = pki.make_host_key("eastus-1").private
    redaction.learn(key)
    shown = redaction.hide(f"stderr: {base64.b64encode(key.encode()).decode()}")
    for line in key.splitlines()[1:-1]:
        for at in range(3):
            inner = line.encode()[-at % 3 :]
            assert base64.b64encode(inner[: len(inner) // 3 * 3]).decode() not in shown


def test_no_error_says_a_secret(token: str) -> None:
    errors = [
        CrdbmeshError(f"it said {token}", hint=f"look at {token}"),
        WaitError("something", seconds=1, last_seen=token),
        CommandError("cat", host="eastus-1", status=1, tail=f"token: {token}"),
    ]
    for error in errors:
        assert token not in f"{error!r} {error} {error.hint} {vars(error)}"
        assert redaction.HIDDEN in str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Talkative(Step):
    """A step that repeats what it hears."""

    heard: str

    def check(self) -> Gap | None:
        return Gap(f"somebody said {self.heard}")

    def apply(self, gap: Gap, say: Say) -> None:
        say(f"a log says {self.heard}")
        raise ValueError(self.heard)


def test_no_event_and_no_result_of_a_run_says_a_secret(token: str) -> None:
    events: list[Event] = []
    results = run.run(plan.order([Talkative(name="a/b", heard=token)]), workers=1, notify=events.append)
    assert {event.kind for event in events} == {"checking", "applying", "waiting", "ended"}
    assert token not in f"{events} {results}"


def test_a_journal_keeps_no_secret_whoever_writes_it(token: str, tmp_path: Path) -> None:
    with LocalFolder(tmp_path / "mesh").journal("up", dt.datetime.now(dt.UTC)) as journal:
        journal.record(step="a", text=f"it said {token}")
    (line,) = journal.path.read_text().splitlines()
    assert json.loads(line)["text"] == f"it said {redaction.HIDDEN}"


def test_what_the_folder_holds_is_known_once_it_was_read_or_written(tmp_path: Path) -> None:
    home, made = LocalFolder(tmp_path / "mesh"), secrets.token_hex(24)
    home.write("tokens/eastus", made)
    assert redaction.hide(made) == redaction.HIDDEN
    other, identity = secrets.token_hex(24), secrets.token_hex(16)
    (home.path / "tokens" / "westus").touch(0o600)
    (home.path / "tokens" / "westus").write_text(f"{other}\n")
    home.read("tokens/westus")
    home.write("cluster-id", identity)
    assert redaction.hide(other) == redaction.HIDDEN
    assert redaction.hide(identity) == identity


def test_many_threads_may_learn_and_hide_at_once(token: str) -> None:
    def work() -> None:
        for _ in range(50):
            redaction.learn(secrets.token_hex(16), whole=True)
            assert token not in redaction.hide(f"a {token} b")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
