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
"""What `demo status` shows."""

from __future__ import annotations

import time

from nova_xapi.demo.cloud import server_rows
from nova_xapi.demo.layout import PORT_OFFSETS, State
from nova_xapi.demo.processes import Processes
from nova_xapi.demo.services import NAMES


def service_rows(state: State) -> list[dict[str, str]]:
    """One row per service: service, what, state (running, stopped, died), pid, port, up (how long), log."""
    processes = Processes(state.root)
    rows = []
    for name, what in NAMES.items():
        record = processes.record(name)
        if record is None:
            condition = "stopped"
        else:
            condition = "running" if record.alive() else "died"
        rows.append(
            {
                "service": name,
                "what": what,
                "state": condition,
                "pid": str(record.pid) if record and condition == "running" else "",
                "port": str(state.ports[name]) if name in PORT_OFFSETS else "",
                "up": duration(time.time() - record.began) if record and condition == "running" else "",
                "log": str(processes.log_of(name)),
            }
        )
    return rows


def duration(seconds: float) -> str:
    """`42 s`, `5 min`, `3 h 20 min`."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def servers_or_reason(state: State) -> tuple[list[dict[str, str]], str]:
    """The servers as the API lists them, or why it could not be asked."""
    from keystoneauth1.exceptions import ClientException
    from openstack.exceptions import SDKException

    try:
        return server_rows(state), ""
    except (ClientException, SDKException) as error:
        return [], " ".join(str(error).split())
