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
"""Faults and counts over HTTP, under ``/_embedded/``: for tests whose server is another process.

Authenticated by ``session_id`` or Basic, superusers alone. JSON in, JSON out::

    GET    /_embedded/statistics      counts per method, total without event.from, connections
    DELETE /_embedded/statistics      start counting at zero
    GET    /_embedded/faults          the rules with how often each matched and fired
    POST   /_embedded/faults          add a rule: {"kind": "error", "method": "VM.start", "error": ["SR_FULL"]}
    DELETE /_embedded/faults          remove all rules; /_embedded/faults/NAME removes one
    GET    /_embedded/storage         SRs with their directories, limits and sizes
    POST   /_embedded/storage         full or slow: {"sr": UUID, "limit_bytes": N, "bytes_per_second": N,
                                      "latency_ms": N}, null lifts it; {"kill_data_paths": VDI UUID}
    GET    /_embedded/scenarios       those that are played: what fired and happened, and when
    POST   /_embedded/scenarios       play one: a file (TOML or JSON), or {"shipped": "flaky-network", "seed": 3}
    DELETE /_embedded/scenarios       end all; /_embedded/scenarios/NAME ends one and answers its last report
    POST   /_embedded/restart         restart the toolstack: sessions and tasks vanish, guests go on
    GET    /_embedded/hosts           the hosts: uuid, name, URL, and what each is to whoever asks it
    POST   /_embedded/hosts           {"host": UUID or NAME or "coordinator", "power": "off"}, or "on"
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from xapikit.host.errors import ApiError
from xapikit.host.faults.faults import Faults
from xapikit.host.faults.reading import Reader, ScenarioError, parse
from xapikit.host.faults.rules import Rule
from xapikit.host.faults.scenario import Scenario, load_scenario, read_scenario, shipped_names
from xapikit.host.server.http import HttpConnection, HttpError, HttpRequest, bad_request, not_supported, unauthorised
from xapikit.host.server.router import basic_credentials
from xapikit.host.storage.control import change, describe

if TYPE_CHECKING:
    from xapikit.host.pool import Hardware, Pool

HOME_PATH = "/_embedded/home"
JOIN_ROLE = "pool-operator"
MAX_BODY_BYTES = 1 << 20


class Control:
    """Serves the paths under ``/_embedded``."""

    def __init__(
        self,
        faults: Faults,
        pool: Pool,
        hardware: Hardware,
        connections: Callable[[], int],
        restart: Callable[[], None],
    ) -> None:
        self._faults = faults
        self._pool = pool
        self._hardware = hardware
        self._sessions = pool.sessions
        self._connections = connections
        self._restart = restart
        self._storage = pool.storage

    def __call__(self, request: HttpRequest, connection: HttpConnection) -> bool:
        self._authenticate(request)
        length = request.content_length or 0
        if length > MAX_BODY_BYTES:
            raise bad_request("body too large")
        body = connection.read(length)
        status, value = self._answer(request, body)
        keep = request.keep_alive
        headers = [("connection", "keep-alive" if keep else "close"), ("content-type", "application/json")]
        connection.reply(status, headers, json.dumps(value, indent=1).encode() + b"\n", version=request.version)
        self._pool.answered()
        return keep

    def _authenticate(self, request: HttpRequest) -> None:
        try:
            session = request.argument("session_id")
            credentials = basic_credentials(request)
            if session is not None:
                self._sessions.check(session)
                role = JOIN_ROLE if request.path == HOME_PATH else "pool-admin"
                self._sessions.require(session, "embedded/control", role)
                return
            if credentials is not None and self._sessions.authenticate(*credentials).superuser:
                return
        except ApiError:
            pass  # answered like no credentials at all
        raise unauthorised("embedded")

    def _answer(self, request: HttpRequest, body: bytes) -> tuple[str, Any]:
        parts = [unquote(part) for part in request.path.strip("/").split("/")[1:]]
        match request.method, parts:
            case "GET", ["statistics"]:
                counts = self._faults.call_counts()
                value = {"calls": counts, "total": self._faults.total(), "connections": self._connections()}
                return "200 OK", value
            case "DELETE", ["statistics"]:
                self._faults.reset_counts()
                return "200 OK", {}
            case "GET", ["faults"]:
                return "200 OK", [rule.describe() for rule in self._faults.rules]
            case "POST", ["faults"]:
                try:
                    rule = self._faults.add(Rule.from_json(json.loads(body)))
                except (ValueError, RecursionError) as error:
                    return "400 Bad Request", {"error": str(error)}
                return "201 Created", rule.describe()
            case "DELETE", ["faults"]:
                self._faults.clear()
                return "200 OK", {}
            case "DELETE", ["faults", name]:
                try:
                    return "200 OK", self._faults.remove(name).describe()
                except KeyError:
                    return "404 Not Found", {"error": f"no rule named {name!r}"}
            case "GET", ["scenarios"]:
                return "200 OK", [playing.report() for playing in self._faults.playing]
            case "POST", ["scenarios"]:
                try:
                    scenario, seed = _scenario(body)
                    return "201 Created", self._faults.load(scenario, seed=seed).report()
                except ValueError as error:
                    return "400 Bad Request", {"error": str(error)}
            case "DELETE", ["scenarios"]:
                return "200 OK", [self._faults.end(playing.name).report() for playing in self._faults.playing]
            case "DELETE", ["scenarios", name]:
                try:
                    return "200 OK", self._faults.end(name).report()
                except KeyError:
                    return "404 Not Found", {"error": f"no scenario named {name!r} is played"}
            case "GET", ["storage"]:
                return "200 OK", describe(self._storage)
            case "POST", ["storage"]:
                try:
                    return "200 OK", change(self._storage, json.loads(body))
                except (ValueError, RecursionError) as error:
                    return "400 Bad Request", {"error": str(error)}
            case "POST", ["restart"]:
                self._pool.after_answer(self._restart)
                return "202 Accepted", {}  # it happens after the answer
            case "GET", ["home"]:
                return "200 OK", {"state": str(self._pool.state)}
            case "GET", ["hosts"]:
                return "200 OK", [self._host(ref) for ref in list(self._pool.hosts)]
            case "POST", ["hosts"]:
                try:
                    return "202 Accepted", self._host(self._power(json.loads(body)))
                except (ValueError, RecursionError) as error:
                    return "400 Bad Request", {"error": str(error)}
            case (("GET" | "POST" | "DELETE"), _):
                raise HttpError("404 Not Found", "<h1>404 Not Found</h1>")
        raise not_supported(request.method)

    def _host(self, ref: str) -> dict[str, Any]:
        row, where = self._pool.store.get("host", ref), self._pool.hosts[ref]
        standing = self._pool.standing(ref).value
        return {"uuid": row["uuid"], "name": row["name_label"], "url": where.url(), "standing": standing}

    def _power(self, order: Any) -> str:
        """Switch a host; returns its reference. Raises ValueError."""
        if not isinstance(order, dict) or set(order) != {"host", "power"} or order["power"] not in ("on", "off"):
            raise ValueError('a host is switched by {"host": UUID, "power": "on" or "off"}')
        rows = self._pool.store.all("host")
        names = {self._pool.coordinator: "coordinator"}
        found = [ref for ref, row in rows.items() if order["host"] in (row["uuid"], row["name_label"], names.get(ref))]
        if not found:
            raise ValueError(f"the pool has no host {order['host']!r}")
        act = self._hardware.power_on if order["power"] == "on" else self._hardware.power_off
        # after the answer: the host that gives it may be the one that goes
        self._pool.after_answer(lambda: act(found[0]))
        return found[0]


def _scenario(body: bytes) -> tuple[Scenario, int | None]:
    """The scenario of a request, and the seed that takes the place of its own. Raises ScenarioError.

    Files of the server are not read: a request has a scenario in it, or names one that is shipped.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ScenarioError(str(error)) from None
    members, _ = parse(text)
    if not isinstance(members, dict) or "shipped" not in members:
        return read_scenario(text), None
    reader = Reader(members)
    name, seed = reader.text("shipped", among=shipped_names()), reader.maybe_whole("seed")
    reader.end()
    return load_scenario(name), seed
