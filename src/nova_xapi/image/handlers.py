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
"""Which way images take: what ``[xenserver] image_handler`` asks for, and what the host can do.

Nothing in dom0 is required: a handler that needs what is not there gives way to ``vdi_remote_stream``, which needs
nothing, and the log says so once, when the service starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from oslo_log import log as logging

from xapikit.client import XapiClient
from xapikit.client.errors import XapiError

LOG = logging.getLogger(__name__)

#: the handler that every host can serve: this service streams between Glance and XAPI's own HTTP handlers
STREAM: Final = "vdi_remote_stream"
#: plug-in and function that tell the version of the plug-ins
PROBE: Final = ("dom0_plugin_version.py", "get_version")
#: what each other handler needs that this release does not bring
_LACKING: Final[Mapping[str, str]] = {
    "direct_vhd": "plug-ins that exchange VHD chains with Glance in dom0",
    "vdi_local_dev": "disks attached to the domain that this service runs in",
}


def choose(client: XapiClient, host: str, wanted: str) -> str:
    """The handler in effect on a host (reference); costs a call unless ``wanted`` is `STREAM`.

    Raises transport errors of the call; a host that refuses it has no plug-ins.
    """
    if wanted == STREAM:
        return STREAM
    reason = f"it needs {_LACKING[wanted]}"
    if wanted == "direct_vhd":
        version = plugin_version(client, host)
        reason += (
            ", which the host does not have" if version is None else f"; those of version {version} are not used yet"
        )
    LOG.warning("[xenserver] image_handler = %s gives way to %s: %s", wanted, STREAM, reason)
    return STREAM


def plugin_version(client: XapiClient, host: str) -> str | None:
    """Version of the dom0 plug-ins; None where there are none."""
    plugin, function = PROBE
    try:
        version: str = client.call("host.call_plugin", host, plugin, function, {}, repeatable=True)
    except XapiError as error:
        LOG.debug("no dom0 plug-ins: %s", error)
        return None
    return version
