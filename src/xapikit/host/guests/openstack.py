# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The guest agent of OpenStack: answers JSON requests (``data/host/ID``) with JSON (``data/guest/ID``).

Names, codes and the exchange of passwords are those of the agents that were published.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from xapikit.host.guests import settings as names
from xapikit.host.guests.exchange import KeyExchange
from xapikit.host.guests.settings import GuestSettings
from xapikit.host.xenstore import XenstoreError

LOG = logging.getLogger(__name__)

COMMANDS: Final = (
    "version", "features", "keyinit", "password", "resetnetwork", "file_inject", "injectfile", "agentupdate",
    "kmsactivate",
)  # fmt: skip
DONE, KEY, UNKNOWN, FAILED = "0", "D0", "404", "500"


class OpenStackAgent:
    """``reset_network`` makes the guest look at ``vm-data/networking`` again."""

    def __init__(self, settings: GuestSettings, reset_network: Callable[[], None]) -> None:
        self._settings = settings
        self._reset_network = reset_network
        self._exchange: KeyExchange | None = None
        self._password = ""
        self.files: dict[str, bytes] = {}
        """Files that were put into the guest, by path."""
        self.updates: list[str] = []
        """URLs of updates that were asked for."""
        self.network_reset = False
        """Whether the guest has taken its addresses from ``vm-data/networking``."""

    def has_password(self, password: str) -> bool:
        """Whether this is the administrator's password by now."""
        return bool(self._password) and self._password == password

    def answer(self, request: bytes) -> str:
        """The answer to one request, whatever it is."""
        code, message = FAILED, "not a request"
        try:
            asked = json.loads(request)
            if isinstance(asked, dict):
                code, message = self._do(str(asked.get("name")), asked.get("value"))
        except (ValueError, KeyError, TypeError, binascii.Error, XenstoreError) as error:
            LOG.info("a request to the agent failed: %s", type(error).__name__)
            message = "the request is not understood"
        return json.dumps({"returncode": code, "message": message})

    def _do(self, name: str, value: Any) -> tuple[str, str]:
        match name:
            case "version":
                return DONE, self._settings.text(names.AGENT_VERSION, "1.39.1")
            case "features":
                return DONE, ",".join(COMMANDS)
            case "keyinit":
                self._exchange = KeyExchange(int(value))
                return KEY, str(self._exchange.public)
            case "password":
                return self._set_password(str(value))
            case "resetnetwork":
                self.network_reset = True
                self._reset_network()
            case "file_inject":
                file = value if isinstance(value, dict) else json.loads(value)
                path = base64.b64decode(file["b64_path"], validate=True).decode()
                self.files[path] = base64.b64decode(file["b64_file"], validate=True)
            case "injectfile":
                name_of_file, separator, content = base64.b64decode(value, validate=True).partition(b",")
                if not separator:
                    return FAILED, "no comma between path and content"
                self.files[name_of_file.decode()] = content
            case "agentupdate":
                url, comma, _ = str(value).partition(",")
                if not comma:
                    return FAILED, "no comma between URL and MD5"
                self.updates.append(url)
            case "kmsactivate":
                return DONE, ""
            case _:
                return UNKNOWN, f"no such command: {name}"
        return DONE, ""

    def _set_password(self, encrypted: str) -> tuple[str, str]:
        if self._exchange is None:
            return FAILED, "no key was exchanged"
        self._password = self._exchange.decrypt(encrypted)
        return DONE, ""
