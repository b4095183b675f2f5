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
"""MariaDB's directory, the services' databases and their schemas."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Event

from cryptography.fernet import Fernet

from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.jobs import Note
from nova_xapi.demo.layout import LOOPBACK, State
from nova_xapi.demo.packages import find
from nova_xapi.demo.services import Services

DATABASES = ("keystone", "glance", "placement", "neutron", "nova_api", "nova", "nova_cell0")


def run_logged(services: Services, log: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    """Run a command of the set-up to its end, its output in STATE/log; raises DemoError with the end of it."""
    run_status(services, log, argv, env, accept=(0,))


def run_status(
    services: Services, log: str, argv: list[str], env: dict[str, str] | None = None, accept: tuple[int, ...] = (0,)
) -> int:
    """The same, with exit codes that are fine as well; the exit code."""
    path = services.processes.log_of(log)
    with path.open("ab") as file:
        process = subprocess.run(
            argv,
            env=services.environment(env),
            cwd=services.state.root,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=600,
        )
    if process.returncode not in accept:
        raise DemoError(
            f"{Path(argv[0]).name} {argv[-1]} failed with exit code {process.returncode}; "
            f"the end of {path}:\n{services.processes.tail(log)}"
        )
    return process.returncode


def prepare_mariadb(services: Services) -> None:
    """Make the data directory at the first time. Only this Unix user gets in as the database's root, by socket."""
    data = services.state.data / "mysql"
    if (data / "mysql").is_dir() and services.state.done("mariadb").exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    user = pwd.getpwuid(os.geteuid()).pw_name
    as_mysql = []
    if os.geteuid() == 0:
        owner = pwd.getpwnam("mysql")
        os.chown(data, owner.pw_uid, owner.pw_gid)
        as_mysql = ["--user=mysql"]
    run_logged(
        services,
        "mariadb-install",
        [
            find("mariadb-install-db"),
            "--no-defaults",
            *as_mysql,
            f"--datadir={data}",
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
            f"--auth-root-socket-user={user}",
            "--skip-name-resolve",
        ],
    )
    services.state.done("mariadb").touch()


def create_databases(services: Services) -> None:
    """The services' databases and their user (idempotent). The password goes through standard input."""
    password = services.state.secrets()["database"]
    statements = [f"CREATE USER IF NOT EXISTS 'openstack'@'{LOOPBACK}' IDENTIFIED BY '{password}';"]
    for name in DATABASES:
        statements.append(f"CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb3;")
        statements.append(f"GRANT ALL ON {name}.* TO 'openstack'@'{LOOPBACK}';")
    user = pwd.getpwuid(os.geteuid()).pw_name
    process = subprocess.run(
        [find("mariadb"), "--no-defaults", f"--socket={services.state.data / 'mysql/sock'}", f"--user={user}"],
        input="\n".join(statements),
        env=services.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if process.returncode != 0:
        raise DemoError(f"MariaDB refused to make the databases: {process.stderr.strip()}")


# -- schemas: each once per state directory, all at the same time ---------------------------------
def once(services: Services, step: str, work: Callable[[Note], None]) -> Callable[[Note, Event], str | None]:
    """A job that is done once per state directory."""

    def run(note: Note, stop: Event) -> str | None:
        if services.state.done(step).exists():
            return "as before"
        work(note)
        services.state.done(step).touch()
        return None

    return run


def sync_keystone(services: Services, note: Note) -> None:
    config = ["--config-file", str(services.state.etc / "keystone/keystone.conf")]
    manage = [services.program("keystone-manage"), *config]
    note("tables")
    run_logged(services, "schema-keystone", [*manage, "db_sync"])
    note("administrator and endpoints")
    url = services.state.ports.url("keystone", "/v3")
    # the password through the environment: arguments can be read by everybody
    run_logged(
        services,
        "schema-keystone",
        [*manage, "bootstrap"],
        {
            "OS_BOOTSTRAP_PASSWORD": services.state.secrets()["admin"],
            "OS_BOOTSTRAP_REGION_ID": "RegionOne",
            "OS_BOOTSTRAP_ADMIN_URL": url,
            "OS_BOOTSTRAP_PUBLIC_URL": url,
            "OS_BOOTSTRAP_INTERNAL_URL": url,
        },
    )


def make_keystone_keys(state: State) -> None:
    """Keystone's keys (idempotent), as its own `fernet_setup` makes them: 0 is the staged, the highest the primary."""
    for kind in ("fernet", "receipt", "credential"):
        directory = state.etc / f"keystone/{kind}-keys"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number in ("0", "1"):
            if not (directory / number).exists():
                state.write(directory / number, Fernet.generate_key().decode())


def sync_glance(services: Services, note: Note) -> None:
    for name in ("images", "staging", "tasks", "lock"):
        (services.state.data / "glance" / name).mkdir(parents=True, exist_ok=True)
    config = str(services.state.etc / "glance/glance-api.conf")
    run_logged(services, "schema-glance", [services.program("glance-manage"), "--config-file", config, "db_sync"])


def sync_placement(services: Services, note: Note) -> None:
    config = services.state.etc / "placement"
    manage = [services.program("placement-manage"), "--config-file", str(config / "placement.conf")]
    run_logged(services, "schema-placement", [*manage, "db", "sync"], {"OS_PLACEMENT_CONFIG_DIR": str(config)})


def sync_neutron(services: Services, note: Note) -> None:
    manage = [services.program("neutron-db-manage"), "--config-file", str(services.state.etc / "neutron/neutron.conf")]
    run_logged(services, "schema-neutron", [*manage, "upgrade", "heads"])


def sync_nova_api(services: Services, note: Note) -> None:
    """The API database, and the two cells in it. The cells' addresses come from the configuration, not from arguments,
    which everybody can read."""
    manage = nova_manage(services)
    note("tables")
    run_logged(services, "schema-nova-api", [*manage, "api_db", "sync"])
    note("cells")
    run_logged(services, "schema-nova-api", [*manage, "cell_v2", "map_cell0"])
    # 2: it exists, from an earlier attempt
    run_status(services, "schema-nova-api", [*manage, "cell_v2", "create_cell", "--name", "cell1"], accept=(0, 2))


def sync_nova_cell1(services: Services, note: Note) -> None:
    run_logged(services, "schema-nova-cell1", [*nova_manage(services), "db", "sync", "--local_cell"])


def sync_nova_cell0(services: Services, note: Note) -> None:
    """The database of servers that could be scheduled nowhere."""
    manage = [*nova_manage(services), *services.nova_files("nova-cell0.conf")]
    run_logged(services, "schema-nova-cell0", [*manage, "db", "sync", "--local_cell"])


def nova_manage(services: Services) -> list[str]:
    return [services.program("nova-manage"), *services.nova_files("nova.conf", "nova-database.conf")]
