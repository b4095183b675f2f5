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
"""Class ``SM`` and the SRs of a freshly installed host (wire reference 4.1)."""

from __future__ import annotations

from xapikit.host.inventory import Fresh, FreshHost, contributes
from xapikit.host.storage.drivers import refresh_managers
from xapikit.host.store import Transaction


@contributes(rank=40)
def storage_managers(tx: Transaction, fresh: Fresh) -> None:
    refresh_managers(tx, fresh.settings)


@contributes(rank=41)
def storage_repositories(tx: Transaction, fresh: Fresh) -> None:
    for host in fresh.hosts:
        host.local_sr = _local(tx, host)
        _iso(tx, fresh, host)
        _drives(tx, host)
    _tools(tx, fresh)
    tx.update("pool", fresh.pool, default_SR=fresh.hosts[0].local_sr, suspend_image_SR=fresh.hosts[0].local_sr)


def _local(tx: Transaction, host: FreshHost) -> str:
    sr = tx.create(
        "SR",
        {
            "name_label": "Local storage",
            "type": "ext",
            "content_type": "user",
            "other_config": {"i18n-key": "local-storage", "i18n-original-value-name_label": "Local storage"},
            "sm_config": {"devserial": ""},
        },
    )
    device = "/dev/disk/by-id/ata-EMBEDDED-part3"
    tx.create("PBD", {"SR": sr, "host": host.ref, "device_config": {"device": device}, "currently_attached": True})
    return sr


def _iso(tx: Transaction, fresh: Fresh, host: FreshHost) -> None:
    """A directory of the state directory: files put there are CDs after a scan."""
    sr = tx.create(
        "SR",
        {
            "name_label": "ISO library",
            "name_description": f"ISO images in iso/{host.name} of the state directory",
            "type": "iso",
            "content_type": "iso",
            "other_config": {"auto-scan": "true"},
        },
    )
    location = str(fresh.settings.state / "iso" / host.name)
    config = {"location": location, "legacy_mode": "true"}
    tx.create("PBD", {"SR": sr, "host": host.ref, "device_config": config, "currently_attached": True})


def _drives(tx: Transaction, host: FreshHost) -> None:
    for name, description, content, kind, location, key in (
        ("DVD drives", "Physical DVD drives", "iso", "cd", "/dev/xapi/cd", "local-hotplug-cd"),
        ("Removable storage", "Physical removable storage", "disk", "block", "/dev/xapi/block", "local-hotplug-disk"),
    ):
        sr = tx.create(
            "SR",
            {
                "name_label": name,
                "name_description": description,
                "type": "udev",
                "content_type": content,
                "sm_config": {"type": kind},
                "other_config": {
                    "i18n-key": key,
                    "i18n-original-value-name_label": name,
                    "i18n-original-value-name_description": description,
                },
            },
        )
        config = {"location": location}
        tx.create("PBD", {"SR": sr, "host": host.ref, "device_config": config, "currently_attached": True})


def _tools(tx: Transaction, fresh: Fresh) -> None:
    sr = tx.create(
        "SR",
        {
            "name_label": "XCP-ng Tools",
            "name_description": "XCP-ng Tools ISOs",
            "type": "iso",
            "content_type": "iso",
            "shared": True,
            "is_tools_sr": True,
            "other_config": {
                "xenserver_tools_sr": "true",
                "i18n-key": "xenserver-tools",
                "i18n-original-value-name_label": "XCP-ng Tools",
                "i18n-original-value-name_description": "XCP-ng Tools ISOs",
            },
        },
    )
    config = {"location": str(fresh.settings.state / "iso" / "tools"), "legacy_mode": "true"}
    for host in fresh.hosts:
        tx.create("PBD", {"SR": sr, "host": host.ref, "device_config": config, "currently_attached": True})
