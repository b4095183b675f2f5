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
"""One recorded file against one pool: each step is played and its outcome compared."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from observed.forms import Forms
from observed.http_steps import HttpSteps
from observed.literal import LiteralSteps
from observed.matching import Matcher
from observed.remarks import remarks
from observed.rpc import Outcome, RawCalls
from observed.symbols import SYMBOL, Symbols
from observed.unseen import unseen
from xapikit.host import EmbeddedHost

TASK_SECONDS = 20.0
QUIET_SECONDS = 0.2
"""How long to listen where nothing is expected; the recording took longer."""

Pair = tuple[Any, Any]
"""What was recorded and what came here."""


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


class Replayer:
    """Plays the scenarios of one group in their order; the pool must have two hosts and be fresh."""

    def __init__(self, xapi: EmbeddedHost, directory: Path, group: str) -> None:
        self.xapi = xapi
        self.group = group
        self.symbols = Symbols(xapi)
        self.minimal = _minimal_vm(directory)
        self._forms = Forms(self.minimal)
        self._unseen = unseen()
        self._remarks = remarks()
        self._at = ("", 0)
        self._calls = RawCalls(xapi.urls)
        self._matcher = Matcher(self.symbols, self.fill)
        self._http = HttpSteps(xapi.urls, self.fill)
        self.unplayed = 0
        """Steps that say too little to be played again, and remarks that are not checked."""
        self.tokens: list[str] = []
        """Of ``event.from`` and ``event.inject``, the newest first."""
        self.literal = LiteralSteps(xapi.urls[0], xapi.password, lambda: str(self.symbols["session"]))
        for name in ("session", "s2"):
            login = ["root", xapi.password]
            self.symbols[name] = self.call("session.login_with_password", login, session=False)["value"]
        local = self.call("session.slave_local_login_with_password", ["root", xapi.password], session=False)
        self.symbols["local"] = local["value"]
        self._before((group,))

    def play(self, scenario: dict[str, Any]) -> list[Difference]:
        """Run the steps; returns the differences."""
        differences = []
        del self.tokens[1:]  # a scenario goes on from the newest token, never from an older one
        for number, step in enumerate(scenario["steps"]):
            self._at = (scenario["name"], number)
            self._before((self.group, *self._at))
            try:
                found = self._step(step)
            except (OSError, http.client.HTTPException) as error:
                found = (step.get("outcome"), f"{type(error).__name__}: {error}")
            if found is not None:
                differences.append(Difference(scenario["name"], number, _title(step), *found))
        return differences

    def call(self, method: str, params: list[Any], *, session: Any = None, host: int = 0) -> Outcome:
        """One XML-RPC call, with the recording's session unless another is given; False leaves it out."""
        given = self.symbols["session"] if session is None else session
        return self._calls.call(method, params if given is False else [given, *params], host=host)

    def ok(self, method: str, *params: Any) -> Any:
        """The value of a call that must succeed; symbols in its arguments are filled in."""
        outcome = self.call(method, [self.fill(param) for param in params])
        assert outcome["status"] == "Success", (method, outcome)
        return outcome["value"]

    def fill(self, value: Any) -> Any:
        """A value with its symbols replaced; unknown ones become something plausible."""
        if isinstance(value, str):
            if value == "$token":
                return self.tokens[0] if self.tokens else ""
            if value == "$time":
                return "20380101T00:00:00Z"
            return SYMBOL.sub(lambda found: str(self.symbols.known(found[1])), value)
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        if isinstance(value, dict):
            return {self.fill(k): self.fill(v) for k, v in value.items()}
        return value

    # kinds of steps ----------------------------------------------------------------------------------------------

    def _step(self, step: dict[str, Any]) -> Pair | None:
        if "for_each" in step:
            return self._for_each(step)
        if "call" in step and "params" in step:
            return self._call_step(step)
        if "await_task" in step:
            return self._task_step(step)
        if "xmlrpc_values" in step:
            return self._raw_values(step)
        if "http" in step:
            pair = self._http.play(step)
            self.unplayed += pair is None
            return None if self._compared(pair) is None or pair is None else self._matcher.unlike(*pair)
        if "wire_request" in step:
            return self.literal.play(step)
        check = self._remarks.get((self.group, *self._at))
        if check is not None:
            return self._compared(check(self, step))
        self.unplayed += 1
        return None

    def _call_step(self, step: dict[str, Any]) -> Pair | None:
        method, expected = step["call"], step["outcome"]
        if method == "event.next" and expected.get("error", [""])[0] != "SESSION_NOT_REGISTERED":
            self.unplayed += 1  # it waits for what another client did meanwhile, which is no step
            return None
        if method == "event.from" and step.get("seconds", 0) >= 0.4 and _has_events(step):
            self._change_something_soon()
        session = self.fill(step.get("session", "$session"))
        host = 1 if step.get("to") == "$host2_address" else 0
        params = [self.fill(self._forms.written_out(method, param)) for param in step["params"]]
        if method == "event.from" and len(params) > 2 and isinstance(params[2], float) and not _has_events(step):
            params[2] = min(params[2], QUIET_SECONDS)
        if expected.get("error", [""])[0] == "EVENT_FROM_TOKEN_PARSE_FAILURE":
            params[1] = expected["error"][1]
        outcome = self.call(method, params, session=session, host=host)
        if method == "task.get_record" and _finished(expected):
            self.finish(params[0])  # the recording had waited for it
            outcome = self.call(method, params, session=session, host=host)
        self.symbols.made(expected.get("value"), outcome.get("value"))
        compared = self._compare_outcome(expected, outcome)
        if outcome["status"] == "Success" and method == "event.inject":
            self.tokens.insert(0, outcome["value"])
        if outcome["status"] == "Success" and method == "event.from":
            if compared is not None and step["params"][1] == "$token":
                compared = self._with_an_earlier_token(step, params) and compared
            self.tokens.insert(0, outcome["value"]["token"])
        return compared

    def _change_something_soon(self) -> None:
        """Somebody changed the object while the recorded call waited."""
        change = [self.symbols.known("vm3"), f"changed {time.time()}"]
        threading.Timer(0.4, lambda: self.call("VM.set_name_description", change)).start()

    def _with_an_earlier_token(self, step: dict[str, Any], params: list[Any]) -> Pair | None:
        """The recording does not say which of the earlier tokens was meant."""
        compared: Pair | None = (None, None)
        for token in self.tokens:
            earlier = self.call("event.from", [params[0], token, 0.0])
            compared = self._compare_outcome(step["outcome"], earlier)
            if compared is None:
                break
        return compared

    def _for_each(self, step: dict[str, Any]) -> Pair | None:
        expected: dict[str, Any] = dict.fromkeys(step["valid"])
        for group in step["errors"]:
            expected |= {op: [op if word == "<op>" else word for word in group["error"]] for op in group["ops"]}
        wrong: dict[str, Any] = {}
        for operation, error in expected.items():
            params = [self.fill(operation if param == "<op>" else param) for param in step["params"]]
            found = self.call(step["call"], params).get("error")
            if (error is None) != (found is None) or (error is not None and not self._matcher.matches(error, found)):
                wrong[operation] = (error, found)
        if wrong:
            return {k: v[0] for k, v in wrong.items()}, {k: v[1] for k, v in wrong.items()}
        return None

    def _task_step(self, step: dict[str, Any]) -> Pair | None:
        outcome = self.finish(self.fill(step["await_task"]))
        if outcome["status"] != "Success":
            return step["outcome"], outcome
        record = outcome["value"]
        if "either cancelled or finished" in step.get("note", "") and record["status"] in ("success", "cancelled"):
            return None
        return self._compared((step["outcome"], {name: record.get(name) for name in step["outcome"]}))

    def finish(self, task: str) -> Outcome:
        """The outcome of ``task.get_record`` once the task has ended."""
        deadline = time.monotonic() + TASK_SECONDS
        while True:
            outcome = self.call("task.get_record", [task])
            pending = outcome["status"] == "Success" and outcome["value"]["status"] == "pending"
            if not pending or time.monotonic() > deadline:
                return outcome
            self.call("event.from", [[f"task/{task}"], "", 0.0])

    def _raw_values(self, step: dict[str, Any]) -> Pair | None:
        method, *values = step["xmlrpc_values"]
        body = "".join(f"<param><value>{self.fill(value)}</value></param>" for value in values)
        text = f"<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params>{body}</params></methodCall>"
        found = self._calls.post(text.encode(), 0)[1].decode()
        expected = step["response_body"]
        if "INTERNAL_ERROR" in expected and "INTERNAL_ERROR" in found:
            return None  # the texts inside are nothing to depend on
        return self._compared((expected, found))

    # comparing ---------------------------------------------------------------------------------------------------

    def _compared(self, pair: Pair | None) -> Pair | None:
        return None if pair is None or self._matcher.matches(*pair) else pair

    def _compare_outcome(self, expected: dict[str, Any], found: Outcome) -> Pair | None:
        if expected["status"] != found.get("status"):
            return expected, found
        if expected["status"] != "Success":
            wanted, got = expected["error"], found["error"]
            if wanted[0] == got[0] == "INTERNAL_ERROR" and wanted[1:2] != ["missing field"]:
                return None
            return self._compared((wanted, got))
        if "length" in expected:
            return self._compared((expected["length"], len(found["value"])))
        if "value" not in expected:
            return None
        wanted, value = expected["value"], found["value"]
        if isinstance(wanted, dict) and isinstance(value, dict):
            if "keys" in expected and set(expected["keys"]) != set(value):
                return sorted(set(expected["keys"]) - set(value)), sorted(set(value) - set(expected["keys"]))
            if expected.keys() & {"only", "keys", "left_out", "counts"}:
                value = {k: v for k, v in value.items() if k in wanted}
                # null stands for a member that the record does not have
                wanted = {k: v for k, v in wanted.items() if v is not None or k in value}
            for name in expected.get("counts", ()):
                value = {**value, name: len(value[name])}
        return None if self._matcher.matches(wanted, value) else self._matcher.unlike(wanted, value)

    def _before(self, moment: Any) -> None:
        action = self._unseen.get(moment)
        if action is not None:
            action(self)


def _minimal_vm(directory: Path) -> dict[str, Any]:
    """The complete record of the recorded ``VM.create`` that others are told by."""
    for scenario in json.loads((directory / "vm_lifecycle.json").read_text())["scenarios"]:
        for step in scenario["steps"] if scenario["name"] == "minimal_create" else ():
            if step.get("call") == "VM.create":
                record: dict[str, Any] = step["params"][0]
                return record
    raise ValueError("vm_lifecycle.json has no minimal_create")


def _finished(outcome: dict[str, Any]) -> bool:
    value = outcome.get("value")
    ended = isinstance(value, dict) and value.get("status") in ("success", "failure")
    return ended and value.get("finished") == "$time"


def _has_events(step: dict[str, Any]) -> bool:
    value = step["outcome"].get("value")
    return isinstance(value, dict) and isinstance(value.get("events"), list) and bool(value["events"])


def _title(step: dict[str, Any]) -> str:
    what = step.get("call") or step.get("await_task") or step.get("http") or str(next(iter(step)))
    if "params" in step:
        what += f" {_short(step['params'], 150)}"
    return f"{what} {step['path']}" if "path" in step else str(what)


def _short(value: Any, limit: int = 600) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[:limit] + "..."
