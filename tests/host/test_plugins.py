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
"""Plug-ins are real programs: what they get, and what each way of ending means to the caller."""

import pytest

from plugin_scripts import SCRIPTS, SUCCESS, install, printing, showing
from xapi_caller import Caller
from xapikit.host import EmbeddedHost


def xml_error(text: str) -> list[str]:
    return ["INTERNAL_ERROR", f'XMLRPC.RunTimeTypeError("{text}", _)']


def unparsed(output: str, reason: str) -> list[str]:
    return ["XENAPI_PLUGIN_FAILURE", "failed to parse plugin output", output, reason]


OUTPUTS = {
    "ok": "hello",
    "ok_string": "hello",
    "empty_value": "",
    "utf8": "žluť 中 <&>",
    "noise_after": "x",
    "stderr": "x",
    "big": "x" * 2_000_000,
}
ERRORS = {
    "int": xml_error("unbox: Element=int should contain 'string'"),
    "struct": xml_error("unbox: Element=struct should contain 'string'"),
    "nil": xml_error("unbox: Element=nil should contain 'string'"),
    "failure": ["MY_CODE", "p1", "p2"],
    "failure_empty": xml_error("Empty array of error strings"),
    "failure_int": xml_error("unbox: Element=int should contain 'string'"),
    "exit3": ["XENAPI_PLUGIN_FAILURE", "non-zero exit", "out\n", "err\n"],
    "kill": ["XENAPI_PLUGIN_FAILURE", "signal: SIGKILL", "", ""],
    "term": ["XENAPI_PLUGIN_FAILURE", "signal: SIGTERM", "", ""],
    "silent": unparsed("", "unexpected end of input line 1"),
    "text": unparsed("plain text\n", "expected root element line 1"),
    "ctl": unparsed(SUCCESS % "a&#7;b" + "\n", "illegal character reference (#7) line 1"),
    "badutf8": ["INTERNAL_ERROR", "Db_exn.Invalid_value"],
    "other": xml_error("unbox: Element=foo should contain 'methodResponse'"),
    "bare": xml_error("unbox: PCData=bare should contain 'struct'"),
    "nostatus": xml_error("Status"),
    "fault": ["XENAPI_PLUGIN_FAILURE", "fault", "4", "bad"],
    "badinterp": ["XENAPI_PLUGIN_FAILURE", "non-zero exit", "", ""],
}


def test_what_a_plugin_prints_decides_what_the_caller_gets(xapi_host: EmbeddedHost, call: Caller) -> None:
    host = call("host.get_all")[0]
    for name, value in OUTPUTS.items():
        install(xapi_host, name, SCRIPTS[name])
        assert call("host.call_plugin", host, name, "fn", {"k": "v"}) == value, name
    for name, error in ERRORS.items():
        install(xapi_host, name, SCRIPTS[name])
        assert call.error("host.call_plugin", host, name, "fn", {"k": "v"}) == error, name


def test_a_plugin_gets_one_argument_an_empty_environment_and_the_callers_session(
    xapi_host: EmbeddedHost, call: Caller
) -> None:
    host = call("host.get_all")[0]
    install(xapi_host, "argv", SCRIPTS["argv"])
    install(xapi_host, "env", showing("' '.join(sorted(os.environ)) + ' ' + os.getcwd()"))
    expected = (
        f"2 <methodCall><methodName>fn</methodName><params><param><value>{call.session}</value></param><param><value>"
        "<struct><member><name>k</name><value>&lt;&amp;&gt;</value></member></struct></value></param></params></methodCall>"
    )
    assert call("host.call_plugin", host, "argv", "fn", {"k": "<&>"}) == expected
    assert call("host.call_plugin", host, "argv", "", {}).endswith("<struct/></value></param></params></methodCall>")
    assert call("host.call_plugin", host, "env", "fn", {}) == ("LC_CTYPE PATH XAPI_DOM0_ROOT XAPI_URL XENSTORED_PATH /")


@pytest.mark.parametrize("name", ["nope", "", "../echo", "/bin/sh", "./ok", "ok ", "OK"])
def test_a_name_is_an_entry_of_the_directory_and_never_a_path(xapi_host: EmbeddedHost, call: Caller, name: str) -> None:
    install(xapi_host, "ok", printing(SUCCESS % "x"))
    host = call("host.get_all")[0]
    assert call.error("host.call_plugin", host, name, "main", {}) == ["XENAPI_MISSING_PLUGIN", name]


def test_what_cannot_be_run_is_a_non_zero_exit(xapi_host: EmbeddedHost, call: Caller) -> None:
    host = call("host.get_all")[0]
    install(xapi_host, "noexec", printing(SUCCESS % "x"), mode=0o644)
    install(xapi_host, "ok", printing(SUCCESS % "x")).with_name("dir").mkdir()
    for name, arguments in (("noexec", {}), ("dir", {}), ("ok", {"k": "x" * 140_000})):
        assert call.error("host.call_plugin", host, name, "fn", arguments) == [
            "XENAPI_PLUGIN_FAILURE", "non-zero exit", "", "",
        ]  # fmt: skip
    assert call("host.call_plugin", host, "ok", "fn", {"k": "x" * 100_000}) == "x"
    assert call.error("host.call_plugin", "OpaqueRef:nope", "ok", "fn", {}) == ["HOST_OFFLINE", "OpaqueRef:nope"]
