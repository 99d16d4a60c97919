"""The command line: usage, exit codes, streams. What needs a world is in the journeys."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from crdbmesh import __version__, redaction
from crdbmesh.engine import step
from crdbmesh.errors import CloudError, ConfigError, CrdbmeshError, Finding, PreflightError, QuotaError, RefusedError
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.terminal import app as cli
from crdbmesh.terminal import exits

COMMANDS = ["up", "plan", "doctor", "status", "report", "down", "kubeconfig", "demo", "ssh", "logs"]


def crdbmesh(*arguments: str, home: Path, **environment: str) -> Result:
    fixed = {"CRDBMESH_HOME": str(home), "CRDBMESH_CLOUD": "", "AZURE_SUBSCRIPTION_ID": "s"}
    return CliRunner().invoke(cli.app, list(arguments), env={**fixed, **environment})


def keep(home: Path, name: str) -> LocalFolder:
    kept = LocalFolder(home / name)
    kept.write(SPEC, f"name: {name}\nregions: [eastus]\n")
    return kept


def run_main(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """The whole way through `main`: exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    shown = capsys.readouterr()
    return ended.value.code, shown.out, shown.err


class TestHelp:
    """`--help`: quick, complete, and readable in a small terminal."""

    def test_it_loads_no_sdk(self) -> None:
        script = (
            "import sys; from typer.testing import CliRunner; from crdbmesh.terminal.app import app;"
            "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
            "heavy = {'azure', 'kubernetes', 'paramiko', 'pydantic', 'requests', 'rich', 'yaml'};"
            "print(sorted(heavy & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_every_command_has_it_with_the_exit_codes(self, command: str, option: str, tmp_path: Path) -> None:
        shown = crdbmesh(command, option, home=tmp_path)
        assert shown.exit_code == 0
        assert "130 interrupted" in " ".join(shown.output.split())

    def test_no_arguments_shows_it(self, tmp_path: Path) -> None:
        done = subprocess.run([sys.executable, "-m", "crdbmesh"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "10 degraded" in done.stdout
        assert crdbmesh(home=tmp_path).stdout == crdbmesh("--help", home=tmp_path).stdout

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_option_has_its_variable(self, command: str) -> None:
        group: Any = typer.main.get_command(cli.app)
        options = [one for one in group.commands[command].params if one.opts[0].startswith("--")]
        assert options
        assert all(str(one.envvar).startswith("CRDBMESH_") for one in options)

    def test_it_fits_80_columns(self, tmp_path: Path) -> None:
        for command in [[], *([command] for command in COMMANDS)]:
            lines = crdbmesh(*command, "-h", home=tmp_path, COLUMNS="80").output.splitlines()
            assert max(map(len, lines)) <= 80


def test_version_is_the_packages(tmp_path: Path) -> None:
    assert crdbmesh("--version", home=tmp_path).stdout == f"crdbmesh {__version__}\n"


def test_python_m_runs_it() -> None:
    done = subprocess.run([sys.executable, "-m", "crdbmesh", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"crdbmesh {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--regions", "East US"],
        ["up", "--regions", ""],
        ["up", "--regions", "eastus"],
        ["up", "--regions", "eastus", "--output", "json"],
        ["up", "--machines-per-region", "many"],
        ["plan"],
        ["up", "--config", "/nonexistent.yaml"],
        ["status"],
        ["status", "nobody"],
        ["down"],
        ["down", "No Such Name", "--yes"],
        ["kubeconfig"],
        ["kubeconfig", "--switch", "eastus"],
        ["demo", "--regions", "eastus,eastus"],
        ["demo", "--machines-per-region", "0"],
        ["demo", "--name", "../out"],
        ["status", "x", "--output", "yaml"],
        ["up", "--frobnicate"],
        ["frobnicate"],
    ],
    ids=" ".join,
)
def test_bad_input_exits_with_2_and_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    shown = crdbmesh(*arguments, home=tmp_path)
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output
    if "json" not in arguments:
        assert shown.stdout == ""


def test_off_a_terminal_up_asks_for_yes_instead_of_asking(tmp_path: Path) -> None:
    shown = crdbmesh("up", "--regions", "eastus", home=tmp_path)
    assert shown.exit_code == 2
    assert "pass --yes" in shown.stderr
    assert "[y/N]" not in shown.output


class TestVariables:
    """`CRDBMESH_*`: between flags and file."""

    def test_they_stand_for_flags(self, tmp_path: Path) -> None:
        shown = crdbmesh("up", home=tmp_path, CRDBMESH_REGIONS="eastus,eastus")
        assert "is listed twice" in shown.stderr

    def test_flags_win_over_them(self, tmp_path: Path) -> None:
        shown = crdbmesh("up", "--regions", "East US", home=tmp_path, CRDBMESH_REGIONS="eastus,eastus")
        assert "is listed twice" not in shown.stderr
        assert "East US" in shown.stderr

    def test_they_win_over_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "mesh.yaml"
        file.write_text("regions: [eastus]\nmachines: {per_region: 3}\n")
        shown = crdbmesh("up", "--config", str(file), home=tmp_path, CRDBMESH_MACHINES_PER_REGION="0")
        assert "machines.per_region = 0" in shown.stderr

    def test_a_list_may_be_separated_by_spaces_or_commas(self, tmp_path: Path) -> None:
        shown = crdbmesh("up", "--regions", "eastus", home=tmp_path, CRDBMESH_ALLOW_FROM="1.2.3.4 x,y")
        assert "allow_from[1] = x" in shown.stderr
        assert "allow_from[2] = y" in shown.stderr

    def test_output_may_come_from_one(self, tmp_path: Path) -> None:
        shown = crdbmesh("status", "nobody", home=tmp_path, CRDBMESH_OUTPUT="json")
        assert json.loads(shown.stdout)["error"]["code"] == "config"


class TestJson:
    """`--output json`: one object, whatever happens."""

    def test_errors_are_one_object_with_every_finding(self, tmp_path: Path) -> None:
        shown = crdbmesh("status", "nobody", "--output", "json", home=tmp_path)
        document = json.loads(shown.stdout)
        assert document["schema"] == 1
        assert document["error"]["code"] == "config"
        assert set(document["error"]["findings"][0]) == {"field", "value", "reason", "remedy"}

    @pytest.mark.parametrize("option", [["--output", "json"], ["--output=json"], ["-o", "json"], ["-ojson"]])
    def test_even_a_command_line_that_cannot_be_read_is_answered_in_it(
        self, option: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, out, err = run_main(capsys, "up", "--frobnicate", *option)
        assert code == 2
        assert json.loads(out)["error"]["code"] == "usage"
        assert "--frobnicate" in err

    def test_nobody_who_did_not_ask_for_it_gets_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = run_main(capsys, "up", "--frobnicate")
        assert (code, out) == (2, "")

    def test_every_error_has_one_shape_in_whatever_place_it_is(self, capsys: pytest.CaptureFixture[str]) -> None:
        error = QuotaError("PUT x: SkuNotAvailable: no", code="SkuNotAvailable", hint="another size")
        with pytest.raises(typer.Exit), exits.mapped("json"):
            raise error
        alone = json.loads(capsys.readouterr().out)["error"]
        assert alone == {
            "code": "SkuNotAvailable",
            "message": "PUT x: SkuNotAvailable: no",
            "remedy": "another size",
            "findings": [],
        }
        assert step.Result.of("eastus/node1/machine", error).document()["error"] == alone
        assert step.Result("a", step.Outcome.CHANGED, "a gap").document()["error"] is None


class TestExitCodes:
    """What each kind of ending is, in a number."""

    @pytest.mark.parametrize(
        ("error", "code", "kind"),
        [
            (ConfigError([Finding("f", "v", "r", "m")]), 2, "config"),
            (PreflightError([Finding("f", "v", "r", "m")]), 3, "preflight"),
            (CloudError("no"), 1, "cloud"),
            (RefusedError("no"), 1, "refused"),
            (PermissionError(13, "Permission denied", "/f"), 1, "file"),
            (KeyboardInterrupt(), 130, "interrupted"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_each_error_has_its_own(
        self, error: BaseException, code: int, kind: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(typer.Exit) as ended, exits.mapped("json"):
            raise error
        assert ended.value.exit_code == code
        assert json.loads(capsys.readouterr().out)["error"]["code"] == kind

    def test_an_error_after_an_interrupt_is_an_interrupt(self) -> None:
        def interrupted() -> None:
            with exits.mapped("text") as signals:
                signals.stop.set()
                raise CrdbmeshError("cut short")

        with pytest.raises(typer.Exit) as ended:
            interrupted()
        assert ended.value.exit_code == 130

    def test_a_file_that_cannot_be_written_is_said_with_its_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(typer.Exit), exits.mapped("text"):
            raise PermissionError(13, "Permission denied", "/some/file")
        assert "/some/file: Permission denied" in capsys.readouterr().err


class TestBug:
    """An error that nobody meant."""

    def test_it_is_one_line_and_a_private_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(typer.Exit) as ended, exits.mapped("text"):
            raise ZeroDivisionError("what it was about")
        assert ended.value.exit_code == 1
        shown = " ".join(capsys.readouterr().err.split())
        assert "Traceback" not in shown
        path = Path(shown.rpartition(" in ")[2].strip())
        try:
            assert "what it was about" in path.read_text()
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        finally:
            path.unlink()

    def test_who_debugs_sees_the_traceback_without_secrets_and_escapes(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("CRDBMESH_DEBUG", "1")
        secret = secrets.token_hex(20)
        redaction.learn(secret, whole=True)
        with pytest.raises(typer.Exit), exits.mapped("text"):
            raise ZeroDivisionError(f"\x1b[2J {secret[:30]}")
        shown = capsys.readouterr().err
        assert "Traceback" in shown
        assert "ZeroDivisionError: ^[[2J (secret)" in shown


def test_several_known_meshes_must_be_told_apart(tmp_path: Path) -> None:
    keep(tmp_path, "one")
    keep(tmp_path, "two")
    shown = crdbmesh("kubeconfig", home=tmp_path)
    assert shown.exit_code == 2
    assert "one, two" in shown.output


def test_the_only_known_mesh_needs_no_name(tmp_path: Path) -> None:
    keep(tmp_path, "one")
    shown = crdbmesh("kubeconfig", home=tmp_path)
    assert shown.exit_code == 2
    assert "has no kubeconfig yet" in shown.output


KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{name: crdb-k3s-eastus, cluster: {server: "https://203.0.113.1:6443"}}]
users: [{name: crdb-k3s-eastus, user: {client-key-data: planted-token}}]
contexts: [{name: crdb-k3s-eastus, context: {cluster: crdb-k3s-eastus, user: crdb-k3s-eastus}}]
current-context: crdb-k3s-eastus
"""


class TestKubeconfig:
    """`kubeconfig`, with what an `up` has kept."""

    def test_yaml_is_on_stdout_alone(self, tmp_path: Path) -> None:
        keep(tmp_path, "one").write("kubeconfigs/eastus.yaml", KUBECONFIG)
        shown = crdbmesh("kubeconfig", home=tmp_path)
        assert shown.exit_code == 0
        assert "crdb-k3s-eastus" in shown.stdout
        assert shown.stderr == ""

    def test_json_holds_names_and_no_keys(self, tmp_path: Path) -> None:
        keep(tmp_path, "one").write("kubeconfigs/eastus.yaml", KUBECONFIG)
        shown = crdbmesh("kubeconfig", "-o", "json", home=tmp_path)
        assert json.loads(shown.stdout)["contexts"] == ["crdb-k3s-eastus"]
        assert "planted-token" not in shown.output

    def test_merging_keeps_the_users_own_context_and_a_backup(self, tmp_path: Path) -> None:
        keep(tmp_path, "one").write("kubeconfigs/eastus.yaml", KUBECONFIG)
        own = tmp_path / "config"
        own.write_text(KUBECONFIG.replace("crdb-k3s-eastus", "mine"))
        merged = crdbmesh("kubeconfig", "--merge", home=tmp_path, KUBECONFIG=str(own))
        assert merged.exit_code == 0, merged.output
        assert "current-context: mine" in own.read_text()
        assert "crdb-k3s-eastus" in own.read_text()
        assert len(list(tmp_path.glob("config*"))) >= 2
        switched = crdbmesh("kubeconfig", "--merge", "--switch", "eastus", home=tmp_path, KUBECONFIG=str(own))
        assert switched.exit_code == 0
        assert "current-context: crdb-k3s-eastus" in own.read_text()


@pytest.fixture
def silent_cloud(tmp_path: Path) -> Iterator[Path]:
    """A cloud file whose Azure takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        file = tmp_path / "cloud.json"
        file.write_text(
            json.dumps(
                {"arm_url": f"https://127.0.0.1:{listener.getsockname()[1]}", "token": "t", "subscription_id": "s"}
            )
        )
        yield file


@pytest.mark.parametrize("arguments", [["status"], ["down", "one", "--yes"], ["plan", "--allow-from", "1.2.3.4"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_whatever_only_reads_at_once(
    arguments: list[str], number: signal.Signals, silent_cloud: Path, tmp_path: Path
) -> None:
    keep(tmp_path, "one")
    environment = {**os.environ, "CRDBMESH_HOME": str(tmp_path), "CRDBMESH_CLOUD": str(silent_cloud)}
    command = [sys.executable, "-m", "crdbmesh", *arguments, "-o", "json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        started = time.monotonic()
        while _connections(silent_cloud) == 0:
            assert time.monotonic() < started + 20, "it never asked"
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "Traceback" not in err


def test_an_interrupt_while_modules_load_ends_it_without_a_word(tmp_path: Path) -> None:
    """Found on the path before the real one, this `rich` takes long to load."""
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "crdbmesh", "status"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


def _connections(cloud_file: Path) -> int:
    """How many clients are connected to the port of a cloud file."""
    port = f":{int(json.loads(cloud_file.read_text())['arm_url'].rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(port) and row[3] == "01" for row in rows)


OPTIONS = st.sampled_from(
    ["--regions", "--name", "--allow-from", "--machines-per-region", "--machine-size", "--output", "--config", "-x"]
)
# No surrogates and no NUL: no argument of a process can hold them.
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)


@given(command=st.sampled_from(["up", "demo"]), arguments=st.lists(st.tuples(OPTIONS, VALUES), max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_is_refused_without_a_traceback(
    command: str, arguments: list[tuple[str, str]], tmp_path: Path
) -> None:
    # `demo` with a region that is none is refused before it starts; so is `up` without --yes, off a terminal.
    refused = ["--regions", "East US"] if command == "demo" else []
    typed = [command, *(part for pair in arguments for part in pair), *refused]
    shown = crdbmesh(*typed, home=tmp_path)
    assert isinstance(shown.exception, SystemExit), shown.exception
    assert shown.exit_code in {0, 2}
    assert shown.exit_code == 2 or "Usage" in shown.output
    assert "Traceback" not in shown.output
