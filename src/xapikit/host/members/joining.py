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
"""A host of a pool of one joins another pool: from the first check to the moment from which it is a member.

The home of the other pool decides, in one transaction. Before it is asked, the host notes that it asks; whoever is
killed in between finds out at the next start, so the host is in the one pool or in the other, never in both or none.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from xapikit.host.errors import ApiError
from xapikit.host.members import carrying, link, preconditions
from xapikit.host.members.link import Link
from xapikit.host.members.remote import Remote

if TYPE_CHECKING:
    from xapikit.host.pool import Pool

_NOT_HERE = "hosts of this server join pools of servers on the same machine, which run for the same user"


def join(pool: Pool, address: str, user: str, password: str, *, force: bool) -> None:
    """Become a member. Raises ApiError; the host is then what it was."""
    host = pool.coordinator
    where = pool.hosts[host]
    with Remote(address, user, password, https_port=where.https_port, http_port=where.http_port) as remote:
        preconditions.check(pool.store, host, remote, force=force)
        if pool.machines.places != 1:
            raise ApiError("OPERATION_NOT_ALLOWED", "the server of this host has other hosts, too")
        said = remote.control("home")
        if said is None or not isinstance(said.get("state"), str):
            raise ApiError("OPERATION_NOT_ALLOWED", _NOT_HERE)
        known = Link(said["state"], pool.store.get("host", host)["uuid"], uuid.uuid4().hex)
        # nothing that is kept changes from here on: what is carried over is all there is
        pool.store.seal()
        try:
            # once more, for what happened while it was asked around
            preconditions.check(pool.store, host, remote, force=force)
            known.write(pool.state, link.JOINING)
            _ask(pool, known, remote.session)
        except BaseException:
            if (pool.state / link.JOINING).exists():
                # nobody knows whether the home has taken it in: the next start asks
                pool.restart_toolstack()
            else:
                pool.store.unseal()
            raise
    pool.restart_toolstack()


def _ask(pool: Pool, known: Link, session: str) -> None:
    """Have the home decide. The note of the attempt stays only if its answer is not known."""
    where = pool.hosts[pool.coordinator]
    message = {
        "purpose": "join",
        "join": known.join,
        "session": session,
        "state": str(pool.state),
        "address": where.address,
        "http_port": where.http_port,
        "https_port": where.https_port,
        "certificate": pool.certificate_of(pool.coordinator),
        "bundle": carrying.pick(pool.store, pool.coordinator),
    }
    try:
        connection = link.call(known.home, message)
    except OSError as error:
        link.withdraw(pool.state)
        raise ApiError("OPERATION_NOT_ALLOWED", _NOT_HERE) from error
    with connection:
        try:
            said = link.receive(connection)
        except OSError as error:
            raise ApiError("JOINING_HOST_SERVICE_FAILED") from error
    if not said["taken"]:
        link.withdraw(pool.state)
        raise ApiError(*said["error"])
    link.confirm(pool.state, Link(known.home, known.host, known.join, said["accounts"]))
