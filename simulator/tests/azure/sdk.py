"""Microsoft's own SDK, pointed at a simulated Azure Resource Manager."""

from __future__ import annotations

import time
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import CustomHookPolicy
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.network import NetworkManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient


class Sdk:
    """Microsoft's SDK, pointed at a served subscription."""

    def __init__(self, url: str, ca_file: str, subscription: str, token: str) -> None:
        common: dict[str, Any] = {
            "base_url": url,
            "credential_scopes": [f"{url}/.default"],
            "connection_verify": ca_file,
            "use_env_settings": False,
            "polling_interval": 0.05,
            "custom_hook_policy": _Hurry(),
        }
        self.resources = ResourceManagementClient(_Credential(token), subscription, **common)
        self.network = NetworkManagementClient(_Credential(token), subscription, **common)
        self.compute = ComputeManagementClient(_Credential(token), subscription, **common)
        self.subscriptions = SubscriptionClient(_Credential(token), **common)

    def close(self) -> None:
        for client in (self.resources, self.network, self.compute, self.subscriptions):
            client.close()


class _Hurry(CustomHookPolicy[Any, Any]):
    """Asks again soon: the world's pace is many times that of the seconds in which the service says to wait."""

    def on_response(self, request: Any, response: Any) -> None:
        response.http_response.headers.pop("Retry-After", None)
        super().on_response(request, response)


class _Credential:
    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)
