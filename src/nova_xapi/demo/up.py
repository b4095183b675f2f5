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
"""`demo up`: everything from Debian packages to two running servers, as jobs that wait for each other."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from nova_xapi.demo import catalog, cloud, configs, database, packages, pool
from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.guest import build, debs
from nova_xapi.demo.jobs import Job, Note, Timing, run_jobs
from nova_xapi.demo.layout import HOSTS, PORT_OFFSETS, State
from nova_xapi.demo.progress import Progress
from nova_xapi.demo.services import Service, Services


@contextmanager
def only_one(state: State) -> Iterator[None]:
    """One `up` or `down` at a time in a state directory."""
    with (state.run / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(
                f"another nova-xapi demo up or down is at work in {state.root}", "wait until it is done"
            ) from None
        yield


def up(state: State, progress: Progress) -> list[Timing]:
    """Bring everything up; what runs already is left alone. The time each job took (s)."""
    packages.require_python_packages()
    services = Services(state)
    if not services.processes.records():
        # all at once and before anything is installed, so that the user hears of it first
        state.ports.check_free(PORT_OFFSETS)
    state.prepare()
    check_reachable_by_daemons(state)
    state.secrets()
    with only_one(state):
        return run_jobs(jobs(Up(services)), progress)


def check_reachable_by_daemons(state: State) -> None:
    """MariaDB and RabbitMQ run as users of their own: they must be able to walk to the state directory."""
    for directory in (state.root, *state.root.parents):
        if not directory.stat().st_mode & 0o001:
            raise DemoError(
                f"{directory} keeps other users out, and the database runs as one",
                f"choose another --state, or: chmod o+x {directory}",
            )


class Up:
    """The work behind the jobs."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.state = services.state

    def programs(self, note: Note, stop: Event) -> str:
        return packages.require_programs(note, self.state.log / "apt.log")

    def configure(self, note: Note, stop: Event) -> None:
        configs.write_control_plane(self.state)
        configs.write_client(self.state)
        database.make_keystone_keys(self.state)
        for name in ("nova/lock", "neutron/lock"):
            (self.state.data / name).mkdir(parents=True, exist_ok=True)

    def mariadb(self, note: Note, stop: Event) -> None:
        note("data directory")
        database.prepare_mariadb(self.services)
        self.services.start(self.services.mariadb(), note, stop)
        database.create_databases(self.services)

    def rabbitmq(self, note: Note, stop: Event) -> None:
        self.services.prepare_rabbitmq()
        self.services.start(self.services.epmd(), note, stop)
        self.services.start(self.services.rabbitmq(), note, stop)

    def service(self, one: Callable[[], Service]) -> Callable[[Note, Event], str | None]:
        """A job that starts one service."""

        def run(note: Note, stop: Event) -> str | None:
            return None if self.services.start(one(), note, stop) else "runs already"

        return run

    def novnc(self, note: Note, stop: Event) -> str:
        """The web files of Debian's noVNC, unpacked and not installed: the package wants fifty others."""
        web = self.state.data / "novnc"
        if (web / "vnc_lite.html").exists():
            return "as before"
        work = self.state.data / "novnc.new"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        debs.download(["novnc"], work, note, self.state.log / "apt.log")
        debs.unpack(next(work.glob("novnc_*.deb")), work / "x")
        shutil.copytree(work / "x/usr/share/novnc", web, dirs_exist_ok=True)
        shutil.rmtree(work)
        return str(web)

    def guest(self, note: Note, stop: Event) -> str:
        guest = build.guest_image(self.state.guest, note, self.state.log)
        self.state.remember("guest", {"vhd": str(guest.vhd), "sha256": guest.digest})
        return f"{guest.vhd.stat().st_size >> 20} MiB" + (", as before" if guest.cached else "")

    def pool(self, note: Note, stop: Event) -> str:
        found = pool.start(self.services, note, stop)
        for number, url in enumerate(found.urls[:HOSTS], start=1):
            configs.write_compute(self.state, number, url, pool.driver_options(found))
        return ", ".join(found.urls)

    def image(self, note: Note, stop: Event) -> str:
        guest = self.state.recall("guest")
        return cloud.ensure_image(self.state, Path(guest["vhd"]), guest["sha256"], note)


def jobs(work: Up) -> list[Job]:
    """What depends on what."""
    services, state = work.services, work.state
    nova = ("schema-nova-api", "schema-nova-cell1", "schema-nova-cell0")
    computes = [f"nova-compute{number}" for number in range(1, HOSTS + 1)]

    def schema(name: str, title: str, sync: Callable[[Services, Note], None]) -> Job:
        step = f"schema-{name}"
        return Job(
            step,
            f"Database of {title}",
            database.once(services, step, lambda note: sync(services, note)),
            ("mariadb",),
        )

    return [
        Job("programs", "Debian packages", work.programs),
        Job("configure", "Configuration", work.configure, ("programs",)),
        Job("mariadb", "MariaDB", work.mariadb, ("configure",)),
        Job("rabbitmq", "RabbitMQ", work.rabbitmq, ("configure",)),
        Job("memcached", "memcached", work.service(services.memcached), ("configure",)),
        Job("xapi-host", "Embedded XAPI pool", work.pool, ("programs",)),
        Job("guest", "Guest image", work.guest, ("programs",)),
        Job("novnc", "noVNC web files", work.novnc, ("guest",)),
        schema("keystone", "Keystone", database.sync_keystone),
        schema("nova-api", "Nova's API", database.sync_nova_api),
        schema("nova-cell1", "Nova's cell 1", database.sync_nova_cell1),
        schema("nova-cell0", "Nova's cell 0", database.sync_nova_cell0),
        schema("neutron", "Neutron", database.sync_neutron),
        schema("placement", "Placement", database.sync_placement),
        schema("glance", "Glance", database.sync_glance),
        Job("keystone", "Keystone", work.service(services.keystone), ("schema-keystone", "memcached")),
        Job(
            "catalog",
            "Users and endpoints",
            database.once(services, "catalog", lambda note: catalog.fill(state, note)),
            ("keystone",),
        ),
        Job("placement", "Placement", work.service(services.placement), ("schema-placement", "memcached")),
        Job("glance", "Glance", work.service(services.glance), ("schema-glance", "memcached")),
        Job("neutron", "Neutron", work.service(services.neutron), ("schema-neutron", "memcached", "rabbitmq")),
        Job("nova-api", "Nova API", work.service(services.nova_api), (*nova, "memcached", "rabbitmq")),
        Job("nova-conductor", "Nova conductor", work.service(services.conductor), (*nova, "rabbitmq")),
        Job(
            "nova-scheduler",
            "Nova scheduler",
            work.service(services.scheduler),
            (*nova, "rabbitmq", "catalog"),
        ),
        Job("nova-novncproxy", "Nova VNC proxy", work.service(services.novncproxy), (*nova, "novnc")),
        *(
            Job(
                name,
                f"Nova compute, host {number}",
                work.service(lambda number=number: services.compute(number)),  # type: ignore[misc]
                ("xapi-host", "nova-conductor", "catalog", "placement"),
            )
            for number, name in enumerate(computes, start=1)
        ),
        Job("image", "Image", work.image, ("guest", "glance", "catalog")),
        Job(
            "network",
            "Network",
            lambda note, stop: cloud.ensure_network(state, note),
            ("neutron", "catalog"),
        ),
        Job("flavor", "Flavor", lambda note, stop: cloud.ensure_flavor(state, note), ("nova-api", "catalog")),
        Job("key", "Key pair", lambda note, stop: cloud.ensure_key(state, note), ("nova-api", "catalog")),
        Job(
            "hosts",
            "Hosts in the cloud",
            lambda note, stop: cloud.wait_computes(state, note, stop),
            ("nova-api", "nova-scheduler", *computes),
        ),
        Job(
            "servers",
            "Servers",
            lambda note, stop: cloud.ensure_servers(state, note, stop),
            ("hosts", "image", "network", "flavor", "key", "glance"),
        ),
    ]
