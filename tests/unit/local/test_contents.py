"""The secrets of the local folder: which there are, when they may be made, and how a loss is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdbmesh.local import contents
from crdbmesh.spec import load as config
from crdbmesh.spec.mesh import Mesh

MESH: Mesh = config.mesh({"regions": ["eastus", "westus"], "machines": {"per_region": 2}})
PLACES = [(region, number) for region in ("eastus", "westus", "northeurope") for number in (1, 2, 3)]
SECRETS = contents.secrets(MESH)
FILES = {secret.file for secret in SECRETS}


def lost(have: set[str], machines: set[tuple[str, int]]) -> set[str]:
    return {secret.file for secret in contents.lost(SECRETS, have, machines)}


def test_every_region_has_a_token_and_every_machine_a_host_key() -> None:
    assert {
        "login.key", "ca/cilium.pem", "ca/cockroach.pem", "tokens/eastus", "tokens/westus",
        "host-keys/eastus-1.key", "host-keys/eastus-2.key", "host-keys/westus-1.key", "host-keys/westus-2.key",
    } == FILES  # fmt: skip


def test_without_machines_nothing_is_lost_and_everything_may_be_made() -> None:
    assert lost(set(), set()) == set()


def test_a_machine_was_made_with_what_the_mesh_its_region_and_itself_have() -> None:
    assert lost(set(), {("eastus", 2)}) == {
        "login.key", "ca/cilium.pem", "ca/cockroach.pem", "tokens/eastus", "host-keys/eastus-2.key"
    }  # fmt: skip
    assert lost(set(), {("northeurope", 1)}) == {"login.key", "ca/cilium.pem", "ca/cockroach.pem"}


@given(have=st.sets(st.sampled_from(sorted(FILES))), machines=st.sets(st.sampled_from(PLACES)))
def test_what_is_there_is_never_lost_and_a_loss_stays_one_with_more_machines(
    have: set[str], machines: set[tuple[str, int]]
) -> None:
    found = lost(have, machines)
    assert not found & have
    assert found <= lost(have, {*machines, *PLACES})
    assert found <= lost(set(), machines)


def test_a_whole_loss_lists_kinds_and_a_part_of_it_files() -> None:
    whole = contents.describe(SECRETS, whole=True)
    assert "k3s token (eastus, westus)" in whole
    assert "host key (eastus-1, eastus-2, westus-1, westus-2)" in whole
    assert "the kubeconfigs, the spec" in whole
    part = contents.describe([secret for secret in SECRETS if secret.file == "tokens/westus"], whole=False)
    assert part == "these files are missing: tokens/westus. Without the token no machine can join its region's cluster"
