"""The programs that do the control plane's own chores, and so work on its objects: certgen and helm.

Certgen after cilium/certgen v0.4: it signs the certificates of `CILIUM_CERTGEN_CONFIG` with the CA in Secret
`cilium-ca`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import yaml

from crdbmesh_simulator.kubernetes.controllers.cilium import signing
from crdbmesh_simulator.kubernetes.controllers.helm.job import HelmJob
from crdbmesh_simulator.kubernetes.controllers.objects import Obj
from crdbmesh_simulator.kubernetes.controllers.site import Site, api_unreachable
from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, Program

_CERTGEN_S = 2.0


class Certgen(Program):
    """cilium-certgen."""

    def __init__(self, container: Container, site: Site) -> None:
        super().__init__(container)
        self.site = site
        self._due = site.now() + _CERTGEN_S

    def tick(self) -> None:
        """Write the certificates once, then exit."""
        if self.exit_code is not None or self.site.now() < self._due:
            return
        reason = api_unreachable(self.site, self.container)
        if reason is not None:
            self._fail(f"failed to get K8s client: {reason}")
            return
        try:
            authority = self._authority()
            wanted = yaml.load(self.container.env.get("CILIUM_CERTGEN_CONFIG", ""), Loader=yaml.CSafeLoader) or {}
            for leaf in wanted.get("certs") or []:
                cert, key = authority.sign(leaf)
                self._write(str(leaf["namespace"]), str(leaf["name"]), "kubernetes.io/tls",
                            {"ca.crt": authority.cert_pem, "tls.crt": cert, "tls.key": key})  # fmt: skip
                self.log.append(f'level=info msg="Created secret" name={leaf["name"]} namespace={leaf["namespace"]}')
        except (signing.CertificateError, yaml.YAMLError) as error:
            self._fail(str(error))
            return
        self.exit_code = 0

    def exec(self, argv: Sequence[str], stdin: bytes = b"") -> ExecResult:  # noqa: ARG002 - the interface
        """The image holds nothing but its program."""
        self.site.world.not_known("exec", f"{self.container.image}: {' '.join(argv)}")
        return ExecResult(stderr=f'exec: "{argv[0]}": executable file not found in $PATH\n'.encode(), exit_code=127)

    def _fail(self, why: str) -> None:
        self.log.append(f'level=error msg="{why}"')
        self.exit_code = 1

    def _authority(self) -> signing.Authority:
        options = dict(word.removeprefix("--").partition("=")[::2] for word in self.container.argv[1:])
        space, name = options.get("ca-secret-namespace", "kube-system"), options.get("ca-secret-name", "cilium-ca")
        secret = self.site.api.find("Secret", space, name)
        if secret is not None and "ca-reuse-secret" in options:
            data = {key: base64.b64decode(text) for key, text in (secret.get("data") or {}).items()}
            if "ca.crt" not in data or "ca.key" not in data:
                raise signing.CertificateError(f"Secret {space}/{name} has no ca.crt or ca.key")
            return signing.Authority.load(data["ca.crt"], data["ca.key"])
        raise signing.CertificateError("no CA: not found, and making one is not part of this simulated world")

    def _write(self, space: str, name: str, kind: str, files: dict[str, bytes]) -> None:
        data = {key: base64.b64encode(content).decode() for key, content in files.items()}
        existing = self.site.api.find("Secret", space, name)
        if existing is not None:
            changed = self.site.api.copy(existing)
            changed["data"] = data
            self.site.api.replace(changed)
            return
        secret: Obj = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": space},
                       "type": kind, "data": data}  # fmt: skip
        self.site.api.create(secret)


_PROGRAMS: tuple[tuple[str, Callable[[Container, Site], Program]], ...] = (
    ("rancher/klipper-helm", HelmJob),
    ("cilium/certgen", Certgen),
)


def start(site: Site, container: Container, other: Callable[[Container], Program]) -> Program:
    """The container's program: one of these, or whatever `other` knows.

    Raises:
        LookupError: no registry has the image.
    """
    image = container.image.split("@")[0].rsplit(":", 1)[0]
    for name, make in _PROGRAMS:
        if image == name or image.endswith(f"/{name}"):
            return make(container, site)
    return other(container)
