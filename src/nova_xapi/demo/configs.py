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
"""Render the services' configuration files from the templates beside this module."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from nova_xapi.demo.layout import LOOPBACK, State

# template -> file below STATE/etc
CONTROL_PLANE = {
    "keystone.conf": "keystone/keystone.conf",
    "placement.conf": "placement/placement.conf",
    "glance-api.conf": "glance/glance-api.conf",
    "neutron.conf": "neutron/neutron.conf",
    "nova.conf": "nova/nova.conf",
    "nova-database.conf": "nova/nova-database.conf",
    "nova-cell0.conf": "nova/nova-cell0.conf",
}


def compute_host(number: int) -> str:
    """Name of the compute service of the pool's host `number` (from 1), as Nova lists it."""
    return f"compute{number}"


def common_values(state: State) -> dict[str, str]:
    """What templates may refer to. Holds secrets: only for files of mode 0600."""
    ports, secrets = state.ports, state.secrets()
    keystone = ports.url("keystone", "/v3")
    service_auth = "\n".join(
        (
            "auth_type = password",
            f"auth_url = {keystone}",
            "project_name = service",
            "project_domain_id = default",
            "user_domain_id = default",
            f"password = {secrets['service']}",
        )
    )
    memcached = f"{LOOPBACK}:{ports['memcached']}"
    return {
        "etc": str(state.etc),
        "data": str(state.data),
        "prefix": sys.prefix,
        "loopback": LOOPBACK,
        "database_url": f"mysql+pymysql://openstack:{secrets['database']}@{LOOPBACK}:{ports['mariadb']}",
        "messaging_url": f"rabbit://openstack:{secrets['rabbitmq']}@{LOOPBACK}:{ports['rabbitmq']}/",
        "memcached": memcached,
        "service_auth": service_auth,
        "authtoken": "\n".join(
            (
                service_auth,
                f"www_authenticate_uri = {keystone}",
                f"memcached_servers = {memcached}",
                "service_token_roles = service",
                "service_token_roles_required = True",
            )
        ),
        "glance_url": ports.url("glance"),
        "neutron_url": ports.url("neutron"),
        "novnc_url": ports.url("nova-novncproxy"),
        "novnc_port": str(ports["nova-novncproxy"]),
        "rabbitmq_port": str(ports["rabbitmq"]),
        "rabbitmq_password": secrets["rabbitmq"],
        "metadata_secret": secrets["metadata"],
        "xapi_password": secrets["xapi"],
    }


def render(template: str, values: dict[str, str]) -> str:
    """The template's text with its values; raises KeyError for a name without a value."""
    text = files("nova_xapi.demo").joinpath("templates", template).read_text()
    return Template(text).substitute(values)


def write_control_plane(state: State) -> None:
    """Configuration of everything but the compute services, which wait for the pool's addresses."""
    values = common_values(state)
    for template, name in CONTROL_PLANE.items():
        state.write(state.etc / name, render(template, values))


def write_compute(state: State, number: int, url: str, options: dict[str, str]) -> Path:
    """Configuration of one compute service, read after nova.conf. `options` go into [xenserver]."""
    host = compute_host(number)
    values = common_values(state) | {
        "compute_host": host,
        "xapi_url": url,
        "xapi_options": "\n".join(f"{name} = {value}" for name, value in options.items()),
    }
    (state.data / host / "lock").mkdir(parents=True, exist_ok=True)
    path = state.etc / "nova" / f"{host}.conf"
    state.write(path, render("nova-compute.conf", values))
    return path


def write_client(state: State) -> Path:
    """clouds.yaml for openstackclient and openstacksdk; cloud name `demo`."""
    path = state.root / "clouds.yaml"
    state.write(
        path,
        f"""\
clouds:
  demo:
    auth:
      auth_url: {state.ports.url("keystone", "/v3")}
      username: admin
      password: {state.secrets()["admin"]}
      project_name: admin
      user_domain_id: default
      project_domain_id: default
    region_name: RegionOne
    identity_api_version: 3
    compute_api_version: "2.96"
""",
    )
    return path
