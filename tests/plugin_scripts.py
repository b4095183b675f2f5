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
"""Plug-ins that end in every way that a plug-in can end, by the names that the recording gave them."""

from __future__ import annotations

from pathlib import Path

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
HEAD, TAIL = SUCCESS.split("%s")


def printing(text: str, after: str = "") -> str:
    return f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n{after}\n"


def value(text: str) -> str:
    return printing(SUCCESS % text)


def showing(expression: str) -> str:
    """A plug-in that returns a Python expression; ``call`` is what it was called with, decoded."""
    return (
        "#!/usr/bin/env python3\nimport os, sys, xmlrpc.client\nfrom xml.sax.saxutils import escape\n"
        f"call = xmlrpc.client.loads(sys.argv[1])\nprint({SUCCESS!r} % escape({expression}))\n"
    )


DISPATCHING = '''#!/usr/bin/env python3
"""Speaks as the stock dispatcher of dom0 does."""
import sys, xmlrpc.client

class Failure(Exception):
    def __init__(self, code, params):
        super().__init__(code)
        self.words = [code, *params]

def raising(error):
    raise error

def answer(status, member, value):
    print(xmlrpc.client.dumps(({"Status": status, member: value},), "", True))

FUNCTIONS = FUNCTIONS_HERE
params, name = xmlrpc.client.loads(sys.argv[1])
session, arguments = params
if name not in FUNCTIONS:
    answer("Failure", "ErrorDescription", ["UNKNOWN_XENAPI_PLUGIN_FUNCTION", name])
else:
    try:
        answer("Success", "Value", FUNCTIONS[name](arguments))
    except Failure as error:
        answer("Failure", "ErrorDescription", error.words)
    except Exception as error:
        answer("Failure", "ErrorDescription", ["XENAPI_PLUGIN_FAILURE", name, type(error).__name__, str(error)])
'''
DISPATCHED = """{
    "a": lambda arguments: "v",
    "i": lambda arguments: 5,
    "d": lambda arguments: {"k": "v"},
    "n": lambda arguments: None,
    "e": lambda arguments: raising(ValueError("boom")),
    "f": lambda arguments: raising(Failure("CODE_X", ["p", "q"])),
    "x": lambda arguments: sys.exit(4),
}"""

SCRIPTS = {
    "ok": value("hello"),
    "ok_string": value("<string>hello</string>"),
    "empty_value": value(""),
    "int": value("<int>5</int>"),
    "struct": value("<struct></struct>"),
    "array": value("<array><data></data></array>"),
    "bool": value("<boolean>1</boolean>"),
    "nil": value("<nil/>"),
    "noise_before": printing("noise\n" + SUCCESS % "x"),
    "noise_after": printing(SUCCESS % "x" + "\nnoise"),
    "stderr": printing(SUCCESS % "x", "echo err >&2"),
    "exit3": "#!/bin/sh\necho out; echo err >&2; exit 3\n",
    "exit3_ok": printing(SUCCESS % "x", "exit 3"),
    "silent": "#!/bin/sh\n",
    "text": printing("plain text"),
    "kill": "#!/bin/sh\nkill -KILL $$\n",
    "term": "#!/bin/sh\nkill -TERM $$\n",
    "failure": printing(FAILURE % "<value>MY_CODE</value><value>p1</value><value>p2</value>"),
    "failure_empty": printing(FAILURE % ""),
    "failure_int": printing(FAILURE % "<value><int>1</int></value>"),
    "fault": printing(
        "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int></value></member>"
        "<member><name>faultString</name><value>bad</value></member></struct></value></fault></methodResponse>"
    ),
    "bare": printing("<methodResponse><params><param><value>bare</value></param></params></methodResponse>"),
    "other": printing("<foo/>"),
    "nostatus": printing(
        "<methodResponse><params><param><value><struct></struct></value></param></params></methodResponse>"
    ),
    "noexec": value("x"),
    "badinterp": "#!/no/such/program\n",
    "utf8": value("žluť 中 &lt;&amp;&gt;"),
    "badutf8": f"#!/bin/sh\nprintf '%s\\377%s' \"{HEAD}\" \"{TAIL}\"\n",
    "ctl": value("a&#7;b"),
    "argv": showing("f'{len(sys.argv)} {sys.argv[1]}'"),
    "env": showing("f\"{' '.join(sorted(os.environ))} cwd={os.getcwd()} uid={os.getuid()}\""),
    "session": showing("f\"{call[1]} {'ref' if call[0][0].startswith('OpaqueRef:') else 'no ref'} "
                       "{sorted(call[0][1].items())}\""),
    "big": f"#!/bin/sh\nprintf '%s' \"{HEAD}\"\nhead -c 2000000 /dev/zero | tr '\\0' x\nprintf '%s' \"{TAIL}\"\n",
    "sleep": f"#!/bin/sh\nsleep 2\nprintf '%s' \"{SUCCESS % 'x'}\"\n",
    "mod": DISPATCHING.replace("FUNCTIONS_HERE", DISPATCHED),
}  # fmt: skip
ECHO = DISPATCHING.replace("FUNCTIONS_HERE", '{"main": lambda arguments: f"args were: {arguments}"}')


def install(xapi: EmbeddedHost, name: str, script: str, *, mode: int = 0o755, host: int = 0) -> Path:
    """Put a plug-in into the dom0 of a host."""
    path = xapi.pool.programs.root(xapi.hosts[host].uuid) / "etc/xapi.d/plugins" / name
    path.write_text(script, encoding="utf-8")
    path.chmod(mode)
    return path
