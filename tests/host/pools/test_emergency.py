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
"""A pool that loses its coordinator: what members answer, who takes over, what comes back."""

from http.client import HTTPException

import pytest

from waiting import wait
from xapi_caller import Caller, CallFailed
from xapikit.host import EmbeddedHost
from xapikit.host.pytest_plugin import XapiFactory

NOWHERE = "HOST_IN_EMERGENCY_MODE"


def local(xapi: EmbeddedHost, number: int) -> Caller:
    """A caller with a session of that host alone."""
    caller = Caller(xapi.urls[number])
    caller.session = caller.bare("session.slave_local_login_with_password", "root", xapi.password)
    return caller


def log_in(xapi: EmbeddedHost, number: int) -> Caller:
    return Caller(xapi.urls[number], password=xapi.password)


def refusal(xapi: EmbeddedHost, number: int) -> list[str]:
    with pytest.raises(CallFailed) as caught:
        log_in(xapi, number)
    return caught.value.error


def take_over(xapi: EmbeddedHost, number: int) -> Caller:
    """Make a host in emergency mode the coordinator; a caller of it."""
    old = xapi.pool
    caller = local(xapi, number)
    caller("pool.emergency_transition_to_master")
    wait(lambda: another_life(xapi, old))
    return log_in(xapi, number)


def another_life(xapi: EmbeddedHost, old: object) -> bool:
    try:
        return xapi.running and xapi.pool is not old
    except RuntimeError:  # between two lives
        return False


def test_a_member_without_coordinator_answers_emergency_calls_alone(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=3)
    urls = xapi.urls
    xapi.lose_coordinator()
    with pytest.raises(OSError):
        Caller(urls[0], password=xapi.password)
    assert refusal(xapi, 1) == refusal(xapi, 2) == [NOWHERE]
    member = local(xapi, 1)
    assert member("host.is_in_emergency_mode") is True
    assert member("pool.is_slave", "OpaqueRef:NULL") is True
    assert member.error("pool.get_all") == [NOWHERE]
    assert member.error("no.such_call", "x", "y") == [NOWHERE]
    assert member.error("host.local_management_reconfigure", "eth9") == ["INTERFACE_HAS_NO_IP", "eth9"]
    member("host.local_management_reconfigure", "eth0")
    elsewhere = Caller(urls[2])
    elsewhere.session = member.session
    assert elsewhere.error("host.is_in_emergency_mode") == ["SESSION_INVALID", member.session]
    member("session.local_logout")
    assert member.error("host.is_in_emergency_mode") == ["SESSION_INVALID", member.session]


def test_the_coordinator_that_comes_back_finds_its_pool_again(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=2)
    lost = xapi.lose_coordinator()
    assert refusal(xapi, 1) == [NOWHERE]
    xapi.power_on(lost)
    assert refusal(xapi, 1) == ["HOST_IS_SLAVE", "127.0.0.1"]
    caller = log_in(xapi, 0)
    assert len(caller("host.get_all")) == 2
    assert all(row["live"] for row in caller("host_metrics.get_all_records").values())


def test_a_member_takes_over_and_the_others_follow_when_they_are_told(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=3)
    first, second, third = (host.ref for host in xapi.hosts)
    kept = log_in(xapi, 0)("network.create", {"name_label": "kept", "other_config": {}})
    xapi.lose_coordinator()
    new = take_over(xapi, 1)
    assert new("pool.get_master", new("pool.get_all")[0]) == second
    assert new("network.get_name_label", kept) == "kept"
    assert "POOL_MASTER_TRANSITION" in [row["name"] for row in new("message.get_all_records").values()]
    # the third still follows the one that is gone
    assert refusal(xapi, 2) == [NOWHERE]
    assert new("pool.recover_slaves") == [third]
    assert refusal(xapi, 2) == ["HOST_IS_SLAVE", "127.0.0.2"]
    # the old one comes back as a member of the pool as it is now
    xapi.power_on(first)
    assert refusal(xapi, 0) == ["HOST_IS_SLAVE", "127.0.0.2"]
    assert sorted(new("pool.recover_slaves")) == sorted([first, third])


def test_a_member_can_be_told_whom_to_follow(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=3)
    xapi.lose_coordinator()
    take_over(xapi, 1)
    caller = local(xapi, 2)
    caller("pool.emergency_reset_master", "127.0.0.9")
    wait(lambda: cut(caller))
    wait(lambda: answers(xapi, 2, [NOWHERE]))
    caller = local(xapi, 2)
    caller("pool.emergency_reset_master", "127.0.0.2")
    wait(lambda: answers(xapi, 2, ["HOST_IS_SLAVE", "127.0.0.2"]))


def cut(caller: Caller) -> bool:
    """Whether the toolstack that a caller was connected to is gone."""
    try:
        caller("host.is_in_emergency_mode")
    except (OSError, HTTPException):
        return True
    return False


def answers(xapi: EmbeddedHost, number: int, expected: list[str]) -> bool:
    try:
        return refusal(xapi, number) == expected
    except OSError:  # its toolstack restarts
        return False


def test_emergency_calls_change_nothing_in_a_healthy_pool(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=2)
    for number in (0, 1):
        caller = local(xapi, number)
        assert caller.error("pool.emergency_transition_to_master") == ["NOT_IN_EMERGENCY_MODE"]
        assert caller.error("host.local_management_reconfigure", "eth0") == ["NOT_IN_EMERGENCY_MODE"]
    assert local(xapi, 0).error("pool.emergency_reset_master", "127.0.0.2") == ["NOT_IN_EMERGENCY_MODE"]


def test_what_is_off_or_stranded_is_so_after_a_restart_too(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=3)
    xapi.lose_coordinator()
    take_over(xapi, 1)
    urls = xapi.urls
    xapi.restart()
    assert xapi.urls == urls
    with pytest.raises(OSError):
        log_in(xapi, 0)
    assert refusal(xapi, 2) == [NOWHERE]
    assert log_in(xapi, 1)("pool.recover_slaves") == [xapi.hosts[2].ref]


def test_members_take_the_time_to_notice_that_they_are_given(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=2, options={"emergency_seconds": "3600"})
    xapi.lose_coordinator()
    assert refusal(xapi, 1) == ["HOST_IS_SLAVE", "127.0.0.1"]
    assert local(xapi, 1)("host.is_in_emergency_mode") is False


def test_the_loss_of_the_coordinator_is_a_fault_that_a_call_meets(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=2)
    old = xapi.pool
    caller = log_in(xapi, 0)
    rule = xapi.faults.add("coordinator_loss", method="VM.get_all", count=1)
    with pytest.raises((OSError, CallFailed)) as caught:
        caller("VM.get_all")
    assert not isinstance(caught.value, CallFailed)
    wait(lambda: another_life(xapi, old))
    assert rule.fired == 1
    assert refusal(xapi, 1) == [NOWHERE]


def test_a_host_by_itself_stops_checking_certificates_and_forgets_guidance(xapi_factory: XapiFactory) -> None:
    xapi = xapi_factory(hosts=2)
    member = xapi.hosts[1].ref
    caller, alone = log_in(xapi, 0), local(xapi, 1)
    alone("host.emergency_disable_tls_verification")
    assert [row["tls_verification_enabled"] for row in caller("host.get_all_records").values()] == [True, False]
    told = [row["obj_uuid"] for row in caller("message.get_all_records").values()]
    assert told == [xapi.hosts[1].uuid]
    alone("host.emergency_reenable_tls_verification")
    assert caller("host.get_tls_verification_enabled", member) is True
    with xapi.pool.store.transaction() as tx:
        tx.update("host", member, pending_guidances=["restart_toolstack"])
    caller("host.disable", member)
    assert caller.error("host.enable", member) == ["HOST_PENDING_MANDATORY_GUIDANCE_NOT_EMPTY", member]
    alone("host.emergency_clear_mandatory_guidance")
    caller("host.enable", member)
    assert caller("pool.hello", xapi.hosts[1].uuid, "127.0.0.2") == "ok"
    assert caller("pool.hello", "nobody", "127.0.0.2") == "unknown_host"
    xapi.power_off(member)
    assert caller("pool.hello", xapi.hosts[1].uuid, "127.0.0.2") == "cannot_talk_back"
