"""Where a mesh is, as its folder records it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from crdbmesh.errors import ConfigError, ElsewhereError
from crdbmesh.local import birth
from crdbmesh.local.birth import Aim
from crdbmesh.local.folder import LocalFolder

PROD = Aim(
    cloud="AzureCloud",
    arm_url="https://management.azure.com",
    tenant_id="t-1",
    subscription_id="s-1",
    subscription_name="Prod",
)


def test_what_is_recorded_is_read_again_and_private(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    assert birth.read(folder) is None
    birth.write(folder, birth.of(PROD, "0123456789abcdef"))
    found = birth.read(folder)
    assert found is not None
    assert (found.subscription_id, found.tenant_id, found.mesh_id) == ("s-1", "t-1", "0123456789abcdef")
    assert stat.S_IMODE((folder.path / birth.FILE).stat().st_mode) == 0o600


def test_a_record_of_a_later_release_with_more_in_it_is_read(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path / "m")
    folder.write(birth.FILE, '{"cloud": "AzureCloud", "arm_url": "https://x", "subscription_id": "s", "more": 1}')
    found = birth.read(folder)
    assert found is not None
    assert (found.mesh_id, found.tenant_id) == (None, "")


@pytest.mark.parametrize("text", ["", "{", '{"cloud": 7}', "[]"])
def test_a_damaged_record_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    folder = LocalFolder(tmp_path / "m")
    folder.write(birth.FILE, text)
    with pytest.raises(ConfigError, match="is damaged") as caught:
        birth.read(folder)
    assert caught.value.findings[0].value == str(folder.path / birth.FILE)


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"subscription_id": "s-2", "subscription_name": "Test"}, "subscription", "az account set --subscription s-1"),
        ({"tenant_id": "t-2"}, "tenant", "az login --tenant t-1"),
        ({"arm_url": "https://127.0.0.1:1", "cloud": "lab"}, "cloud", "CRDBMESH_CLOUD"),
    ],
)
def test_a_difference_is_refused_with_both_named_and_the_remedy(
    change: dict[str, str], field: str, remedy: str
) -> None:
    with pytest.raises(ElsewhereError) as caught:
        birth.compare("prod", birth.of(PROD, None), PROD.model_copy(update=change))
    (found,) = caught.value.findings
    assert found.field == field
    assert next(iter(change.values())) in found.value
    assert getattr(PROD, next(iter(change))) in found.reason
    assert remedy in found.remedy


@pytest.mark.parametrize("same", [{}, {"tenant_id": ""}, {"subscription_id": "S-1"}, {"subscription_name": "renamed"}])
def test_the_same_place_is_the_same_by_its_ids(same: dict[str, str]) -> None:
    birth.compare("prod", birth.of(PROD, "id"), PROD.model_copy(update=same))
