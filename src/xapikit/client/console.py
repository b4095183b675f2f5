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
"""The byte stream of a VM's console: a socket after an HTTP CONNECT."""

from __future__ import annotations

import socket
from typing import Final

from xapikit.client.caller import Caller
from xapikit.client.connection import request_head
from xapikit.client.deadline import Deadline
from xapikit.client.errors import ConsoleRefused

_ATTEMPTS: Final = 2


def open_console(caller: Caller, location: str, timeout: float) -> socket.socket:
    """See :meth:`xapikit.client.XapiClient.open_console`."""
    endpoint, target = caller.sessions.locate(location)
    deadline = Deadline(timeout)
    for attempt in range(_ATTEMPTS):
        session = caller.sessions.current(deadline)
        request = request_head("CONNECT", target, endpoint, {"Cookie": f"session_id={session.ref}"}, version="1.0")
        connection = caller.sessions.connect(endpoint, deadline)
        try:
            connection.send(request, deadline)
            # byte by byte: what follows the blank line belongs to the console
            head = connection.read_head(deadline, ahead=False)
        except BaseException:
            connection.close()
            raise
        if head.status == 200:
            return connection.detach()
        connection.close()
        if head.status == 401 and attempt + 1 < _ATTEMPTS:
            caller.sessions.forget(session)
            continue
        break
    raise ConsoleRefused(
        f"{endpoint} does not serve this console (HTTP {head.status} {head.reason}): the VM may run elsewhere now, be "
        f"halted, or have all its console sessions in use",
        head.status,
    )
