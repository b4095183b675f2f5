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
"""What guests say and do: metrics follow XenStore, requests are acknowledged, obeyed, ignored or not even heard."""

import base64
import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from host.dom0.rig import SECONDS, Machine
from xapi_caller import Caller
from xapikit.host import EmbeddedHost
from xapikit.host.guests.exchange import GENERATOR, PRIME, KeyExchange


def test_the_tools_report_and_the_metrics_say_it(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    said = one.metrics
    assert said["PV_drivers_version"] == {"major": "8", "minor": "4", "micro": "0", "build": "1"}
    assert said["PV_drivers_detected"] and said["PV_drivers_up_to_date"] and said["live"]
    assert said["os_version"]["name"] == "Timed guest 1"
    assert said["networks"]["0/ip"] == said["networks"]["0/ipv4/0"] == one.value("attr/vif/0/ipv4/0")
    assert (said["can_use_hotplug_vbd"], said["can_use_hotplug_vif"]) == ("yes", "yes")
    assert {"feature-poweroff", "feature-reboot", "feature-suspend", "feature-balloon"} <= said["other"].keys()
    assert said["other"]["has-vendor-device"] == str(int(one.row["has_vendor_device"]))
    total, free = int(one.value("data/meminfo_total")), int(one.value("data/meminfo_free"))
    assert 0 < free < total == 256 * 1024
    assert call("VM.query_data_source", one.vm, "memory_internal_free") == free


def test_metrics_follow_what_any_agent_writes(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, other_config={"timed_agent": "none"}).start()
    said = one.metrics
    assert not said["PV_drivers_detected"] and said["PV_drivers_version"] == {} == said["networks"]
    assert call.error("VM.clean_shutdown", one.vm) == ["VM_LACKS_FEATURE", one.vm]
    for path, text in {
        "attr/PVAddons/MajorVersion": "7", "attr/PVAddons/MinorVersion": "30", "attr/PVAddons/BuildVersion": "9",
        "data/os_name": "Other Linux", "data/os_majorver": "12", "data/host_name": "box",
        "attr/vif/0/ipv4/0": "192.0.2.7", "attr/vif/0/ipv4/1": "192.0.2.8", "attr/vif/0/ipv6/0": "2001:db8::7",
        "attr/eth1/ip": "192.0.2.9", "attr/eth1/ipv6/0/addr": "2001:db8::9", "control/feature-static-ip-setting": "1",
        "feature/hotplug/vbd": "0", "data/ts": "1", "data/cant_suspend_reason": "busy", "data/service/web/state": "up",
        "data/updated": "1",
    }.items():  # fmt: skip
        one.write(path, text, as_guest=True)
    said = one.metrics
    assert said["PV_drivers_version"] == {"major": "7", "minor": "30", "micro": "-1", "build": "9"}
    assert said["os_version"] == {"name": "Other Linux", "major": "12"} and said["netbios_name"] == {"host_name": "box"}
    assert said["networks"] == {
        "0/ip": "192.0.2.7", "0/ipv4/0": "192.0.2.7", "0/ipv4/1": "192.0.2.8", "0/ipv6/0": "2001:db8::7",
        "1/ip": "192.0.2.9", "1/ipv6/0": "2001:db8::9",
    }  # fmt: skip
    assert (said["can_use_hotplug_vbd"], said["can_use_hotplug_vif"]) == ("no", "unspecified")
    assert said["other"]["data-ts"] == "1" and said["other"]["data-cant-suspend-reason"] == "busy"
    assert said["services"] == {"web/state": "up"}


def test_metrics_are_read_again_when_the_agent_says_so(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    store, ref = xapi_host.pool.store, one.row["guest_metrics"]
    entry = store.entry("VM_guest_metrics", ref)
    assert entry is not None
    one.write("data/meminfo_free", "1", as_guest=True)
    assert store.entry("VM_guest_metrics", ref) is entry  # nothing in it changed
    generation = store.generation
    one.write("data/updated", "1", as_guest=True)
    assert store.generation >= generation


def test_metrics_outlive_the_domain_until_the_next_start(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    first = one.row["guest_metrics"]
    call("VM.hard_shutdown", one.vm)
    assert one.row["guest_metrics"] == first and one.metrics["PV_drivers_version"]["major"] == "8"
    call("VM.add_to_other_config", one.vm, "timed_agent", "none")
    one.start(paused=True)
    assert one.row["guest_metrics"] != first and one.metrics["PV_drivers_version"] == {}
    assert call.error("VM_guest_metrics.get_record", first)[0] == "HANDLE_INVALID"


def test_a_kernel_alone_has_drivers_and_no_version(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, other_config={"timed_agent": "drivers"}).start()
    assert one.metrics["PV_drivers_detected"] and one.metrics["PV_drivers_version"] == {}
    assert one.metrics["networks"] == {}
    call("VM.clean_shutdown", one.vm)
    assert one.row["power_state"] == "Halted"


def test_an_agent_may_take_its_time(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    xapi = xapi_factory(options={"timed_agent_delay": "0.2"})
    call = Caller(xapi.urls[0], password=xapi.password)
    one = Machine.make(xapi, call).start()
    assert one.metrics["networks"] == {}
    store = xapi.pool.store
    assert store.wait(lambda: store.get("VM_guest_metrics", one.row["guest_metrics"])["networks"], SECONDS)


@pytest.mark.parametrize(
    ("manners", "method", "error"),
    [
        ("ignore", "VM.clean_shutdown", "VM_SHUTDOWN_TIMEOUT"),
        ("ignore", "VM.clean_reboot", "VM_SHUTDOWN_TIMEOUT"),
        ("deaf", "VM.clean_shutdown", "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT"),
        ("deaf", "VM.clean_reboot", "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT"),
        ("deaf", "VM.suspend", "VM_FAILED_SUSPEND_ACKNOWLEDGMENT"),
    ],
)
def test_guests_that_do_not_obey(
    xapi_factory: Callable[..., EmbeddedHost], manners: str, method: str, error: str
) -> None:
    xapi = xapi_factory(options={"shutdown_seconds": "0.3", "shutdown_acknowledgement_seconds": "0.2"})
    call = Caller(xapi.urls[0], password=xapi.password)
    one = Machine.make(xapi, call).start()
    call("VM.add_to_other_config", one.vm, "timed_requests", manners)  # of a running guest
    expected = [error, one.vm, "0.3"] if error == "VM_SHUTDOWN_TIMEOUT" else [error, one.vm]
    assert call.error(method, one.vm) == expected
    assert one.row["power_state"] == "Running" and one.row["current_operations"] == {}
    assert one.value("control/shutdown") == ""  # taken back
    call("VM.shutdown", one.vm)  # what does not obey is ended
    assert one.row["power_state"] == "Halted"


def test_a_hard_shutdown_ends_the_wait_for_an_acknowledgement(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, other_config={"timed_requests": "deaf"}).start()
    task = call("Async.VM.clean_shutdown", one.vm)
    store = xapi_host.pool.store
    assert store.wait(lambda: one.value("control/shutdown") == "poweroff", SECONDS) or one.value("control/shutdown")
    call("VM.hard_shutdown", one.vm)
    assert store.wait(lambda: store.get("task", task)["status"] not in ("pending", "cancelling"), SECONDS)
    assert store.get("task", task)["error_info"][0] == "TASK_CANCELLED"


def test_a_program_of_dom0_can_ask_a_guest_to_shut_down(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    before = one.row["domid"]
    one.write("control/shutdown", "reboot")
    store = xapi_host.pool.store
    assert store.wait(lambda: store.get("VM", one.vm)["domid"] not in (before, -1), SECONDS)
    one.until(power_state="Running")
    one.write("control/shutdown", "poweroff")
    one.until(power_state="Halted")


def test_a_paused_guest_reacts_when_it_goes_on(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call).start()
    call("VM.pause", one.vm)
    one.write("control/shutdown", "poweroff")
    assert one.value("control/shutdown") == "poweroff"
    call("VM.unpause", one.vm)
    one.until(power_state="Halted")


# the agent of OpenStack ----------------------------------------------------------------------------------------------


@pytest.fixture
def agent(xapi_host: EmbeddedHost, call: Caller) -> Machine:
    return Machine.make(xapi_host, call, other_config={"timed_agent": "openstack"}).start()


def test_the_agent_answers_by_name(agent: Machine) -> None:
    assert agent.ask("version", "agent") == {"returncode": "0", "message": "1.39.1"}
    assert "file_inject" in agent.ask("features")["message"].split(",")
    assert agent.ask("kmsactivate")["returncode"] == "0"
    assert agent.ask("nonsense")["returncode"] == "404"
    agent.call("VM.add_to_other_config", agent.vm, "timed_agent_version", "2.0")
    assert agent.ask("version", "agent")["message"] == "2.0"


def test_files_reach_the_guest_both_ways(agent: Machine) -> None:
    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    assert agent.ask("file_inject", {"b64_path": text(b"/a"), "b64_file": text(b"\0\xff")})["returncode"] == "0"
    assert agent.ask("injectfile", text(b"/b,one,two"))["returncode"] == "0"
    assert agent.guest.openstack.files == {"/a": b"\0\xff", "/b": b"one,two"}
    for bad in ("%%%", text(b"no comma"), ""):
        assert agent.ask("injectfile", bad)["returncode"] == "500"
    assert agent.ask("agentupdate", "http://x/a,0123")["returncode"] == "0"
    assert agent.guest.openstack.updates == ["http://x/a"]


def test_a_password_is_exchanged_as_the_published_agents_do_it(agent: Machine) -> None:
    assert agent.ask("password", "AAAA")["returncode"] == "500"  # no key yet
    own = secrets.randbits(80)
    answer = agent.ask("keyinit", str(pow(GENERATOR, own, PRIME)))
    assert answer["returncode"] == "D0"
    secret = str(pow(int(answer["message"]), own, PRIME)).encode()
    assert agent.ask("password", encrypted(secret, b"pass word\n"))["returncode"] == "0"
    assert agent.guest.openstack.has_password("pass word")
    assert "pass word" not in repr(agent.guest.openstack)
    assert agent.ask("password", encrypted(b"wrong", b"x" * 40))["returncode"] == "500"
    assert agent.guest.openstack.has_password("pass word")


def test_the_exchange_agrees_with_a_known_vector() -> None:
    guest = KeyExchange(104465685046918593356287207841852, private=987654321987654321)
    assert guest.public == 95064182374512215792080182413051
    assert guest.decrypt("Cpg7tNxyIZDZKDw5iMBFgw==") == "s3cret"
    with pytest.raises(ValueError, match="public key"):
        KeyExchange(1)


def encrypted(secret: bytes, plain: bytes) -> str:
    import hashlib

    key = hashlib.md5(secret, usedforsecurity=False).digest()
    iv = hashlib.md5(key + secret, usedforsecurity=False).digest()
    padding = 16 - len(plain) % 16
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return base64.b64encode(encryptor.update(plain + bytes([padding]) * padding) + encryptor.finalize()).decode()


def test_a_network_reset_makes_the_guest_take_the_addresses_it_was_given(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, devices=False, other_config={"timed_agent": "xenserver,openstack"})
    one.nic("0", "02:00:00:00:00:0A")
    one.start()
    told: dict[str, Any] = {"ips": [{"ip": "192.0.2.5", "netmask": "255.255.255.0"}], "ip6s": [{"ip": "2001:db8::5"}]}
    call("VM.set_xenstore_data", one.vm, {"vm-data/networking/02000000000A": json.dumps(told)})
    assert one.metrics["networks"]["0/ip"] != "192.0.2.5"
    assert one.ask("resetnetwork")["returncode"] == "0"
    assert one.metrics["networks"] == {"0/ip": "192.0.2.5", "0/ipv4/0": "192.0.2.5", "0/ipv6/0": "2001:db8::5"}
    call("VM.set_xenstore_data", one.vm, {"vm-data/networking/02000000000A": "no JSON"})
    assert one.ask("resetnetwork")["returncode"] == "500"


@pytest.mark.parametrize(
    "request_", ["", "{", "[]", "null", '{"name": 5}', '{"name": "keyinit", "value": []}', "\udcff"]
)
def test_nonsense_is_answered(agent: Machine, request_: str) -> None:
    with agent.xenstore.edit() as edit:
        edit.write(f"{agent.home}/data/host/x", request_.encode("utf-8", "surrogateescape"))
    assert json.loads(agent.value("data/guest/x"))["returncode"] in ("500", "404")
    assert agent.ask("version", "agent")["returncode"] == "0"
