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
"""Making VDIs so that a lost answer is no lost VDI, and getting rid of them so that being late is no failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from oslo_log import log as logging

from xapikit.client import EventCache, XapiClient
from xapikit.client.errors import ClientError, HandleInvalid, MaybeSent, WaitTimeout, XapiError

LOG = logging.getLogger(__name__)

#: seconds that a host may need to let go of a VDI after a transfer broke off
RELEASE_TIMEOUT: Final = 60.0
#: seconds for which an effect is looked for that may still be under way in the host
LOOK: Final = 3.0
_BUSY: Final = ("VDI_IN_USE", "OTHER_OPERATION_IN_PROGRESS")
_DEFAULTS: Final[Mapping[str, Any]] = {
    "type": "user", "sharable": False, "read_only": False, "xenstore_data": {}, "sm_config": {}, "tags": [],
}  # fmt: skip


def create(client: XapiClient, record: Mapping[str, Any], mark: str) -> str:
    """``VDI.create``; answers the reference. Fields that are not given get the usual values.

    ``record["other_config"][mark]`` must be a value that no other VDI has. When the connection breaks before the
    answer, the VDI that carries it is the one that was made; where there is none, the call is sent once more. SR and
    other_config must be given. Raises what the call raises.
    """
    for last in (False, True):
        try:
            ref: str = client.call("VDI.create", {**_DEFAULTS, **record})
            return ref
        except MaybeSent as error:
            found = _made(client, record["SR"], mark, record["other_config"][mark])
            if found is not None:
                return found
            if last:
                raise
            LOG.info("VDI.create had no effect (%s); sending it again", error)
    raise AssertionError("unreachable")


def _made(client: XapiClient, sr: str, mark: str, value: str) -> str | None:
    """The VDI with that mark; it is looked for a little while, since the call may still be under way in the host."""

    def look(cache: EventCache) -> str | None:
        for ref, found in cache.find("VDI", SR=sr).items():
            if found["other_config"].get(mark) == value:
                return ref
        return None

    client.cache.catch_up()
    try:
        return client.cache.wait_for(look, LOOK)
    except WaitTimeout:
        return None


def discard(client: XapiClient, ref: str) -> bool:
    """Destroy a VDI that nobody uses; whether it is gone.

    One that is still busy is waited for. What cannot be destroyed is logged and left to a later clean-up.
    """
    for attempt in range(3):
        try:
            client.call("VDI.destroy", ref, repeatable=True)
            return True
        except HandleInvalid:
            return True
        except XapiError as error:
            if error.code not in _BUSY or attempt == 2:
                LOG.warning("VDI %s is left to a later clean-up: %s", ref, error)
                return False
            _wait_until_free(client, ref)
        except ClientError as error:
            LOG.warning("VDI %s is left to a later clean-up: %s", ref, error)
            return False
    return False


def _wait_until_free(client: XapiClient, ref: str) -> None:
    """Until the cache shows that the host allows a destroy (again)."""

    def free(cache: EventCache) -> bool:
        record = cache.get("VDI", ref)
        return record is None or "destroy" in record["allowed_operations"]

    try:
        client.cache.catch_up(RELEASE_TIMEOUT)
        client.cache.wait_for(free, RELEASE_TIMEOUT)
    except (ClientError, LookupError) as error:
        LOG.debug("no sign that VDI %s is free: %s", ref, error)
