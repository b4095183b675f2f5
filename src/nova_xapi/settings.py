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
"""What a compute service was told, resolved once in ``init_host`` and passed on; nothing else reads configuration.

``[xenserver:HOST]`` overrides ``[xenserver]`` option by option, so that several compute services can share one file
(and one process in tests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from oslo_config import cfg

from nova_xapi import conf as options
from nova_xapi.errors import BadOption
from xapikit.client import Secret, TlsPolicy
from xapikit.client.endpoint import Endpoint

CacheImages = Literal["all", "some", "none"]


@dataclass(frozen=True)
class Settings:
    """Of one compute service. Times in seconds, sizes as their names say."""

    host: str
    """Name of the compute service, ``CONF.host``; also the name of its node."""
    urls: tuple[str, ...]
    username: str
    password: Secret
    tls: TlsPolicy = field(default_factory=TlsPolicy)
    host_uuid: str = ""
    """Of the XAPI host to manage; empty: found by the address of the URL."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    login_timeout: float = 10.0
    connections: int = 5
    call_timeout: float = 120.0
    running_timeout: float = 60.0
    stopped_event_delay: float = 15.0
    image_handler: str = "direct_vhd"
    cache_images: CacheImages = "all"
    sr_matching_filter: str = "default-sr:true"
    integration_bridge: str = "br-int"
    console_relay_address: str = "127.0.0.1"
    console_relay_port: int = 0
    console_log_directory: Path = Path("/var/lib/nova/xapi-consoles")
    console_log_bytes: int = 1 << 20
    vif_plugging_timeout: int = 300
    """0: do not wait for ports."""
    vif_plugging_is_fatal: bool = True
    reserved_memory_mb: int = 512
    reserved_cpus: int = 0
    temporary_directory: Path | None = None
    """For what must be staged (config drives); None: the system's."""


class _Values:
    """Options of one service: those of its own group win where somebody set them."""

    def __init__(self, conf: cfg.ConfigOpts, host: str) -> None:
        options.register(conf)
        options.register_for_host(conf, host)
        self._conf = conf
        self._own = options.host_group(host)

    def __getattr__(self, name: str) -> Any:
        group = self._own if self._is_set(name) else options.GROUP
        return getattr(self._conf[group], name)

    def _is_set(self, name: str) -> bool:
        found = self._conf.get_location(name, self._own)
        return found is not None and found.location not in (cfg.Locations.opt_default, cfg.Locations.set_default)


def resolve(conf: cfg.ConfigOpts, host: str) -> Settings:
    """Read everything for the compute service ``host``. Raises BadOption, naming the option and what it takes."""
    values = _Values(conf, host)
    return Settings(
        host=host,
        urls=_urls(values.connection_url),
        username=values.connection_username,
        password=_password(values),
        tls=_tls(values),
        host_uuid=values.connection_host_uuid or "",
        addresses=dict(values.connection_addresses),
        login_timeout=float(values.login_timeout),
        connections=values.connection_concurrent,
        call_timeout=float(values.call_timeout),
        running_timeout=float(values.running_timeout),
        stopped_event_delay=values.stopped_event_delay,
        image_handler=values.image_handler,
        cache_images=cast(CacheImages, values.cache_images),
        sr_matching_filter=values.sr_matching_filter,
        integration_bridge=values.ovs_integration_bridge,
        console_relay_address=values.console_relay_address or conf.my_ip,
        console_relay_port=values.console_relay_port,
        console_log_directory=Path(values.console_log_directory),
        console_log_bytes=values.console_log_size * 1024,
        vif_plugging_timeout=conf.vif_plugging_timeout or 0,
        vif_plugging_is_fatal=conf.vif_plugging_is_fatal,
        reserved_memory_mb=conf.reserved_host_memory_mb,
        reserved_cpus=conf.reserved_host_cpus,
        temporary_directory=Path(conf.tempdir) if getattr(conf, "tempdir", None) else None,
    )


def _urls(given: list[str] | None) -> tuple[str, ...]:
    urls = tuple(url.strip() for url in given or () if url.strip())
    if not urls:
        raise BadOption("connection_url", "is not set", "connection_url = https://ADDRESS_OF_THE_HOST")
    for url in urls:
        try:
            Endpoint.parse(url)
        except ValueError as error:
            raise BadOption("connection_url", str(error), "connection_url = https://ADDRESS_OF_THE_HOST") from None
    return urls


def _password(values: _Values) -> Secret:
    if values.connection_password is not None:
        return Secret(values.connection_password)
    file = values.connection_password_file
    if not file:
        raise BadOption("connection_password", "is not set, nor is connection_password_file")
    try:
        return Secret(Path(file).read_text().partition("\n")[0])
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption("connection_password_file", f"cannot be read: {error}") from None


def _tls(values: _Values) -> TlsPolicy:
    ca_file = values.connection_ca_file or None
    if ca_file and not Path(ca_file).is_file():
        raise BadOption("connection_ca_file", f"names {ca_file}, which is no file")
    try:
        policy = TlsPolicy(
            ca_file=ca_file,
            fingerprint=values.connection_fingerprint or None,
            option_line=f"[{options.GROUP}] connection_fingerprint = {{fingerprint}}",
        )
        policy.pins  # noqa: B018 - parsed now, so that a typing mistake shows here
    except ValueError as error:
        raise BadOption("connection_fingerprint", str(error)) from None
    return policy
