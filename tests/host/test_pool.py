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
"""Hosts of a pool: who answers, hand-over of the coordinator, local sessions."""

import time

import pytest

from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost


def log_in(xapi: EmbeddedHost, url: str) -> Caller:
    """Log in as soon as the toolstack is back."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return Caller(url, password=xapi.password)
        except OSError:
            if time.monotonic() > deadline:
                raise


def test_the_coordinator_hands_over_and_the_old_one_names_the_new(xapi_pool: EmbeddedHost) -> None:
    first, second = xapi_pool.urls
    caller = Caller(first, password=xapi_pool.password)
    hosts = {row["address"]: ref for ref, row in caller("host.get_all_records").items()}
    old_pool = xapi_pool.pool
    caller("pool.designate_new_master", hosts["127.0.0.2"])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if xapi_pool.pool is not old_pool:
                break
        except RuntimeError:  # between two lives
            continue
    new = log_in(xapi_pool, second)
    assert new("pool.get_master", new("pool.get_all")[0]) == hosts["127.0.0.2"]
    with pytest.raises(CallFailed) as caught:
        Caller(first).bare("session.login_with_password", "root", xapi_pool.password)
    assert caught.value.error == ["HOST_IS_SLAVE", "127.0.0.2"]
    assert xapi_pool.url == second


def test_naming_the_coordinator_again_changes_nothing(xapi_pool: EmbeddedHost) -> None:
    caller = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    master = caller("pool.get_master", caller("pool.get_all")[0])
    caller("pool.designate_new_master", master)
    assert caller("pool.get_all")


def test_each_host_has_its_rows(xapi_pool: EmbeddedHost) -> None:
    caller = Caller(xapi_pool.urls[0], password=xapi_pool.password)
    for ref, host in caller("host.get_all_records").items():
        dom0 = caller("VM.get_record", host["control_domain"])
        assert dom0["is_control_domain"] and dom0["resident_on"] == ref and ref == dom0["affinity"]
        metrics = caller("host_metrics.get_record", host["metrics"])
        assert metrics["live"] and 0 < metrics["memory_free"] < metrics["memory_total"]
        assert len(host["host_CPUs"]) == 8 and host["software_version"]["product_brand"] == "XCP-ng"


def test_a_session_of_one_host_reads_on_a_member(xapi_pool: EmbeddedHost) -> None:
    member = Caller(xapi_pool.urls[1])
    member.session = member.bare("session.slave_local_login_with_password", "root", xapi_pool.password)
    assert member("host.is_in_emergency_mode") is False and len(member("host.get_all")) == 2
    member("session.local_logout")
    assert member.error("pool.get_all") == ["SESSION_INVALID", member.session]
