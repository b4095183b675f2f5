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
"""A plug-in finds dom0 where it expects it: inventory, SRs, staging directories and the commands of XenStore."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import xapikit.host.dom0
from host.dom0.rig import Machine
from plugin_scripts import SUCCESS, install
from xapi_caller import Caller
from xapikit.host import EmbeddedHost

SECONDS = 20
TOOL = Path(xapikit.host.dom0.__file__).parent / "tools" / "xenstore"


def root(xapi: EmbeddedHost, host: int = 0) -> Path:
    return xapi.pool.programs.root(xapi.hosts[host].uuid)


def inventory(xapi: EmbeddedHost, host: int = 0) -> dict[str, str]:
    lines = (root(xapi, host) / "etc/xensource-inventory").read_text().splitlines()
    return {key: value.strip("'") for key, value in (line.split("=", 1) for line in lines)}


def test_the_directory_says_which_host_it_is(xapi_pool: EmbeddedHost) -> None:
    for number, host in enumerate(xapi_pool.hosts):
        said, row = inventory(xapi_pool, number), xapi_pool.pool.store.get("host", host.ref)
        assert said["INSTALLATION_UUID"] == host.uuid
        dom0 = xapi_pool.pool.store.get("VM", row["control_domain"])
        assert said["CONTROL_DOMAIN_UUID"] == dom0["uuid"]
        assert (said["MANAGEMENT_INTERFACE"], said["PRODUCT_BRAND"]) == ("xenbr0", "XCP-ng")
        assert (root(xapi_pool, number) / "etc/hostname").read_text().strip() == row["hostname"]
        for directory in ("images", "boot/guest", "var/lib/xcp/guest", "etc/xapi.d/plugins", "var/run/sr-mount"):
            assert (root(xapi_pool, number) / directory).is_dir(), directory
    role = [(root(xapi_pool, number) / "etc/xensource/pool.conf").read_text() for number in range(2)]
    assert role == ["master", f"slave:{xapi_pool.hosts[0].address}"]


def test_srs_are_mounted_while_they_are_plugged(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call)
    vdi = call("VBD.get_VDI", call("VM.get_VBDs", one.vm)[0])
    sr = call("VDI.get_SR", vdi)
    mount = root(xapi_host) / "run/sr-mount" / call("SR.get_uuid", sr)
    assert (mount / f"{call('VDI.get_uuid', vdi)}.vhd").is_file()
    pbd = call("SR.get_PBDs", sr)[0]
    call("PBD.unplug", pbd)
    root(xapi_host)
    assert not mount.is_symlink()
    call("PBD.plug", pbd)
    root(xapi_host)
    assert mount.is_dir()


def test_files_of_an_sr_are_looked_at_with_the_tool_of_dom0(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call)
    vdi = call("VBD.get_VDI", call("VM.get_VBDs", one.vm)[0])
    mount = root(xapi_host) / "run/sr-mount" / call("SR.get_uuid", call("VDI.get_SR", vdi))
    file = mount / f"{call('VDI.get_uuid', vdi)}.vhd"
    done = subprocess.run(
        [str(root(xapi_host) / "usr/bin/vhd-util"), "query", "-v", "-f", "-n", str(file)],
        env={}, stdout=subprocess.PIPE, text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    assert done.stdout == "2\nhidden: 0\n"


def test_what_programs_put_there_stays(xapi_host: EmbeddedHost) -> None:
    where = root(xapi_host)
    (where / "images/instance").mkdir()
    (where / "run/sr-mount/own").mkdir()
    again = root(xapi_host)
    assert again == where and (again / "images/instance").is_dir() and (again / "run/sr-mount/own").is_dir()


AGENT_PLUGIN = f"""#!/usr/bin/env python3
import subprocess, sys, xmlrpc.client
from xml.sax.saxutils import escape
((session, arguments), function) = xmlrpc.client.loads(sys.argv[1])
home, request = "/local/domain/" + arguments["dom_id"], arguments["id"]
subprocess.run(["xenstore-write", home + "/data/host/" + request, arguments["ask"]], check=True)
answer = subprocess.run(
    ["xenstore-read", home + "/data/guest/" + request], check=True, stdout=subprocess.PIPE, universal_newlines=True
)
subprocess.run(["xenstore-rm", home + "/data/guest/" + request], check=True)
print({SUCCESS!r} % escape(answer.stdout.strip()))
"""


def test_a_plugin_talks_to_a_guest_through_the_commands_of_dom0(xapi_host: EmbeddedHost, call: Caller) -> None:
    one = Machine.make(xapi_host, call, other_config={"timed_agent": "openstack"}).start()
    install(xapi_host, "agent", AGENT_PLUGIN)
    arguments = {"dom_id": str(one.row["domid"]), "id": "a-1", "ask": '{"name": "version", "value": "agent"}'}
    answer = call("host.call_plugin", call("host.get_all")[0], "agent", "version", arguments)
    assert answer == '{"returncode": "0", "message": "1.39.1"}'
    assert one.listing("data/guest") == {"": ""}


class Commands:
    """The commands as they stand in dom0."""

    def __init__(self, xapi: EmbeddedHost) -> None:
        self.root = root(xapi)
        self.environment = {
            "PATH": os.environ["PATH"],
            "XENSTORED_PATH": str(xapi.pool.guests.socket(xapi.hosts[0].uuid)),
        }

    def __call__(self, name: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [str(self.root / "usr/bin" / f"xenstore-{name}"), *arguments],
            env=self.environment, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout


def test_the_commands_read_and_write_as_those_of_xen(xapi_host: EmbeddedHost) -> None:
    run = Commands(xapi_host)
    assert run("write", "/t/a", "one", "/t/b", "two\\nlines") == (0, "")
    assert run("read", "/t/a", "/t/b") == (0, "one\ntwo\\nlines\n")
    assert run("read", "-R", "/t/b") == (0, "two\nlines")
    assert run("read", "-p", "/t/a") == (0, "/t/a: one\n")
    assert run("read", "/none") == (1, "") == run("list", "/none")
    assert run("list", "/t") == (0, "a\nb\n") and run("list", "-p", "/t") == (0, "/t/a\n/t/b\n")
    assert run("ls", "/t") == (0, 'a = "one"\nb = "two\\nlines"\n')
    assert run("chmod", "-r", "/t", "n0", "r9")[0] == 0
    assert run("ls", "-f", "-p", "/t") == (0, '/t/a = "one"   (n0,r9)\n/t/b = "two\\nlines"   (n0,r9)\n')
    assert (run("exists", "/t/a")[0], run("exists", "/t/c")[0]) == (0, 1)
    assert run("write", "/t/c/d/e", "x")[0] == 0 and run("rm", "-t", "/t/c/d/e")[0] == 0
    assert run("list", "/t") == (0, "a\nb\n")
    assert run("write", "/t/x", "1", "/bad path", "2")[0] == 1 and run("exists", "/t/x")[0] == 1  # all or nothing
    assert run("read")[0] == 1 and run("read", "-z", "/t")[0] == 1
    with xapi_host.pool.guests.xenstore(xapi_host.hosts[0].uuid).edit() as edit:
        for number in range(900):
            edit.write(f"/many/node-{number:05}", "")
    assert len(run("list", "/many")[1].splitlines()) == 900  # more than one message holds
    assert run("read", "/local/domain/0/name") == (0, "Domain-0\n")


def test_a_command_waits_for_changes(xapi_host: EmbeddedHost) -> None:
    run = Commands(xapi_host)
    program = str(run.root / "usr/bin/xenstore-watch")
    with subprocess.Popen(
        [program, "-n", "2", "/t"], env=run.environment, stdout=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "/t\n"
        run("write", "/t/new", "")
        assert waiting.communicate(timeout=SECONDS)[0] == "/t/new\n"


def test_the_commands_find_their_store_by_their_own_place(xapi_host: EmbeddedHost) -> None:
    program = root(xapi_host) / "usr/bin/xenstore"
    done = subprocess.run(
        [str(program), "read", "/local/domain/0/domid"], env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE,
        text=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    assert done.stdout == "0\n"


@pytest.mark.parametrize("version", ["3.6", "3.8"])
def test_the_commands_are_fit_for_the_pythons_of_dom0(version: str) -> None:
    found = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} here")
    check = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')"
    subprocess.run([str(found[-1]), "-c", check, str(TOOL)], check=True, timeout=SECONDS)


def test_nobody_to_talk_to_is_a_plain_failure(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(TOOL), "read", "/a"], env={"XENSTORED_PATH": str(tmp_path / "none")},
        stderr=subprocess.PIPE, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "no connection" in done.stderr and "Traceback" not in done.stderr


STOCK_PLUGIN = f"""#!/usr/bin/env python3
import os, subprocess, sys, xmlrpc.client
from xml.sax.saxutils import escape

def inventory():
    for line in open("/etc/xensource-inventory"):
        key, _, value = line.strip().partition("=")
        yield key, value.strip("'")

((session, arguments), function) = xmlrpc.client.loads(sys.argv[1])
open("/images/staged", "w").write(function)
name = subprocess.run(
    ["/usr/bin/xenstore-read", "/local/domain/0/name"], check=True, stdout=subprocess.PIPE, universal_newlines=True
)
found = [
    dict(inventory())["INSTALLATION_UUID"], name.stdout.strip(), str(os.getuid()), os.getcwd(), sys.argv[0],
    " ".join(sorted(os.environ)), ",".join(sorted(os.listdir("/var/run/sr-mount/" + arguments["sr"]))),
]
print({SUCCESS!r} % escape("|".join(found)))
"""


@pytest.mark.skipif(
    subprocess.run(["unshare", "-Urm", "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0,
    reason="this machine gives no user namespaces",
)
def test_a_plugin_of_a_real_host_finds_dom0_at_its_paths(xapi_factory: Callable[..., EmbeddedHost]) -> None:
    xapi = xapi_factory(options={"dom0_view": "root"})
    call = Caller(xapi.urls[0], password=xapi.password)
    one = Machine.make(xapi, call)
    vdi = call("VBD.get_VDI", call("VM.get_VBDs", one.vm)[0])
    install(xapi, "stock", STOCK_PLUGIN)
    host, sr = call("host.get_all")[0], call("SR.get_uuid", call("VDI.get_SR", vdi))
    uuid, dom0, user, place, program, names, files = call("host.call_plugin", host, "stock", "fn", {"sr": sr}).split(
        "|"
    )
    assert uuid == xapi.hosts[0].uuid and dom0 == "Domain-0"
    assert (user, place, program) == ("0", "/", "/etc/xapi.d/plugins/stock")
    assert names == "LC_CTYPE PATH XAPI_URL"
    assert f"{call('VDI.get_uuid', vdi)}.vhd" in files.split(",")
    assert (root(xapi) / "images/staged").read_text() == "fn"
    install(xapi, "noexec", "#!/bin/sh\n", mode=0o644)
    failed = ["XENAPI_PLUGIN_FAILURE", "non-zero exit", "", ""]
    assert call.error("host.call_plugin", host, "noexec", "fn", {}) == failed
    install(xapi, "kill", "#!/bin/sh\nkill -KILL $$\n")
    assert call.error("host.call_plugin", host, "kill", "fn", {})[1] == "signal: SIGKILL"
