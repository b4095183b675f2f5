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
"""Virtual CPUs: count, topology, weight."""

from __future__ import annotations

from typing import Any

from nova import exception

from nova_xapi.spec.image import Properties


def cores_per_socket(flavor: Any, props: Properties) -> int | None:
    """What flavor (``hw:cpu_cores``, ``hw:cpu_sockets``) or image ask for; None where neither does.

    Raises InvalidInput for a topology that does not make up the flavor's vCPUs.
    """
    wanted = {name: _wanted(flavor, props, name) for name in ("cpu_sockets", "cpu_cores", "cpu_threads")}
    if all(value is None for value in wanted.values()):
        return None
    threads = wanted["cpu_threads"]
    if threads not in (None, 1):
        raise _refused(flavor, f"{threads} threads per core; guests of XAPI have 1")
    cores, sockets = wanted["cpu_cores"], wanted["cpu_sockets"]
    if 0 in (cores, sockets):
        raise _refused(flavor, "none at all")
    if cores is None:
        cores = flavor.vcpus // (sockets or 1)
    if cores == 0 or flavor.vcpus % cores or (sockets and sockets * cores != flavor.vcpus):
        raise _refused(flavor, f"{sockets or 'any number of'} sockets of {cores} cores")
    return cores


def params(flavor: Any) -> dict[str, str]:
    """``VCPUs_params``: the flavor's weight in Xen's scheduler, where it has one."""
    weight = getattr(flavor, "vcpu_weight", None)
    return {"weight": str(weight), "cap": "0"} if weight else {}


def _wanted(flavor: Any, props: Properties, name: str) -> int | None:
    value = (flavor.extra_specs or {}).get(f"hw:{name}", props.get(f"hw_{name}"))
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        raise exception.InvalidInput(reason=f"hw:{name} = {value!r} of flavor {flavor.name} is no number") from None


def _refused(flavor: Any, what: str) -> exception.InvalidInput:
    return exception.InvalidInput(
        reason=f"CPU topology of flavor {flavor.name} or its image: {what} do not make up {flavor.vcpus} vCPUs"
    )
