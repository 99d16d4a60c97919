"""Which mesh is meant: flags, then the file, then what was kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from crdbmesh.clients.cloud import Cloud, GivenToken
from crdbmesh.commands import specs
from crdbmesh.errors import ConfigError, UnsafeError
from crdbmesh.local.folder import SPEC, LocalFolder
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh
from crdbmesh.spec.versions import NEWEST, RELEASE_0_1, outdated

OLD = {
    "k3s": {"version": "v1.35.1+k3s1", "sha256": {"x86_64": "0" * 64}},
    "cilium": {"version": "1.19.0", "sha256": "1" * 64},
    "cockroachdb": "v26.1.0",
}
OLDER = config.mesh({"regions": ["eastus"], "versions": OLD})
AZURE = Cloud(name="azure", arm_url="https://arm.example", scopes=(), credential=GivenToken("t"))


def choose(root: Path, cloud: Cloud = AZURE, **given: object) -> Mesh:
    return specs.choose(specs.Given(**given), cloud, root)  # type: ignore[arg-type]


def keep(root: Path, name: str, text: str = "") -> None:
    LocalFolder(root / name).write(SPEC, f"name: {name}\nregions: [eastus, westus]\n{text}")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text("name: filed\nregions: [eastus]\nmachines: {per_region: 5, size: Standard_D8s_v5}\n")
    spec = choose(tmp_path, file=file, machines_per_region=1, allow_from=("203.0.113.1,203.0.113.2",))
    assert (spec.name, spec.machines.per_region, spec.machines.size) == ("filed", 1, "Standard_D8s_v5")
    assert spec.allow_from == ("203.0.113.1/32", "203.0.113.2/32")


def test_the_kept_spec_is_used_when_nothing_says_where(tmp_path: Path) -> None:
    keep(tmp_path, "kept", "allow_from: [203.0.113.9]\n")
    spec = choose(tmp_path, machine_size="Standard_D8s_v5")
    assert (spec.name, spec.allow_from, spec.machines.size) == ("kept", ("203.0.113.9/32",), "Standard_D8s_v5")


def test_regions_change_the_regions_of_a_kept_spec_and_keep_the_rest(tmp_path: Path) -> None:
    text = "name: kept\nregions: [{name: eastus, machines: 5}, westus]\nmachines: {per_region: 7}\n"
    LocalFolder(tmp_path / "kept").write(SPEC, text)
    spec = choose(tmp_path, name="kept", regions=("eastus,westus", "northeurope"))
    assert [(region.name, region.machines) for region in spec.regions] == [
        ("eastus", 5),
        ("westus", None),
        ("northeurope", None),
    ]
    assert spec.machines.per_region == 7


def test_regions_of_another_name_take_nothing_from_what_is_kept(tmp_path: Path) -> None:
    keep(tmp_path, "kept", "machines: {per_region: 7}\n")
    spec = choose(tmp_path, regions=("northeurope",))
    assert (spec.name, spec.machines.per_region) == ("crdbmesh", 3)


def test_a_mesh_keeps_the_versions_it_was_born_with_until_its_spec_names_others(tmp_path: Path) -> None:
    keep(tmp_path, "before")
    assert choose(tmp_path, name="before", regions=("eastus",)).versions == RELEASE_0_1
    keep(tmp_path, "older", yaml.safe_dump({"versions": OLD}))
    assert choose(tmp_path, name="older").versions == OLDER.versions
    assert choose(tmp_path, name="older", regions=("eastus,westus,northeurope",)).versions == OLDER.versions
    assert choose(tmp_path, name="another", regions=("eastus",)).versions == NEWEST
    file = tmp_path / "mesh.yaml"
    file.write_text("name: older\nregions: [eastus]\nversions: {cockroachdb: v26.2.9}\n")
    assert choose(tmp_path, file=file).versions.named() == {**OLDER.versions.named(), "cockroachdb": "v26.2.9"}
    assert [program for program, _, _ in outdated(OLDER.versions)] == ["k3s", "cilium", "cockroachdb"]


def test_a_mesh_keeps_its_number_of_client_pods_until_its_spec_names_another(tmp_path: Path) -> None:
    keep(tmp_path, "before", "cockroach: {replicas: 1}\n")
    assert choose(tmp_path, name="before").cockroach.clients == 1
    assert choose(tmp_path, name="another", regions=("eastus",)).cockroach.clients == 2
    file = tmp_path / "mesh.yaml"
    for more, clients in (("", 1), ("cockroach: {clients: 2}", 2)):
        file.write_text(f"name: before\nregions: [eastus, westus]\n{more}\n")
        assert choose(tmp_path, file=file).cockroach.clients == clients


def test_one_of_several_kept_must_be_named(tmp_path: Path) -> None:
    keep(tmp_path, "one")
    keep(tmp_path, "two")
    with pytest.raises(ConfigError, match="one, two"):
        choose(tmp_path)
    assert choose(tmp_path, name="two").name == "two"


def test_nothing_known_and_nothing_given_asks_for_regions(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(tmp_path, machines_per_region=0)
    assert {finding.field for finding in caught.value.findings} == {"regions", "machines.per_region"}
    assert any("--regions eastus" in finding.remedy for finding in caught.value.findings)


@pytest.mark.parametrize(
    ("text", "port"),
    [("", 2222), ("ssh: {port: 22022}\n", 22022), ("ssh: {user: someone}\n", 2222)],
)
def test_a_cloud_whose_machines_listen_elsewhere_says_so_unless_the_spec_does(
    tmp_path: Path, text: str, port: int
) -> None:
    file = tmp_path / "mesh.yaml"
    file.write_text(f"regions: [eastus]\n{text}")
    cloud = Cloud(name="x", arm_url="https://arm.example", scopes=(), credential=GivenToken("t"), ssh_port=2222)
    spec = choose(tmp_path, cloud, file=file)
    assert spec.ssh.port == port


def test_the_only_known_mesh_is_meant_when_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no mesh is known here"):
        specs.name_of(None, tmp_path)
    keep(tmp_path, "one")
    assert specs.name_of(None, tmp_path) == "one"
    assert specs.name_of("lost-folder", tmp_path) == "lost-folder"


@given(name=st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_name_never_leads_out_of_the_folder(name: str) -> None:
    try:
        found = specs.name_of(name, Path("/nowhere"))
    except ConfigError as error:
        assert error.findings[0].field == "name"
    else:
        assert (Path("/nowhere") / found).parent == Path("/nowhere")


@given(
    regions=st.none() | st.lists(st.text(max_size=30), min_size=1, max_size=3).map(tuple),
    name=st.none() | st.text(max_size=10),
    allow_from=st.none() | st.lists(st.text(max_size=20), max_size=3).map(tuple),
    machines=st.none() | st.integers(),
    size=st.none() | st.text(max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_whatever_the_flags_say_is_a_spec_or_a_clear_error(
    regions: tuple[str, ...] | None,
    name: str | None,
    allow_from: tuple[str, ...] | None,
    machines: int | None,
    size: str | None,
) -> None:
    given = specs.Given(regions, name, None, allow_from, machines, size)
    try:
        specs.choose(given, AZURE, Path("/nowhere"))
    except ConfigError as error:
        assert error.findings


class TestFoundFile:
    """The `crdbmesh.yaml` of the working folder: used as with --config, and never a surprise."""

    def find(self, here: Path, root: Path, **given: object) -> tuple[Path | None, list[str]]:
        told: list[str] = []
        return specs.with_found(specs.Given(**given), here, root, told.append).file, told  # type: ignore[arg-type]

    def test_it_is_used_for_its_mesh(self, tmp_path: Path) -> None:
        file = tmp_path / "crdbmesh.yaml"
        assert self.find(tmp_path, tmp_path / "root") == (None, [])
        file.write_text("name: filed\nregions: [eastus]\n")
        used = (file, [f"Using {file}"])
        assert self.find(tmp_path, tmp_path / "root") == used
        assert self.find(tmp_path, tmp_path / "root", name="filed") == used
        keep(tmp_path / "root", "filed")
        keep(tmp_path / "root", "other")
        assert self.find(tmp_path, tmp_path / "root") == used

    def test_one_given_by_name_wins(self, tmp_path: Path) -> None:
        (tmp_path / "crdbmesh.yaml").write_text("[")
        assert self.find(tmp_path, tmp_path, file=tmp_path / "mine.yaml") == (tmp_path / "mine.yaml", [])

    def test_one_of_another_mesh_is_not_used_for_the_named_one(self, tmp_path: Path) -> None:
        file = tmp_path / "crdbmesh.yaml"
        for text in ("name: filed\n", "regions: [eastus]\n"):
            file.write_text(text)
            found, (told,) = self.find(tmp_path, tmp_path / "root", name="asked")
            assert (found, "is not used" in told) == (None, True)

    def test_up_without_options_asks_which_when_it_names_another_mesh_than_the_known_one(self, tmp_path: Path) -> None:
        keep(tmp_path / "root", "kept")
        (tmp_path / "crdbmesh.yaml").write_text("name: filed\nregions: [eastus]\n")
        with pytest.raises(ConfigError) as refused:
            self.find(tmp_path, tmp_path / "root")
        (finding,) = refused.value.findings
        assert finding.reason.endswith("is the spec of filed, and known here is kept")
        assert finding.remedy == "name filed to use that file, or kept to leave it"

    def test_one_that_others_could_change_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "crdbmesh.yaml"
        file.write_text("name: filed\nregions: [eastus]\n")
        file.chmod(0o666)
        with pytest.raises(UnsafeError) as refused:
            self.find(tmp_path, tmp_path / "root")
        assert "--config crdbmesh.yaml" in refused.value.findings[0].remedy


class TestOrigins:
    """The origin of each field that `config show` prints."""

    def origins(self, root: Path, said: dict[str, str] | None = None, **given: object) -> dict[str, str]:
        return specs.origins(specs.Given(**given), AZURE, root, said or {})[1]  # type: ignore[arg-type]

    def test_each_field_of_a_file_has_its_line(self, tmp_path: Path) -> None:
        file = tmp_path / "mesh.yaml"
        file.write_text("name: filed\nregions:\n- eastus\n- name: westus\n  machines: 5\nallow_from: [203.0.113.9]\n")
        found = self.origins(tmp_path, {"machines.size": "CRDBMESH_MACHINE_SIZE"}, file=file, machine_size="huge")
        lines = {
            "name": 1, "regions[eastus].name": 3, "regions[westus].name": 4, "regions[westus].machines": 5,
            "allow_from[203.0.113.9/32]": 6,
        }  # fmt: skip
        assert {field: found[field] for field in lines} == {field: f"{file}:{line}" for field, line in lines.items()}
        assert (found["machines.size"], found["patience"]) == ("CRDBMESH_MACHINE_SIZE", "default at birth")
        assert found["versions.cockroachdb"] == "default at birth"

    def test_a_flag_for_regions_leaves_what_is_kept_of_them(self, tmp_path: Path) -> None:
        text = "name: kept\nregions: [{name: eastus, machines: 5}, westus]\n"
        LocalFolder(tmp_path / "kept").write(SPEC, text)
        found = self.origins(
            tmp_path, {"name": "NAME", "regions": "--regions"}, name="kept", regions=("eastus", "uksouth")
        )
        assert (found["regions[uksouth].name"], found["regions[eastus].name"]) == ("--regions", "--regions")
        assert (found["regions[eastus].machines"], found["name"]) == ("kept spec", "NAME")

    def test_a_mesh_keeps_the_versions_of_its_birth_when_a_file_names_none(self, tmp_path: Path) -> None:
        keep(tmp_path, "kept")
        file = tmp_path / "mesh.yaml"
        file.write_text("name: kept\nregions: [eastus]\n")
        found = self.origins(tmp_path, file=file)
        assert (found["versions.cockroachdb"], found["machines.size"]) == ("kept spec", "default at birth")


def test_every_value_of_a_spec_has_a_place_in_its_text() -> None:
    tags = {"a b": "x y " * 60, "k.l": "one\n\ntwo", "#": "y: z", "é": "", "'": "- name: westus"}
    regions = ["eastus", {"name": "westus", "zones": [1, 2]}]
    text = config.dump(config.mesh({"regions": regions, "tags": tags}))
    places = dict(config.places(text))
    assert {"regions[westus].zones[2]", *(f"tags.{key}" for key in tags)} <= places.keys()
    assert text.splitlines()[places["regions[westus].name"] - 1] == "- name: westus"
