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
"""Replays recorded exchanges of a real XAPI against the embedded host and lists where the two differ.

Symbols (``$vm``, ``$uuid_3``) are bound when they are first seen in an answer and must keep their value within one
file. ``python tests/observed.py [GROUP...]`` prints what differs and the totals.
"""

from __future__ import annotations

import ast
import http.client
import json
import re
import sys
import threading
import time
import uuid
import xmlrpc.client as stdlib_xmlrpc
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from observed_http import HttpSteps
from xapikit.host import EmbeddedHost
from xapikit.host.store.values import STORED_CLASSES
from xapikit.model import MODEL
from xapikit.wire import Failure, MalformedResponse, xmlrpc

# what stands for a value that must be there and is not compared
ANYTHING = {
    "time",
    "token",
    "generation",
    "any",
    "trackid",
    "backtrace",
    "n",
    "record",
    "counts",
    "text",
    "domid",
    "uuid",
}
SYMBOL = re.compile(r"\$([A-Za-z_]\w*)")
MINIMAL = re.compile(r"<minimal record of vm_lifecycle/minimal_create with (.*)>", re.DOTALL)
WITH = re.compile(r"\{SR: \$sr1, virtual_size: 4194304, type: user, \.\.\.\} with (\{.*\})", re.DOTALL)
TASK_SECONDS = 20.0
QUIET_SECONDS = 0.2
"""How long to listen where nothing is expected; the recording took longer."""
ECHO = """#!/usr/bin/env python3
import sys, xmlrpc.client
params, method = xmlrpc.client.loads(sys.argv[1])
print(xmlrpc.client.dumps(({"Status": "Success", "Value": f"args were: {params[1]}"},), methodresponse=True))
"""


@dataclass
class Difference:
    """A step whose outcome is another one here."""

    scenario: str
    step: int
    what: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        place = f"{self.scenario}[{self.step}] {self.what}"
        return f"{place}\n    recorded {_short(self.expected)}\n    here     {_short(self.found)}"


@dataclass
class Replayer:
    """One recorded file against one pool of two hosts."""

    xapi: EmbeddedHost
    directory: Path
    symbols: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.urls = self.xapi.urls
        self.symbols |= {
            "password": self.xapi.password,
            "host1_address": self.xapi.hosts[0].address,
            "host2_address": self.xapi.hosts[1].address,
            "trackid": "?",
        }
        self.session = self.call("session.login_with_password", ["root", self.xapi.password], session=False)["value"]
        self.symbols["session"] = self.session
        local = self.call("session.slave_local_login_with_password", ["root", self.xapi.password], session=False)
        self.symbols["local"] = local["value"]
        second = self.call("session.login_with_password", ["root", self.xapi.password], session=False)
        self.symbols["s2"] = second["value"]
        self._inventory()
        vm_file = json.loads((self.directory / "vm_lifecycle.json").read_text())
        self._minimal = next(
            step["params"][0]
            for scenario in vm_file["scenarios"]
            if scenario["name"] == "minimal_create"
            for step in scenario["steps"]
            if step.get("call") == "VM.create"
        )
        self._tokens: list[str] = []
        self._http = HttpSteps(self.urls, self._fill)

    def _inventory(self) -> None:
        """Bind what a pool has from the beginning."""
        store = self.xapi.pool.store
        bound = self.symbols
        bound["pool"] = self.xapi.pool.ref
        for number, host in enumerate(store.all("host"), 1):
            row = store.get("host", host)
            bound |= {f"host{number}": host, f"host{number}_uuid": row["uuid"], f"host{number}_name": row["name_label"]}
            bound |= {f"host{number}_metrics": row["metrics"], f"dom0_{number}": row["control_domain"]}
            for ref, pif in store.find("PIF", host=host, physical=True).items():
                bound[f"pif_{pif['device']}_host{number}"] = ref
            for ref, pbd in store.find("PBD", host=host).items():
                sr = store.peek("SR", pbd["SR"])
                if sr is not None and sr["type"] == "ext":
                    bound |= {f"sr{number}": pbd["SR"], f"sr{number}_pbd": ref, f"sr{number}_uuid": sr["uuid"]}
                elif sr is not None and sr["type"] == "iso" and not sr["is_tools_sr"]:
                    bound[f"iso_sr{number}"] = pbd["SR"]
        for ref, network in store.all("network").items():
            bound[f"net_{network['bridge']}"] = ref
        for ref in store.find("VM", name_label="Other install media"):
            bound["other_install_media"] = bound["default_template"] = ref
        for ref, role in store.all("role").items():
            bound[f"role_{role['name_label'].replace('-', '_')}"] = ref

    def prepare(self, group: str) -> None:
        """What was there before the first step of a file, left by files recorded earlier."""
        if group == "events":
            self.symbols["ref_1"] = self._prepared("VM_appliance.create", {"name_label": "earlier"})
        elif group == "pool":
            blob = self._prepared("pool.create_new_blob", self.symbols["pool"], "b", "text/plain", False)
            self.symbols["ref_1"] = blob
            self._prepared("VM.create", {**self._minimal, "name_label": "x"})
        elif group == "rrd":
            self.symbols["start"] = int(time.time()) - 30
            vm = self._prepared("VM.create", {**self._minimal, "name_label": "earlier"})
            self._prepared("VM.start_on", vm, self.symbols["host1"], False, False)
        elif group == "tasks":
            plugins = self.xapi.pool.programs.root(self.xapi.hosts[0].uuid) / "etc/xapi.d/plugins"
            (plugins / "echo").write_text(ECHO)
            (plugins / "echo").chmod(0o755)
        elif group == "database":
            self.symbols["ref_1"] = self._prepared("task.create", "earlier", "")

    def _prepared(self, method: str, *params: Any) -> Any:
        return self.call(method, [self._fill(param) for param in params], session=self.session)["value"]

    # running -----------------------------------------------------------------------------------------------------

    def play(self, scenario: dict[str, Any]) -> list[Difference]:
        """Run the steps; returns the differences."""
        differences = []
        self._tokens = []
        for number, step in enumerate(scenario["steps"]):
            try:
                found = self._step(step)
            except (OSError, http.client.HTTPException) as error:
                found = (step.get("outcome"), f"{type(error).__name__}: {error}")
            if found is not None:
                what = step.get("call") or step.get("await_task") or step.get("http") or str(next(iter(step)))
                if "params" in step:
                    what += f" {_short(step['params'], 150)}"
                if "path" in step:
                    what += f" {step['path']}"
                differences.append(Difference(scenario["name"], number, str(what), *found))
        return differences

    def _step(self, step: dict[str, Any]) -> tuple[Any, Any] | None:
        if "for_each" in step:
            return self._for_each(step)
        if "call" in step and "params" in step:
            if step["call"] == "event.from" and step.get("seconds", 0) >= 0.4 and _has_events(step):
                # somebody changed the object while the call waited
                change = ["VM.set_name_description", [self._fill("$vm3"), f"changed {time.time()}"]]
                threading.Timer(0.4, lambda: self.call(*change, session=self.session)).start()
            return self._call_step(step)
        if "await_task" in step:
            return self._task_step(step)
        if "xmlrpc_values" in step:
            return self._raw_values(step)
        if "http" in step:
            return self._http_step(step)
        return None  # notes, and literal bytes (the codecs' own tests compare those)

    def _call_step(self, step: dict[str, Any]) -> tuple[Any, Any] | None:
        if step["call"] == "event.next" and step["outcome"].get("error", [""])[0] != "SESSION_NOT_REGISTERED":
            return None  # it waits for what another client did meanwhile, which is no step
        session = self._fill(step.get("session", "$session"))
        host = 1 if step.get("to") == "$host2_address" else 0
        params = [self._fill(_complete(step["call"], param)) for param in step["params"]]
        if step["call"] == "event.from" and len(params) > 2 and isinstance(params[2], float) and not _has_events(step):
            params[2] = min(params[2], QUIET_SECONDS)
        wrong_token = step["outcome"].get("error", ["", ""])
        if wrong_token[0] == "EVENT_FROM_TOKEN_PARSE_FAILURE":
            params[1] = wrong_token[1]
        outcome = self.call(step["call"], params, session=session, host=host)
        if step["call"] == "task.get_record" and _finished(step["outcome"]):
            deadline = time.monotonic() + TASK_SECONDS
            while _pending(outcome) and time.monotonic() < deadline:  # the recording had waited for it
                self.call("event.from", [[f"task/{params[0]}"], "", 0.0], session=self.session)
                outcome = self.call(step["call"], params, session=session, host=host)
        self._made(step["outcome"].get("value"), outcome)
        compared = self._compare_outcome(step["outcome"], outcome)
        if step["call"] == "event.from" and outcome["status"] == "Success":
            for token in self._tokens if compared is not None and step["params"][1] == "$token" else ():
                # the recording does not say which of the earlier tokens was meant
                earlier = self.call("event.from", [params[0], token, 0.0], session=self.session)
                if self._compare_outcome(step["outcome"], earlier) is None:
                    compared, outcome = None, earlier
                    break
            self._tokens.insert(0, outcome["value"]["token"])
        if step["call"] == "event.inject" and outcome["status"] == "Success":
            self._tokens.insert(0, outcome["value"])
        return compared

    def _for_each(self, step: dict[str, Any]) -> tuple[Any, Any] | None:
        expected: dict[str, Any] = dict.fromkeys(step["valid"])
        for group in step["errors"]:
            expected |= dict.fromkeys(group["ops"], group["error"])
        wrong: dict[str, Any] = {}
        for operation, error in expected.items():
            params = [self._fill(operation if param == "<op>" else param) for param in step["params"]]
            outcome = self.call(step["call"], params, session=self.session)
            found = outcome.get("error")
            if (error is None) != (found is None) or (error is not None and not self._match(error, found)):
                wrong[operation] = (error, found)
        if wrong:
            return {k: v[0] for k, v in wrong.items()}, {k: v[1] for k, v in wrong.items()}
        return None

    def _task_step(self, step: dict[str, Any]) -> tuple[Any, Any] | None:
        task = self._fill(step["await_task"])
        deadline = time.monotonic() + TASK_SECONDS
        while True:
            outcome = self.call("task.get_record", [task], session=self.session)
            if outcome["status"] != "Success":
                return step["outcome"], outcome
            record = outcome["value"]
            if record["status"] != "pending" or time.monotonic() > deadline:
                break
            self.call("event.from", [[f"task/{task}"], "", 0.0], session=self.session)
        found = {name: record.get(name) for name in step["outcome"]}
        return None if self._match(step["outcome"], found) else (step["outcome"], found)

    def _raw_values(self, step: dict[str, Any]) -> tuple[Any, Any] | None:
        method, *values = step["xmlrpc_values"]
        body = "".join(f"<param><value>{self._fill(value)}</value></param>" for value in values)
        text = f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{body}</params></methodCall>"
        found = self._post(text.encode(), 0)[1].decode()
        expected = step["response_body"]
        if "INTERNAL_ERROR" in expected and "INTERNAL_ERROR" in found:
            return None  # the texts inside are nothing to depend on
        return None if self._match(expected, found) else (expected, found)

    def _http_step(self, step: dict[str, Any]) -> tuple[Any, Any] | None:
        played = self._http.play(step)
        if played is None or self._match(*played):
            return None
        return played

    def call(self, method: str, params: list[Any], *, session: Any, host: int = 0) -> dict[str, Any]:
        """One XML-RPC call; ``session`` False leaves it out."""
        given = params if session is False else [session, *params]
        text = stdlib_xmlrpc.dumps(tuple(given), method, allow_none=True)
        status, body = self._post(text.encode("utf-8"), host)
        try:
            return {"status": "Success", "value": xmlrpc_value(body)}
        except Failure as failure:
            return {"status": "Failure", "error": failure.error}
        except MalformedResponse:
            return {"status": status, "body": body.decode("utf-8", "replace")}

    def _post(self, body: bytes, host: int) -> tuple[str, bytes]:
        connection = http.client.HTTPConnection(urlsplit(self.urls[host]).netloc, timeout=60)
        try:
            connection.request("POST", "/", body)
            reply = connection.getresponse()
            return f"{reply.status} {reply.reason}", reply.read()
        finally:
            connection.close()

    def _made(self, symbol: Any, outcome: dict[str, Any]) -> None:
        """A fresh object stands for its symbol from now on, whatever had that name before in the file; its uuid and,
        for an SR, its PBD are known under names that follow from it."""
        ref = outcome.get("value")
        if not (isinstance(symbol, str) and SYMBOL.fullmatch(symbol) and isinstance(ref, str)):
            return
        name = symbol[1:]
        for class_name in STORED_CLASSES if ref.startswith("OpaqueRef:") and ref not in self.symbols.values() else ():
            row = self.xapi.pool.store.peek(class_name, ref)
            if row is not None:
                self.symbols[name] = ref
                if "uuid" in row:
                    self.symbols[f"{name}_uuid"] = row["uuid"]
                if class_name == "SR" and row["PBDs"]:
                    self.symbols[f"pbd{name.removeprefix('sr')}"] = row["PBDs"][0]

    # symbols -----------------------------------------------------------------------------------------------------

    def _fill(self, value: Any) -> Any:
        """A value with its symbols replaced; unknown ones become something plausible."""
        if isinstance(value, str):
            if value.startswith("<minimal record> with "):
                return self._fill(self._minimal | json.loads(value.removeprefix("<minimal record> with ")))
            minimal = MINIMAL.fullmatch(value)
            if minimal:
                return self._fill(self._minimal | _members(minimal[1]))
            if value == "$token":
                return self._tokens[0] if self._tokens else ""
            if value == "$time":
                return "20380101T00:00:00Z"
            return SYMBOL.sub(lambda found: str(self._known(found[1])), value)
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        if isinstance(value, dict):
            return {self._fill(k): self._fill(v) for k, v in value.items() if k != "note"}
        return value

    def _known(self, name: str) -> Any:
        if name in ("console", "console_uuid") and name not in self.symbols:
            consoles = self.xapi.pool.store.find("console", VM=self.symbols.get("vm", ""), protocol="rfb")
            for ref, row in consoles.items():
                self.symbols |= {"console": ref, "console_uuid": row["uuid"]}
        owner = self.symbols.get(name.removesuffix("_uuid"), "") if name.endswith("_uuid") else ""
        if owner and name not in self.symbols:
            for class_name in STORED_CLASSES:
                row = self.xapi.pool.store.peek(class_name, str(owner))
                if row is not None:
                    self.symbols[name] = row["uuid"]
        if name not in self.symbols:
            fresh = str(uuid.uuid4())
            self.symbols[name] = fresh if "uuid" in name else f"OpaqueRef:{fresh}"
        return self.symbols[name]

    def _compare_outcome(self, expected: dict[str, Any], found: dict[str, Any]) -> tuple[Any, Any] | None:
        if expected["status"] != found.get("status"):
            return expected, found
        if expected["status"] != "Success":
            wanted, got = expected["error"], found["error"]
            if wanted[0] == got[0] == "INTERNAL_ERROR" and wanted[1:2] != ["missing field"]:
                return None
            return None if self._match(wanted, got) else (wanted, got)
        value = found["value"]
        if "value" not in expected:
            return None
        wanted = expected["value"]
        if isinstance(wanted, dict) and isinstance(value, dict):
            if "only" in expected or "keys" in expected or "left_out" in expected or "counts" in expected:
                value = {k: v for k, v in value.items() if k in wanted}
                # null stands for a member that the record does not have
                wanted = {k: v for k, v in wanted.items() if v is not None or k in value}
            if "keys" in expected and set(expected["keys"]) != set(found["value"]):
                return sorted(set(expected["keys"]) - set(found["value"])), sorted(
                    set(found["value"]) - set(expected["keys"])
                )
        return None if self._match(wanted, value) else (_unlike(self, wanted, value))

    def _match(self, wanted: Any, got: Any) -> bool:
        if isinstance(wanted, str) and not isinstance(got, list | dict):
            if re.fullmatch(r"\d+ (events|bytes|entries)", wanted):
                return True
            return self._match_text(wanted, str(got) if isinstance(got, str) else got)
        if isinstance(wanted, str) and wanted.startswith("$") and wanted[1:] in ANYTHING:
            return True
        if isinstance(wanted, str) and re.fullmatch(r"\d+ (events|entries|records)", wanted):
            return True
        if isinstance(wanted, list) and isinstance(got, list):
            if wanted and got and all(isinstance(e, dict) and "operation" in e for e in wanted + got):
                wanted, got = sorted(wanted, key=_event_order), sorted(got, key=_event_order)
            if len(wanted) != len(got):
                return False
            if all(self._match(w, g) for w, g in zip(wanted, got, strict=True)):
                return True
            if all(isinstance(item, str) for item in wanted + got):
                return sorted(str(self._fill(item)) for item in wanted) == sorted(got)
            return False
        if isinstance(wanted, dict) and isinstance(got, dict):
            filled = {self._fill(k) if k[1:] in self.symbols else k: v for k, v in wanted.items()}
            unknown = [k for k in filled if k not in got]
            spare = [k for k in got if k not in filled]
            if len(unknown) == len(spare) == 1 and "$" in unknown[0] and self._match_text(unknown[0], spare[0]):
                filled[spare[0]] = filled.pop(unknown[0])
            return filled.keys() == got.keys() and all(self._match(v, got[k]) for k, v in filled.items())
        if isinstance(wanted, float) and isinstance(got, float):
            return abs(wanted - got) < 1e-9
        return bool(wanted == got and isinstance(wanted, bool) == isinstance(got, bool))

    def _match_text(self, wanted: str, got: Any) -> bool:
        if wanted.startswith("$") and wanted[1:] in ANYTHING:
            return True
        if not isinstance(got, str):
            return wanted == got
        names: list[str] = []
        pattern = ""
        position = 0
        for found in SYMBOL.finditer(wanted):
            pattern += re.escape(wanted[position : found.start()])
            name = found[1]
            if name in ANYTHING:
                pattern += r".*?"
            elif name in self.symbols and f"${name}" != wanted:
                pattern += re.escape(str(self.symbols[name]))
            elif name in self.symbols:
                return bool(got == self.symbols[name])
            else:
                pattern += r"(.*?)"
                names.append(name)
            position = found.end()
        pattern += re.escape(wanted[position:])
        matched = re.fullmatch(pattern, got, re.DOTALL)
        if matched is None:
            return False
        for name, value in zip(names, matched.groups(), strict=True):
            self.symbols[name] = value
        return True


def _unlike(replayer: Replayer, wanted: Any, got: Any) -> tuple[Any, Any]:
    """Only the members that differ."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        names = [
            n for n in {**wanted, **got} if n not in wanted or n not in got or not replayer._match(wanted[n], got[n])
        ]
        return {n: wanted.get(n, "(absent)") for n in names}, {n: got.get(n, "(absent)") for n in names}
    return wanted, got


def _finished(outcome: dict[str, Any]) -> bool:
    value = outcome.get("value")
    return (
        isinstance(value, dict) and value.get("status") in ("success", "failure") and value.get("finished") == "$time"
    )


def _pending(outcome: dict[str, Any]) -> bool:
    value = outcome.get("value")
    return isinstance(value, dict) and value.get("status") == "pending"


def _has_events(step: dict[str, Any]) -> bool:
    return isinstance(step["outcome"].get("value", {}).get("events"), list) and bool(step["outcome"]["value"]["events"])


def _event_order(event: dict[str, Any]) -> tuple[str, str]:
    return event["class"], event["operation"]


def _complete(method: str, param: Any) -> Any:
    """A constructor's record whose members of no interest were left out of the recording."""
    template = WITH.fullmatch(param) if isinstance(param, str) else None
    if template:
        given = {"SR": "$sr1", "name_label": "golden-v", "virtual_size": "4194304", "type": "user", "note": ""}
        return _complete(method, {**given, **json.loads(template[1])})
    if not isinstance(param, dict) or "note" not in param:
        return param
    fields = MODEL.classes[method.partition(".")[0]].fields.values()
    zeros = {f.name: f.type.zero() for f in fields if f.mandatory}
    return {**{k: str(v) if v == 0 and v is not False else v for k, v in zeros.items()}, **param}


def _members(text: str) -> dict[str, Any]:
    """Read ``name_label=x, tags=['t1'], VCPUs_max=3``."""
    found: dict[str, Any] = {}
    for word in re.split(r", (?=\w+=)", text):
        name, _, value = word.partition("=")
        kind = str(MODEL.classes["VM"].fields[name].type) if name in MODEL.classes["VM"].fields else "string"
        if value[:1] in ("[", "{"):
            found[name] = ast.literal_eval(value)
        elif kind == "bool":
            found[name] = value.lower() == "true"
        else:
            found[name] = value
    return found


def xmlrpc_value(body: bytes) -> Any:
    return _native(xmlrpc.decode_response(body))


def _native(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _native(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_native(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _short(value: Any, limit: int = 600) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[:limit] + "..."


def scenarios(directory: Path, group: str) -> Iterator[dict[str, Any]]:
    yield from json.loads((directory / f"{group}.json").read_text())["scenarios"]


def main() -> int:
    from reference import reference_directory

    reference = reference_directory()
    if reference is None:
        print("the reference data is not on this machine")
        return 1
    directory = reference / "observed"
    groups = sys.argv[1:] or sorted(path.stem for path in directory.glob("*.json"))
    totals = {}
    for group in groups:
        agree = steps = differences = 0
        with EmbeddedHost(hosts=2) as xapi:
            replayer = Replayer(xapi, directory)
            replayer.prepare(group)
            played = list(scenarios(directory, group))
            for scenario in played:
                found = replayer.play(scenario)
                agree += not found
                steps += len(scenario["steps"])
                differences += len(found)
                for difference in found:
                    print(difference)
        totals[group] = f"{agree}/{len(played)} scenarios agree, {differences} of {steps} steps differ"
    for group, text in totals.items():
        print(f"{group:13} {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
