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
"""Options of the driver: group ``[xenserver]``, overridden per compute service by ``[xenserver:HOST]``.

Only :mod:`nova_xapi.settings` reads them. Names and defaults are the historic ones where they still make sense.
"""

import copy
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

GROUP = "xenserver"

CONNECTION = [
    cfg.ListOpt(
        "connection_url",
        help="""
URL of the XAPI host, ``https://ADDRESS`` (several members of a pool may be given, separated by commas: they are tried
in turn). With http everything, the password included, crosses the network in clear; this works while the host answers
it, and is warned about.
""",
    ),
    cfg.StrOpt(
        "connection_username",
        default="root",
        help="Name of the user as whom this service logs in to XAPI.",
    ),
    cfg.StrOpt("connection_password", secret=True, help="Password for XAPI. Or connection_password_file."),
    cfg.StrOpt(
        "connection_password_file",
        help="File whose first line is the password, for those who keep passwords out of configuration files.",
    ),
    cfg.StrOpt(
        "connection_ca_file",
        help="File with the certificate authority (PEM) that signed the hosts' certificates; else the system's apply.",
    ),
    cfg.StrOpt(
        "connection_fingerprint",
        help="""
SHA-256 fingerprints of the hosts' certificates, separated by commas (``SHA256:AB:CD:...``). Where given, a host must
show one of these, whoever signed it. A refusal names the fingerprint found; compare it with what the host shows on its
own console before accepting it.
""",
    ),
    cfg.StrOpt(
        "connection_host_uuid",
        help="""
UUID of the one XAPI host that this compute service manages. Where it is not given, the host is the one whose
management address, host name or name is that of connection_url, or the only one of its pool.
""",
    ),
    cfg.DictOpt(
        "connection_addresses",
        default={},
        help="""
For pools behind address translation: ``MANAGEMENT_ADDRESS:ADDRESS`` pairs, the addresses at which this service reaches
hosts that the pool knows by their management addresses.
""",
    ),
    cfg.IntOpt("login_timeout", default=10, min=1, help="Seconds within which a log-in must succeed at start."),
    cfg.IntOpt(
        "connection_concurrent",
        default=5,
        min=1,
        help="Most XenAPI calls under way at a time; event streams, transfers and consoles do not count.",
    ),
    cfg.IntOpt("call_timeout", default=120, min=1, help="Seconds within which a XenAPI call must be answered."),
]

GUESTS = [
    cfg.IntOpt(
        "running_timeout",
        default=60,
        min=1,
        help="Seconds within which a guest must be seen running after it was started; else the operation fails.",
    ),
    cfg.FloatOpt(
        "stopped_event_delay",
        default=15.0,
        min=0,
        help="""
Seconds for which the news that a guest has stopped is held back, since Nova stops the server for good. It is dropped
when a reboot or migration explains the stop in that time.
""",
    ),
]

DISKS = [
    cfg.StrOpt(
        "image_handler",
        default="direct_vhd",
        choices=[
            (
                "direct_vhd",
                "dom0 plug-ins exchange VHD chains with Glance; falls back to vdi_remote_stream without them",
            ),
            ("vdi_local_dev", "gzip'd tar of the raw disk through a device of the compute domain"),
            ("vdi_remote_stream", "this service streams between the image service and the host; any type of SR"),
        ],
        help="How images get to the host and back.",
    ),
    cfg.StrOpt(
        "cache_images",
        default="all",
        choices=["all", "some", "none"],
        help="""
Which images are kept on the SR as base VDIs that disks are cloned from: ``all``, ``some`` (those with the image
property ``cache_in_nova=true``) or ``none``.
""",
    ),
    cfg.StrOpt(
        "sr_matching_filter",
        default="default-sr:true",
        help="""
The SR for all disks of instances: ``default-sr:true`` for the pool's default SR, or ``other-config:KEY=VALUE`` for the
first SR with that pair that is attached to the host, as in ``other-config:i18n-key=local-storage``.
""",
    ),
]

NETWORK = [
    cfg.StrOpt(
        "ovs_integration_bridge",
        default="br-int",
        help="Name of Open vSwitch's integration bridge in dom0, to which the interfaces of guests are connected.",
    ),
]

CONSOLE = [
    cfg.StrOpt(
        "console_relay_address",
        default="$my_ip",
        sample_default="<my_ip>",
        help="""
Address at which this service offers guests' VNC consoles to Nova's proxy. Hosts speak TLS and older RFB versions than
the proxy accepts, so that the console passes through this service; the host's own address, which
``[vnc] server_proxyclient_address`` used to be, is not needed.
""",
    ),
    cfg.PortOpt("console_relay_port", default=0, min=0, help="Port of the console relay; 0 lets the system choose."),
    cfg.StrOpt(
        "console_log_directory",
        default="$state_path/xapi-consoles",
        sample_default="<state_path>/xapi-consoles",
        help="Where guests' text consoles are recorded for the console log, in a directory per service.",
    ),
    cfg.IntOpt("console_log_size", default=1024, min=16, help="KiB of its text console that are kept of each server."),
]

OPTIONS: Sequence[Any] = (*CONNECTION, *GUESTS, *DISKS, *NETWORK, *CONSOLE)


def host_group(host: str) -> str:
    """The group whose values override ``[xenserver]`` for one compute service."""
    return f"{GROUP}:{host}"


def register(conf: cfg.ConfigOpts) -> None:
    """Register ``[xenserver]``; again is a no-op."""
    conf.register_opts(OPTIONS, group=GROUP)


def register_for_host(conf: cfg.ConfigOpts, host: str) -> None:
    """Register ``[xenserver:HOST]``; again is a no-op. Its options have no defaults of their own that would count."""
    conf.register_opts([copy.copy(option) for option in OPTIONS], group=host_group(host))


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo-config-generator and Sphinx: entry point ``oslo.config.opts``."""
    return [(GROUP, list(OPTIONS))]
