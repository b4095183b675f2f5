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
"""A compute service binds to its host, or says clearly why it does not start; then it leaves nothing running."""

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from nova import exception

from driver_rig import CONF, Rig
from nova_xapi import conf as options
from nova_xapi import settings
from nova_xapi.driver import XenAPIDriver
from nova_xapi.errors import BadOption, HostRefused
from nova_xapi.storage.sr import BadFilter, SrNotFound

OURS = ("xapi-events", "xapi-calls", "xapi-reconciler", "xapi-power-events", "console-")


def refusal(rig: Rig, kind: type[Exception] = HostRefused, **overrides: Any) -> str:
    """What the service says instead of starting; nothing of it is left."""
    threads = set(threading.enumerate())
    with pytest.raises(kind) as refused:
        rig.driver(**overrides)
    for thread in set(threading.enumerate()) - threads:
        if thread.name.startswith(OURS):
            thread.join(5)
            assert not thread.is_alive(), thread.name
    assert rig.xapi.password not in str(refused.value)
    return str(refused.value)


def test_it_binds_by_uuid(pool: Rig) -> None:
    driver = pool.driver(host=1)
    assert driver.service.conn.host["name_label"] == "host2"
    assert driver.service.conn.host_ref == pool.xapi.hosts[1].ref


def test_it_binds_by_the_address_of_its_url(pool: Rig) -> None:
    driver = pool.driver(connection_url=[pool.xapi.urls[1]], connection_host_uuid=None)
    assert driver.service.conn.host["name_label"] == "host2"


def test_it_binds_to_the_only_host_there_is(rig: Rig) -> None:
    assert rig.driver(connection_host_uuid=None).service.conn.host_uuid == rig.xapi.hosts[0].uuid


def test_an_address_behind_translation_is_understood(pool: Rig) -> None:
    managed = pool.xapi.hosts[1].address
    reached = pool.xapi.urls[1].removeprefix("https://").replace("127.0.0.2", "localhost")
    driver = pool.driver(
        connection_url=[pool.xapi.urls[0].replace("127.0.0.1", "localhost")],
        connection_host_uuid=pool.xapi.hosts[1].uuid,
        connection_addresses={managed: reached},
    )
    assert driver.service.conn.host["address"] == managed


def test_a_wrong_password_is_refused(rig: Rig) -> None:
    text = refusal(rig, connection_password="wrong password")
    assert "user 'root'" in text
    assert "connection_password" in text
    assert "wrong password" not in text


def test_a_wrong_user_is_refused(rig: Rig) -> None:
    assert "user 'nobody'" in refusal(rig, connection_username="nobody")


def test_a_wrong_certificate_is_refused_with_the_line_that_would_accept_it(pool: Rig) -> None:
    text = refusal(pool, connection_fingerprint="SHA256:" + ":".join(["00"] * 32))
    assert f"connection_fingerprint = {pool.xapi.fingerprint}" in text
    # that line is right
    pool.driver(connection_fingerprint=pool.xapi.fingerprint)


def test_an_unknown_authority_is_refused(pool: Rig) -> None:
    assert str(pool.xapi.fingerprint) in refusal(pool, connection_fingerprint=None)


def test_a_wrong_host_name_is_refused(rig: Rig) -> None:
    text = refusal(rig, connection_url=["https://no-such-host.invalid"], login_timeout=2)
    assert "no-such-host.invalid" in text
    assert "connection_url" in text


def test_a_closed_port_is_refused(rig: Rig) -> None:
    assert "http://127.0.0.1:1" in refusal(rig, connection_url=["http://127.0.0.1:1"], login_timeout=1)


def test_an_unknown_uuid_is_refused_with_the_hosts_there_are(pool: Rig) -> None:
    text = refusal(pool, connection_host_uuid="11111111-2222-3333-4444-555555555555")
    for host in pool.xapi.hosts:
        assert host.uuid in text
        assert host.name in text


def test_a_host_that_cannot_be_told_from_others_is_refused(pool: Rig) -> None:
    with pool.xapi.pool.store.transaction() as tx:
        for number, host in enumerate(pool.xapi.hosts):
            tx.update("host", host.ref, address=f"10.9.8.{number}")
    text = refusal(pool, connection_host_uuid=None)
    assert "connection_host_uuid" in text
    assert all(host.uuid in text for host in pool.xapi.hosts)


def test_a_disabled_host_is_refused(rig: Rig) -> None:
    host = rig.xapi.hosts[0]
    rig.client.call("host.disable", host.ref)
    text = refusal(rig)
    assert "disabled" in text
    assert f"xe host-enable uuid={host.uuid}" in text
    rig.client.call("host.enable", host.ref)
    rig.driver()


def test_a_host_in_maintenance_is_refused(rig: Rig) -> None:
    host = rig.xapi.hosts[0]
    rig.client.call("host.disable", host.ref)
    rig.client.call("host.add_to_other_config", host.ref, "MAINTENANCE_MODE", "true")
    assert "maintenance mode" in refusal(rig)


def test_a_host_that_is_down_is_refused(pool: Rig) -> None:
    metrics = pool.rows("host")[pool.xapi.hosts[1].ref]["metrics"]
    with pool.xapi.pool.store.transaction() as tx:
        tx.update("host_metrics", metrics, live=False)
    text = refusal(pool, host=1)
    assert "host2" in text
    assert "down" in text


def test_a_filter_that_matches_no_sr_is_refused_with_the_srs_there_are(rig: Rig) -> None:
    text = refusal(rig, SrNotFound, sr_matching_filter="other-config:colour=green")
    assert "colour=green" in text
    for sr in rig.rows("SR").values():
        assert sr["uuid"] in text
    assert "i18n-key=local-storage" in text


@pytest.mark.parametrize("text", ["local", "default-sr:false", "other-config:key", "type:ext", "other-config:=x"])
def test_a_filter_that_is_none_is_refused_with_its_two_forms(rig: Rig, text: str) -> None:
    said = refusal(rig, BadFilter, sr_matching_filter=text)
    assert text in said
    assert "default-sr:true" in said
    assert "other-config:KEY=VALUE" in said


def test_both_forms_of_the_filter_choose_an_sr_of_this_host(pool: Rig) -> None:
    for host in (0, 1):
        driver = pool.driver(host=host, sr_matching_filter='"other-config:i18n-key=local-storage"')
        resource = driver.get_available_resource(driver.service.settings.host)
        sr = pool.client.call("SR.get_by_uuid", resource["stats"]["xapi_sr_uuid"])
        pbds = [pool.rows("PBD")[pbd] for pbd in pool.rows("SR")[sr]["PBDs"]]
        assert [pbd["host"] for pbd in pbds] == [pool.xapi.hosts[host].ref]
    default = next(iter(pool.rows("pool").values()))["default_SR"]
    driver = pool.driver(host=0, sr_matching_filter="default-sr:true")
    resource = driver.get_available_resource(driver.service.settings.host)
    assert resource["stats"]["xapi_sr_uuid"] == pool.rows("SR")[default]["uuid"]


def test_a_default_sr_that_this_host_does_not_have_is_refused(pool: Rig) -> None:
    assert "of no use to this host" in refusal(pool, SrNotFound, host=1, sr_matching_filter="default-sr:true")


def test_a_relay_port_that_is_taken_is_refused(rig: Rig) -> None:
    driver = rig.driver()
    assert "console_relay_port" in refusal(rig, console_relay_port=driver.service.relay.port)


def test_a_console_directory_that_is_a_file_is_refused(rig: Rig) -> None:
    file = rig.directory / "file"
    file.write_text("")
    assert "console_log_directory" in refusal(rig, console_log_directory=str(file))


def test_the_integration_network_is_made_once_for_the_pool_and_is_not_managed(pool: Rig) -> None:
    pool.driver(host=0)
    pool.driver(host=1)
    networks = [row for row in pool.rows("network").values() if row["bridge"] == "br-int"]
    assert len(networks) == 1
    assert networks[0]["managed"] is False


def test_http_is_used_when_the_url_says_so_with_a_warning(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    rig.driver()
    assert "clear text; use https" in caplog.text


def test_nothing_that_is_logged_holds_the_password_or_a_session(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    driver = rig.driver()
    session = driver.service.conn.client.session()
    rig.stop(driver.service.settings.host)
    assert rig.xapi.password not in caplog.text
    assert session not in caplog.text


def test_a_driver_that_was_not_started_is_not_ready() -> None:
    driver = XenAPIDriver(None)
    for call in (driver.get_available_nodes, driver.list_instance_uuids, driver.get_host_ip_addr):
        with pytest.raises(exception.VirtDriverNotReady):
            call()
    driver.cleanup_host("never started")


# ------------------------------------------------------------------------------------------------------- settings


def resolved(name: str, **values: Any) -> settings.Settings:
    options.register(CONF)
    options.register_for_host(CONF, name)
    for option, value in {"connection_url": ["https://a"], "connection_password": "p", **values}.items():
        CONF.set_override(option, value, options.host_group(name))
    return settings.resolve(CONF, name)


def test_options_of_one_service_override_those_of_all(rig: Rig) -> None:
    options.register(CONF)
    CONF.set_override("connection_username", "all", options.GROUP)
    CONF.set_override("running_timeout", 7, options.GROUP)
    try:
        one, other = resolved("one", connection_username="one"), resolved("other")
    finally:
        CONF.clear_override("connection_username", options.GROUP)
        CONF.clear_override("running_timeout", options.GROUP)
    assert (one.username, other.username) == ("one", "all")
    assert one.running_timeout == other.running_timeout == 7


def test_a_configuration_file_has_a_section_for_a_service(tmp_path: Path) -> None:
    from oslo_config import cfg

    file = tmp_path / "nova.conf"
    file.write_text(
        "[xenserver]\nconnection_url = http://10.0.0.1\nconnection_password = secret\novs_integration_bridge = br-int\n"
        "[xenserver:compute-2.example]\nconnection_url = https://10.0.0.2, https://10.0.0.3\n"
    )
    conf = cfg.ConfigOpts()
    conf.register_opts(
        [
            cfg.StrOpt("my_ip", default="192.0.2.1"), cfg.StrOpt("state_path", default="/var/lib/nova"),
            cfg.IntOpt("vif_plugging_timeout", default=300), cfg.BoolOpt("vif_plugging_is_fatal", default=True),
            cfg.IntOpt("reserved_host_memory_mb", default=512), cfg.IntOpt("reserved_host_cpus", default=0),
        ]
    )  # fmt: skip
    conf([], project="nova", default_config_files=[str(file)])
    first, second = settings.resolve(conf, "compute-1"), settings.resolve(conf, "compute-2.example")
    assert first.urls == ("http://10.0.0.1",)
    assert second.urls == ("https://10.0.0.2", "https://10.0.0.3")
    assert second.password.reveal() == "secret"
    assert first.console_relay_address == "192.0.2.1"
    assert first.console_log_directory == Path("/var/lib/nova/xapi-consoles")
    assert "secret" not in repr(first)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"connection_url": None}, "connection_url"),
        ({"connection_url": ["ftp://host"]}, "connection_url"),
        ({"connection_url": ["https://root:pass@host"]}, "connection_url"),
        ({"connection_password": None}, "connection_password"),
        ({"connection_password": None, "connection_password_file": "/nonexistent"}, "connection_password_file"),
        ({"connection_ca_file": "/nonexistent"}, "connection_ca_file"),
        ({"connection_fingerprint": "SHA256:12"}, "connection_fingerprint"),
    ],
)
def test_a_bad_option_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(BadOption) as refused:
        resolved(f"bad-{named}-{len(str(values))}", **values)
    assert refused.value.option == named
    assert f"[xenserver] {named}" in str(refused.value)


def test_a_password_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from a file\n")
    found = resolved("filed", connection_password=None, connection_password_file=str(tmp_path / "password"))
    assert found.password.reveal() == "from a file"


def test_every_option_is_documented() -> None:
    for _, listed in options.list_opts():
        for option in listed:
            assert option.help and len(option.help) > 20, option.name
