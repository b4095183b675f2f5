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
"""A pool to measure against: `xapi-host serve` as a process of its own, as people run it, and clients of it."""

import http.client
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.measure import MIB, Missing
from xapikit.client import TlsPolicy, XapiClient

_START_SECONDS = 60
_STOP_SECONDS = 30


@dataclass(frozen=True)
class ServedPool:
    """A running pool and what is needed to talk to it."""

    http: str
    https: str
    fingerprint: str
    username: str
    password: str
    state: Path
    #: of the host, in the order in which they joined
    host_uuids: tuple[str, ...]
    #: of the server
    pid: int
    #: from the start of the process to its line that says that it serves
    start_seconds: float

    def url(self, scheme: str) -> str:
        return self.https if scheme == "https" else self.http

    def client(
        self, scheme: str = "http", originator: str = "nova-xapi-bench", cache_classes: Sequence[str] = ()
    ) -> XapiClient:
        return XapiClient(
            self.url(scheme),
            username=self.username,
            password=self.password,
            originator=originator,
            tls=TlsPolicy(fingerprint=self.fingerprint),
            cache_classes=cache_classes,
        )

    def resident_mib(self) -> float:
        """Memory of the server that is resident now (RSS); it is one process, whatever the number of its hosts."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * resource.getpagesize() / MIB

    def _control(self, method: str, path: str) -> dict[str, object]:
        connection = http.client.HTTPConnection(urlsplit(self.http).netloc, timeout=30)
        token = b64encode(f"{self.username}:{self.password}".encode()).decode()
        with closing(connection):
            connection.request(method, f"/_embedded/{path}", headers={"Authorization": f"Basic {token}"})
            answer = connection.getresponse()
            body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} /_embedded/{path} was answered {answer.status}: {body[:200]!r}")
        found: dict[str, object] = json.loads(body)
        return found

    def reset_counts(self) -> None:
        """Let the server start counting calls at zero."""
        self._control("DELETE", "statistics")

    def counts(self) -> dict[str, int]:
        """Calls and transfers per method since then, as the server counted them."""
        calls = self._control("GET", "statistics")["calls"]
        assert isinstance(calls, dict)
        return {str(name): int(count) for name, count in calls.items()}

    def total(self) -> int:
        """All of them but event.from."""
        total = self._control("GET", "statistics")["total"]
        assert isinstance(total, int)
        return total


@contextmanager
def served_pool(hosts: int = 1, *, directory: Path | None = None) -> Iterator[ServedPool]:
    """Run a fresh pool with timed guests for as long as the context lasts; its state vanishes with it."""
    made = tempfile.mkdtemp(prefix="pool-", dir=directory)
    try:
        with serving(Path(made) / "state", hosts) as pool:
            yield pool
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def serving(state: Path, hosts: int = 1) -> Iterator[ServedPool]:
    """Run the pool of a state directory, which is made when absent, for as long as the context lasts."""
    command = [
        sys.executable, "-m", "xapikit.host.cli", "serve", "--state", str(state), "--hosts", str(hosts),
        "--stop-guests", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--memory", "4096", "--cpus", "64",
        "--json",
    ]  # fmt: skip
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            line = server.stdout.readline()
            if not line:
                raise Missing(f"xapi-host ended with status {server.wait(_START_SECONDS)} instead of serving")
            ready = json.loads(line)
            yield ServedPool(
                http=ready["hosts"][0]["http"],
                https=ready["hosts"][0]["https"],
                fingerprint=ready["fingerprint"],
                username=ready["user"],
                password=Path(ready["password_file"]).read_text().strip(),
                state=state,
                host_uuids=tuple(host["uuid"] for host in ready["hosts"]),
                pid=server.pid,
                start_seconds=time.perf_counter() - begun,
            )
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()


def quiet(pool: ServedPool, seconds_quiet: float = 1.0) -> None:
    """Wait until no call has come for a while: what the driver does behind an operation is part of it."""
    last = pool.total()
    for _ in range(60):
        time.sleep(seconds_quiet)
        now = pool.total()
        if now == last:
            return
        last = now
    raise RuntimeError("the driver goes on calling")
