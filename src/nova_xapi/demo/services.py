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
"""The demo's services: how each is started, and how one sees that it is ready."""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from nova_xapi.demo.configs import common_values, compute_host, render
from nova_xapi.demo.errors import DemoError
from nova_xapi.demo.layout import HOSTS, LOOPBACK, State
from nova_xapi.demo.packages import RABBITMQ_SERVER, find, in_debian_user, search_path
from nova_xapi.demo.processes import Processes

# seconds; generous, since importing OpenStack on a busy machine of two cores takes its time
READY_TIMEOUT = 180.0


@dataclass(frozen=True)
class Service:
    """One process. `port` names an entry of Ports; `ready` is asked again and again after the start."""

    name: str
    title: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    port: str | None = None
    ready: Callable[[], bool] = lambda: True


def accepts(port: int) -> bool:
    """Something listens on this loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=2).close()
    except OSError:
        return False
    return True


def answers_http(port: int, path: str = "/") -> bool:
    """An HTTP server on this loopback port answers with anything but a server error."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Services:
    """All services of one state directory."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.processes = Processes(state.root)
        self.bin = Path(sys.executable).parent

    # -- environment ------------------------------------------------------------
    def environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """What services inherit: no proxies (all is loopback), no OS_* of the caller, our interpreter's programs."""
        keep = {
            name: value
            for name, value in os.environ.items()
            if name in ("HOME", "USER", "LOGNAME", "TZ", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE")
        }
        return keep | {
            "PATH": f"{self.bin}:{search_path()}",
            "LC_ALL": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            **(extra or {}),
        }

    def start(self, service: Service, note: Callable[[str], None], stop: Event) -> bool:
        """Start it unless it runs, and wait until it is ready. True when it was started now."""
        alive = self.processes.alive(service.name)
        if not alive and service.port is not None:
            self.state.ports.check_free([service.port])
        started = self.processes.start(service.name, service.argv, self.environment(service.env))
        note("starting" if started else "runs already")
        self.processes.wait_ready(service.name, service.ready, READY_TIMEOUT, stop)
        return started

    # -- infrastructure ------------------------------------------------------------
    def mariadb(self) -> Service:
        data = self.state.data / "mysql"
        port = self.state.ports["mariadb"]
        user = ["--user=mysql"] if os.geteuid() == 0 else []
        return Service(
            "mariadb",
            "MariaDB",
            [
                find("mariadbd"),
                "--no-defaults",
                *user,
                f"--datadir={data}",
                f"--socket={data}/sock",
                f"--pid-file={data}/pid",
                f"--bind-address={LOOPBACK}",
                f"--port={port}",
                "--skip-name-resolve",
                "--max-connections=600",
                "--character-set-server=utf8mb3",
                "--innodb-buffer-pool-size=128M",
                "--innodb-log-file-size=48M",
                "--performance-schema=OFF",
                # a demo survives the kill of its processes, it need not survive a power cut
                "--innodb-flush-method=nosync",
                "--skip-sync-frm",
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=0",
                "--sync-binlog=0",
            ],
            port="mariadb",
            ready=lambda: accepts(port),
        )

    def epmd(self) -> Service:
        """Erlang's name server, which RabbitMQ would otherwise start by itself, on all addresses and for good."""
        port = self.state.ports["epmd"]
        argv = in_debian_user("rabbitmq", [find("epmd"), "-address", LOOPBACK, "-port", str(port)])
        return Service("epmd", "Erlang port mapper", argv, port="epmd", ready=lambda: accepts(port))

    def rabbitmq(self) -> Service:
        data, ports = self.state.data / "rabbitmq", self.state.ports
        env = {
            "HOME": str(data / "home"),
            "RABBITMQ_NODENAME": "nova-xapi-demo@localhost",
            "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(data / "db"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_DIST_PORT": str(ports["rabbitmq (distribution)"]),
            # distribution on loopback only; one scheduler that sleeps instead of spinning
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
            # RabbitMQ watches over epmd and would start another one, which nobody would have recorded
            "ERL_AFLAGS": "-start_epmd false",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(ports["epmd"]),
        }
        return Service(
            "rabbitmq",
            "RabbitMQ",
            in_debian_user("rabbitmq", [RABBITMQ_SERVER]),
            env,
            port="rabbitmq",
            ready=lambda: accepts(ports["rabbitmq"]),
        )

    def prepare_rabbitmq(self) -> None:
        """Its directory and configuration (idempotent)."""
        data = self.state.data / "rabbitmq"
        (data / "home").mkdir(parents=True, exist_ok=True)
        self.state.write(data / "rabbitmq.conf", render("rabbitmq.conf", common_values(self.state)))
        self.state.write(data / "enabled_plugins", "[].\n")
        if os.geteuid() == 0:
            owner = pwd.getpwnam("rabbitmq")
            for path in (data, data / "home", data / "rabbitmq.conf", data / "enabled_plugins"):
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def memcached(self) -> Service:
        port = self.state.ports["memcached"]
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        argv = [find("memcached"), *user, "-l", LOOPBACK, "-p", str(port), "-U", "0", "-m", "64", "-t", "1"]
        return Service("memcached", "memcached", argv, port="memcached", ready=lambda: accepts(port))

    # -- OpenStack ------------------------------------------------------------
    def api(self, name: str, title: str, module: str, threads: int, env: dict[str, str], path: str = "/") -> Service:
        port = self.state.ports[name]
        argv = [sys.executable, "-m", "nova_xapi.demo.apiserver", module, str(port), str(threads)]
        return Service(name, title, argv, env, port=name, ready=lambda: answers_http(port, path))

    def keystone(self) -> Service:
        env = {"OS_KEYSTONE_CONFIG_DIR": str(self.state.etc / "keystone")}
        return self.api("keystone", "Keystone", "keystone.wsgi.api", 8, env, "/v3")

    def glance(self) -> Service:
        env = {"OS_GLANCE_CONFIG_DIR": str(self.state.etc / "glance")}
        return self.api("glance", "Glance", "glance.wsgi.api", 8, env)

    def placement(self) -> Service:
        env = {"OS_PLACEMENT_CONFIG_DIR": str(self.state.etc / "placement")}
        return self.api("placement", "Placement", "placement.wsgi.api", 8, env)

    def neutron(self) -> Service:
        env = {
            "OS_NEUTRON_CONFIG_DIR": str(self.state.etc / "neutron"),
            "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
        }
        return self.api("neutron", "Neutron", "neutron.wsgi.api", 8, env)

    def nova_api(self) -> Service:
        # the first of the files is the description of the pipelines
        names = f"{sys.prefix}/etc/nova/api-paste.ini;nova.conf;nova-database.conf"
        env = {"OS_NOVA_CONFIG_DIR": str(self.state.etc / "nova"), "OS_NOVA_CONFIG_FILES": names}
        return self.api("nova-api", "Nova API", "nova.wsgi.osapi_compute", 8, env)

    def nova(self, name: str, title: str, *extra: str, port: str | None = None) -> Service:
        argv = [self.program(name), *self.nova_files("nova.conf", "nova-database.conf"), *extra]
        ready = (lambda number: lambda: accepts(number))(self.state.ports[port]) if port else lambda: True
        return Service(name, title, argv, port=port, ready=ready)

    def nova_files(self, *names: str) -> list[str]:
        """Arguments that name configuration files of Nova."""
        return [part for name in names for part in ("--config-file", str(self.state.etc / "nova" / name))]

    def conductor(self) -> Service:
        return self.nova("nova-conductor", "Nova conductor")

    def scheduler(self) -> Service:
        return self.nova("nova-scheduler", "Nova scheduler")

    def novncproxy(self) -> Service:
        return self.nova(
            "nova-novncproxy", "Nova VNC proxy", "--web", str(self.state.data / "novnc"), port="nova-novncproxy"
        )

    def compute(self, number: int) -> Service:
        host = compute_host(number)
        argv = [self.program("nova-compute"), *self.nova_files("nova.conf", f"{host}.conf")]
        return Service(f"nova-{host}", f"Nova compute, host {number}", argv)

    def program(self, name: str) -> str:
        """A console script of this interpreter's environment."""
        path = shutil.which(name, path=f"{self.bin}:{search_path()}")
        if path is None:
            raise DemoError(f"{name} is not in {self.bin}", "install the extra: pip install 'nova-xapi[demo]'")
        return path


# name -> what it is, in the order of `demo status`
NAMES = {
    "mariadb": "database",
    "epmd": "Erlang port mapper of RabbitMQ",
    "rabbitmq": "message broker",
    "memcached": "token cache",
    "keystone": "identity API",
    "placement": "placement API",
    "glance": "image API",
    "neutron": "network API",
    "nova-api": "compute API",
    "nova-conductor": "compute conductor",
    "nova-scheduler": "compute scheduler",
    "nova-novncproxy": "console proxy",
    "xapi-host": "embedded XAPI pool",
    **{f"nova-{compute_host(number)}": f"compute service of host {number}" for number in range(1, HOSTS + 1)},
}
# layers of `down`: what uses others goes first
LAYERS = (
    ("nova-novncproxy", "nova-api", *(f"nova-{compute_host(number)}" for number in range(1, HOSTS + 1))),
    ("nova-scheduler", "nova-conductor", "glance", "neutron", "placement", "xapi-host"),
    ("keystone", "rabbitmq", "memcached"),
    ("mariadb", "epmd"),
)
# a service that is asked to end gets this long (s) before it is killed
STOP_TIMEOUTS = {"mariadb": 40.0, "rabbitmq": 40.0, "xapi-host": 60.0}
