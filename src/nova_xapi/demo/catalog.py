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
"""Keystone's content: the services' users, and where each API is."""

from __future__ import annotations

from typing import Any

from nova_xapi.demo.jobs import Note
from nova_xapi.demo.layout import State

# user -> service type, port, path of the endpoint
SERVICES = {
    "nova": ("compute", "nova-api", "/v2.1"),
    "glance": ("image", "glance", ""),
    "placement": ("placement", "placement", ""),
    "neutron": ("network", "neutron", ""),
}


def connect(state: State) -> Any:
    """An openstacksdk connection as the cloud's administrator."""
    import openstack

    return openstack.connect(
        auth_url=state.ports.url("keystone", "/v3"),
        username="admin",
        password=state.secrets()["admin"],
        project_name="admin",
        user_domain_id="default",
        project_domain_id="default",
        region_name="RegionOne",
        # a newer microversion than needed, named so that answers do not depend on the SDK's default
        compute_api_version="2.96",
        app_name="nova-xapi-demo",
    )


def fill(state: State, note: Note) -> None:
    """Users, roles, services and endpoints; can run again after it was cut short."""
    identity = connect(state).identity
    roles = {role.name: role for role in identity.roles()}
    for name in ("admin", "service"):
        if name not in roles:
            roles[name] = identity.create_role(name=name)
    project = identity.find_project("service") or identity.create_project(name="service", domain_id="default")
    password = state.secrets()["service"]
    for name, (kind, port, path) in SERVICES.items():
        note(name)
        user = identity.find_user(name) or identity.create_user(name=name, password=password, domain_id="default")
        for role in ("admin", "service"):
            identity.assign_project_role_to_user(project, user, roles[role])
        services = [service for service in identity.services() if service.type == kind]
        service = services[0] if services else identity.create_service(name=name, type=kind)
        have = {endpoint.interface for endpoint in identity.endpoints(service_id=service.id)}
        # Nova and its middleware look for the internal one, people for the public one
        for interface in {"public", "internal"} - have:
            identity.create_endpoint(
                service_id=service.id, interface=interface, url=state.ports.url(port, path), region_id="RegionOne"
            )
