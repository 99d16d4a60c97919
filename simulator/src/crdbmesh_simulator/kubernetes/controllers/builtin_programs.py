"""Programs of images that belong to the control plane's own chores: certgen, the provisioner, metrics-server, helm.

Certgen after cilium/certgen v0.4: it signs the certificates of `CILIUM_CERTGEN_CONFIG` with the CA in Secret
`cilium-ca`, which it makes when there is none and it may.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import yaml

from crdbmesh_simulator.kubernetes.controllers.cilium import signing
from crdbmesh_simulator.kubernetes.controllers.helm.job import HelmJob
from crdbmesh_simulator.kubernetes.controllers.objects import Obj
from crdbmesh_simulator.kubernetes.controllers.site import Site, api_unreachable
from crdbmesh_simulator.kubernetes.programs import Container, ExecResult, HttpAnswer, Program

_CERTGEN_S = 2.0
_CA_DAYS = 1095


class Quiet(Program):
    """A program that runs, answers its health checks, and is of no further interest."""

    def __init__(self, container: Container, site: Site) -> None:
        super().__init__(container)
        self.site = site
        self._ports = {int(port["containerPort"]) for port in container.spec.get("ports") or []}

    def tick(self) -> None:
        """Nothing to do."""

    def http_get(self, port: int, path: str, *, tls: bool) -> HttpAnswer | None:  # noqa: ARG002 - the interface
        """OK on each declared port."""
        return HttpAnswer(200, b"ok", "text/plain") if port in self._ports else None

    def exec(self, argv: Sequence[str], stdin: bytes = b"") -> ExecResult:  # noqa: ARG002 - the interface
        """These images hold nothing but their program."""
        self.site.world.not_known("exec", f"{self.container.image}: {' '.join(argv)}")
        text = f'exec: "{argv[0]}": executable file not found in $PATH\n'
        return ExecResult(stderr=text.encode(), exit_code=127)


class Certgen(Quiet):
    """cilium-certgen."""

    def __init__(self, container: Container, site: Site) -> None:
        super().__init__(container, site)
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
            wanted = yaml.safe_load(self.container.env.get("CILIUM_CERTGEN_CONFIG", "")) or {}
            for leaf in wanted.get("certs") or []:
                cert, key = authority.sign(leaf)
                self._write(str(leaf["namespace"]), str(leaf["name"]), "kubernetes.io/tls",
                            {"ca.crt": authority.cert_pem, "tls.crt": cert, "tls.key": key})  # fmt: skip
                self.log.append(f'level=info msg="Created secret" name={leaf["name"]} namespace={leaf["namespace"]}')
        except (signing.CertificateError, yaml.YAMLError) as error:
            self._fail(str(error))
            return
        self.exit_code = 0

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
        if options.get("ca-generate", "false") == "false":
            raise signing.CertificateError("no CA: neither found nor to be generated")
        made = signing.Authority.make(options.get("ca-common-name", "Cilium CA"), days=_CA_DAYS)
        self._write(space, name, "Opaque", {"ca.crt": made.cert_pem, "ca.key": made.key_pem})
        return made

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
    ("rancher/local-path-provisioner", Quiet),
    ("rancher/mirrored-metrics-server", Quiet),
    ("rancher/mirrored-library-traefik", Quiet),
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
