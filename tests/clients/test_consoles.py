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
"""vncdotool on the console of a guest, through a small relay: it speaks plain TCP, a host wants CONNECT."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clients.conftest import run
from nova_xapi.console.pump import pump
from xapikit.client import TlsPolicy, XapiClient
from xapikit.host.pytest_plugin import XapiFactory, xapi_factory  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
SECONDS = 30.0
LOOK = """
import json, sys
from PIL import Image
image = Image.open(sys.argv[1]).convert("RGB")
print(json.dumps([image.size, len(image.getcolors(1 << 24))]))
"""


@contextmanager
def relayed(client: XapiClient, location: str) -> Iterator[int]:
    """A port of this machine behind which the console is, for one visitor after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    visitor, _ = listening.accept()
                except OSError:  # the test is over
                    return
                with visitor, client.open_console(location, SECONDS) as console:
                    try:
                        pump(visitor, console)
                    except OSError:  # a visitor who has seen enough
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)


@pytest.mark.parametrize("https", [False, True], ids=["http", "https"])
def test_vncdotool_sees_the_screen_and_types(
    xapi_factory: XapiFactory,  # noqa: F811
    python_with: Callable[..., Path],
    tmp_path: Path,
    https: bool,
) -> None:
    python = python_with("vncdotool==1.4.2")
    xapi = xapi_factory(https=https, options={"timed_delay": "0"})
    tls = TlsPolicy(fingerprint=xapi.fingerprint) if https else None
    with XapiClient(xapi.url, username="root", password=xapi.password, originator="vnc", tls=tls) as client:
        templates = client.call("VM.get_by_name_label", "Other install media")
        vm = client.call("VM.clone", templates[0], "screen")
        client.call("VM.provision", vm)
        client.call("VM.start", vm, False, False)
        consoles = [client.call("console.get_record", ref) for ref in client.call("VM.get_consoles", vm)]
        location = next(console["location"] for console in consoles if console["protocol"] == "rfb")
        with relayed(client, location) as port:
            vncdo = [python.parent / "vncdo", "-s", f"127.0.0.1::{port}", "-t", "20"]
            first, second = tmp_path / "first.png", tmp_path / "second.png"
            run(*vncdo, "capture", first, timeout=60)
            run(*vncdo, "type", "hello", "key", "enter", "mousemove", "10", "10", "click", "1", "capture", second)
        for picture in (first, second):
            size, colours = json.loads(run(python, "-c", LOOK, picture))
            assert size == [640, 400] and colours > 4
