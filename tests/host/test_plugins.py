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

from pathlib import Path

import pytest

from xapi_caller import Caller
from xapikit.host import EmbeddedHost

REPLY = (
    "<?xml version='1.0'?><methodResponse><params><param><value><struct><member><name>Status</name>"
    "<value>%s</value></member>%s</struct></value></param></params></methodResponse>"
)
SUCCESS = REPLY % ("Success", "<member><name>Value</name><value>%s</value></member>")
FAILURE = REPLY % (
    "Failure",
    "<member><name>ErrorDescription</name><value><array><data>%s</data></array></value></member>",
)


def install(xapi: EmbeddedHost, name: str, script: str, mode: int = 0o755) -> Path:
    path = xapi.pool.programs.root(xapi.hosts[0].uuid) / "etc/xapi.d/plugins" / name
    path.write_text(script, encoding="utf-8")
    path.chmod(mode)
    return path


def printing(text: str, after: str = "") -> str:
    return f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n{after}\n"


def xml_error(text: str) -> list[str]:
    return ["INTERNAL_ERROR", f'XMLRPC.RunTimeTypeError("{text}", _)']


HEAD, TAIL = SUCCESS.split("%s")
BIG = f"#!/bin/sh\nprintf '%s' \"{HEAD}\"\nhead -c 2000000 /dev/zero | tr '\\0' x\nprintf '%s' \"{TAIL}\"\n"
OUTPUTS = {
    "ok": (printing(SUCCESS % "hello"), "hello"),
    "tagged": (printing(SUCCESS % "<string>hello</string>"), "hello"),
    "empty": (printing(SUCCESS % ""), ""),
    "utf8": (printing(SUCCESS % "žluť 中 &lt;&amp;&gt;"), "žluť 中 <&>"),
    "noise after": (printing(SUCCESS % "x" + "\nnoise"), "x"),
    "stderr": (printing(SUCCESS % "x", "echo err >&2"), "x"),
    "big": (BIG, "x" * 2_000_000),
}  # fmt: skip

ERRORS = {
    "int": (printing(SUCCESS % "<int>5</int>"), xml_error("unbox: Element=int should contain 'string'")),
    "struct": (printing(SUCCESS % "<struct></struct>"), xml_error("unbox: Element=struct should contain 'string'")),
    "nil": (printing(SUCCESS % "<nil/>"), xml_error("unbox: Element=nil should contain 'string'")),
    "failure": (
        printing(FAILURE % "<value>MY_CODE</value><value>p1</value><value>p2</value>"),
        ["MY_CODE", "p1", "p2"],
    ),
    "failure empty": (printing(FAILURE % ""), xml_error("Empty array of error strings")),
    "failure int": (
        printing(FAILURE % "<value><int>1</int></value>"),
        xml_error("unbox: Element=int should contain 'string'"),
    ),
    "exit": (
        "#!/bin/sh\necho out; echo err >&2; exit 3\n",
        ["XENAPI_PLUGIN_FAILURE", "non-zero exit", "out\n", "err\n"],
    ),
    "kill": ("#!/bin/sh\nkill -KILL $$\n", ["XENAPI_PLUGIN_FAILURE", "signal: SIGKILL", "", ""]),
    "term": ("#!/bin/sh\nkill -TERM $$\n", ["XENAPI_PLUGIN_FAILURE", "signal: SIGTERM", "", ""]),
    "silent": (
        "#!/bin/sh\n",
        ["XENAPI_PLUGIN_FAILURE", "failed to parse plugin output", "", "unexpected end of input line 1"],
    ),
    "text": (
        printing("plain text"),
        ["XENAPI_PLUGIN_FAILURE", "failed to parse plugin output", "plain text\n", "expected root element line 1"],
    ),
    "control character": (
        printing(SUCCESS % "a&#7;b"),
        ["XENAPI_PLUGIN_FAILURE", "failed to parse plugin output", SUCCESS % "a&#7;b" + "\n",
         "illegal character reference (#7) line 1"],
    ),
    "bad utf8": ("#!/bin/sh\nprintf '<methodResponse>\\377'\n", ["INTERNAL_ERROR", "Db_exn.Invalid_value"]),
    "other": (printing("<foo/>"), xml_error("unbox: Element=foo should contain 'methodResponse'")),
    "bare": (
        printing("<methodResponse><params><param><value>bare</value></param></params></methodResponse>"),
        xml_error("unbox: PCData=bare should contain 'struct'"),
    ),
    "no status": (
        printing("<methodResponse><params><param><value><struct></struct></value></param></params></methodResponse>"),
        xml_error("Status"),
    ),
    "fault": (
        printing("<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int></value></member>"
                 "<member><name>faultString</name><value>bad</value></member></struct></value></fault></methodResponse>"),
        ["XENAPI_PLUGIN_FAILURE", "fault", "4", "bad"],
    ),
    "interpreter": ("#!/no/such/program\n", ["XENAPI_PLUGIN_FAILURE", "non-zero exit", "", ""]),
}  # fmt: skip


def test_what_a_plugin_prints_decides_what_the_caller_gets(xapi_host: EmbeddedHost, call: Caller) -> None:
    host = call("host.get_all")[0]
    for name, (script, value) in OUTPUTS.items():
        install(xapi_host, name, script)
        assert call("host.call_plugin", host, name, "fn", {"k": "v"}) == value, name
    for name, (script, error) in ERRORS.items():
        install(xapi_host, name, script)
        assert call.error("host.call_plugin", host, name, "fn", {"k": "v"}) == error, name


def test_a_plugin_gets_one_argument_an_empty_environment_and_the_callers_session(
    xapi_host: EmbeddedHost, call: Caller
) -> None:
    host = call("host.get_all")[0]
    show = "#!/usr/bin/env python3\nimport os, sys\nfrom xml.sax.saxutils import escape\n"
    install(xapi_host, "argv", show + f"print({SUCCESS!r} % escape(str(len(sys.argv)) + ' ' + sys.argv[1]))\n")
    install(xapi_host, "env", show + f"print({SUCCESS!r} % escape(' '.join(sorted(os.environ)) + ' ' + os.getcwd()))\n")
    expected = (
        f"2 <methodCall><methodName>fn</methodName><params><param><value>{call.session}</value></param><param><value>"
        "<struct><member><name>k</name><value>&lt;&amp;&gt;</value></member></struct></value></param></params></methodCall>"
    )
    assert call("host.call_plugin", host, "argv", "fn", {"k": "<&>"}) == expected
    assert call("host.call_plugin", host, "argv", "", {}).endswith("<struct/></value></param></params></methodCall>")
    assert call("host.call_plugin", host, "env", "fn", {}) == "LC_CTYPE PATH XAPI_DOM0_ROOT XAPI_URL /"


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
