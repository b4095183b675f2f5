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
"""Promises about hosts and pools."""

import pytest

from behaviour.conftest import Caller, Target
from xapikit.client import XapiClient, errors
from xapikit.wire import DateTime


def test_there_is_one_pool_whose_master_is_a_host(xapi: Caller) -> None:
    (pool,) = xapi("pool.get_all_records").values()
    assert pool["master"] in xapi("host.get_all")


def test_a_host_tells_its_versions_and_its_time(xapi: Caller) -> None:
    for host in xapi("host.get_all"):
        record = xapi("host.get_record", host)
        assert record["API_version_major"] == 2
        assert {"product_version", "xapi"} & set(record["software_version"])
        assert abs(DateTime.parse(xapi("host.get_servertime", host)).to_datetime().timestamp()) > 1_000_000_000


def test_a_host_has_a_control_domain_that_runs_on_it(xapi: Caller) -> None:
    for host in xapi("host.get_all"):
        control_domain = xapi("VM.get_record", xapi("host.get_control_domain", host))
        assert control_domain["is_control_domain"] and control_domain["power_state"] == "Running"
        assert control_domain["resident_on"] == host and control_domain["domid"] == 0


def test_a_disabled_host_starts_no_vm(xapi: Caller) -> None:
    host = xapi("host.get_all")[-1]
    xapi("host.disable", host)
    try:
        assert xapi("host.get_enabled", host) is False
    finally:
        xapi("host.enable", host)
    assert xapi("host.get_enabled", host) is True


def test_an_enabled_host_is_neither_rebooted_nor_shut_down(xapi: Caller) -> None:
    host = xapi("host.get_all")[-1]
    for call in ("host.reboot", "host.shutdown"):
        with pytest.raises(errors.HostNotDisabled):
            xapi(call, host)


def test_a_living_host_is_not_powered_on(xapi: Caller) -> None:
    host = xapi("host.get_all")[-1]
    with pytest.raises(errors.HostIsLive) as refusal:
        xapi("host.power_on", host)
    assert refusal.value.host == host


def test_the_coordinator_is_not_ejected_nor_is_nobody(xapi: Caller) -> None:
    (pool,) = xapi("pool.get_all_records").values()
    with pytest.raises(errors.InternalError):
        xapi("pool.eject", pool["master"])
    with pytest.raises(errors.HostOffline):
        xapi("pool.eject", "OpaqueRef:nobody")


def test_members_are_told_again_whom_to_follow(xapi: Caller) -> None:
    (pool,) = xapi("pool.get_all_records").values()
    members = {host for host in xapi("host.get_all") if host != pool["master"]}
    assert set(xapi("pool.recover_slaves")) == members
    assert xapi("host.is_in_emergency_mode") is False


def test_naming_the_coordinator_again_changes_nothing(xapi: Caller) -> None:
    (pool,) = xapi("pool.get_all_records").values()
    xapi("pool.designate_new_master", pool["master"])
    assert next(iter(xapi("pool.get_all_records").values()))["master"] == pool["master"]


def test_a_member_names_the_coordinator(xapi: Caller, target: Target) -> None:
    (pool,) = xapi("pool.get_all_records").values()
    coordinator = xapi("host.get_address", pool["master"])
    members = [xapi("host.get_address", host) for host in xapi("host.get_all") if host != pool["master"]]
    if not members:
        pytest.skip("a pool of one host has no members")
    if target.embedded is None:
        pytest.skip("certificates of other hosts are not known to this run")
    url = next(host.url for host in target.embedded.hosts if host.ref != pool["master"])
    client = XapiClient(url, username=target.user, password=target.password, originator="behaviour", tls=target.tls,
                        addresses={coordinator: "http://127.0.0.1:9"}, patience=0.0)  # fmt: skip
    # sent to where nobody listens: the address was the one the pool knows
    with pytest.raises(errors.NotSent, match="//127"):
        client.connect(10)
    client.close()
