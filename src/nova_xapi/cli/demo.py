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
"""`nova-xapi demo ...`: arguments, output and exit codes; the work is nova_xapi.demo's."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from nova_xapi.cli.output import print_table
from nova_xapi.demo.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, DemoError
from nova_xapi.demo.layout import DEFAULT_PORT_BASE, PORT_SPAN, Ports, State, default_state
from nova_xapi.demo.processes import Processes
from nova_xapi.demo.progress import progress
from nova_xapi.demo.services import NAMES

DESCRIPTION = """\
A real OpenStack on this machine whose compute services drive an embedded XAPI pool of two hosts: Keystone, Glance,
Placement, Neutron and Nova, each its own process, and two servers that run a small real Linux under QEMU.
Guests have no tenant connectivity yet: their ports are bound, not wired.
"""
EPILOG = f"""\
exit codes: 0 well, 1 failed, 2 wrong command line, 3 something is missing on this machine, 130 interrupted

Needs: Debian 12 (root, to install packages that are missing) or a system that has them; 2 cores, 4 GiB of memory,
4 GiB of disk. Listens on 127.0.0.1 only, on {PORT_SPAN} ports from --port-base.
"""


def add_parser(groups: Any) -> None:
    """Add `demo` and its commands to the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    demo = groups.add_parser(
        "demo", help="a real OpenStack with two guests, on this machine", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=raw,
    )  # fmt: skip
    commands = demo.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, text: str, run: Callable[[argparse.Namespace], int], epilog: str = "") -> Any:
        one = commands.add_parser(
            name, help=text, description=text[0].upper() + text[1:] + ".", epilog=epilog, formatter_class=raw
        )
        one.add_argument(
            "--state",
            type=Path,
            default=default_state(),
            metavar="DIR",
            help="everything the demo makes lies here (default: %(default)s)",
        )
        one.set_defaults(command=lambda options: guarded(run, options))
        return one

    json_help = "results as JSON on standard output"
    up = command("up", "bring the cloud up; what runs already is left alone", run_up)
    up.add_argument(
        "--port-base",
        type=int,
        metavar="PORT",
        help=f"first of the {PORT_SPAN} loopback ports (default: the one this state was made with, "
        f"else {DEFAULT_PORT_BASE})",
    )
    up.add_argument("--json", action="store_true", help=json_help)
    check = command("check", "prove end to end that the guests run, and that their consoles work", run_check)
    check.add_argument("--json", action="store_true", help=json_help)
    check.add_argument(
        "--screenshot",
        type=Path,
        metavar="PREFIX",
        help="where to save console pictures: PREFIX-SERVER.png (default: STATE/screenshot)",
    )
    check.add_argument(
        "--timeout", type=float, default=180, metavar="S", help="for each guest to show up (default: %(default)s)"
    )
    status = command("status", "show services and servers", run_status)
    status.add_argument("--json", action="store_true", help=json_help)
    logs = command("logs", "show the log of a service", run_logs, "services: " + ", ".join(NAMES))
    logs.add_argument("service", metavar="SERVICE", nargs="?", help="which one (default: list them)")
    logs.add_argument("-f", "--follow", action="store_true", help="wait for more")
    logs.add_argument("-n", "--lines", type=int, default=200, metavar="N", help="last lines (default: %(default)s)")
    shell = command(
        "shell",
        "open a shell in which `openstack` is the demo's administrator",
        run_shell,
        "with a command, run that instead: nova-xapi demo shell -- openstack server list",
    )
    shell.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="run this and return")
    down = command("down", "stop everything the demo started", run_down)
    down.add_argument("--purge", action="store_true", help="remove the state directory as well")


def guarded(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a command; errors become a message on standard error and an exit code."""
    console = Console(stderr=True)
    try:
        return run(options)
    except DemoError as error:
        console.print(f"[bold red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        if error.hint:
            console.print(f"  {error.hint}", markup=False, highlight=False, soft_wrap=True)
        return error.code
    except KeyboardInterrupt:
        console.print("interrupted; what was started runs on: nova-xapi demo down stops it", markup=False)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def run_up(options: argparse.Namespace) -> int:
    from nova_xapi.demo import cloud
    from nova_xapi.demo.up import up

    base = options.port_base
    if base is None:
        base = State.open(options.state).ports.base if (options.state / "demo.json").exists() else DEFAULT_PORT_BASE
    state = State(options.state, Ports(base))
    with progress() as display:
        timings = up(state, display)
        seconds = display.elapsed
    rows = cloud.server_rows(state)
    consoles = {row["name"]: cloud.console_url(state, row["name"]) for row in rows}
    if options.json:
        print(
            json.dumps(
                {
                    "seconds": round(seconds, 1),
                    "state": str(state.root),
                    "servers": rows,
                    "consoles": consoles,
                    "phases": [{"name": one.name, "began": round(one.began, 1), "seconds": round(one.seconds, 1)}
                               for one in timings],
                }
            )
        )  # fmt: skip
        return EXIT_OK
    console = Console()
    print_table(
        console,
        "Phases (many run at the same time)",
        ("phase", "began (s)", "took (s)"),
        [(one.title, f"{one.began:.1f}", f"{one.seconds:.1f}") for one in timings],
    )
    print_servers(console, rows)
    console.print(f"\nThe cloud is up after {seconds:.0f} s.\n", highlight=False)
    console.print("Consoles in a browser (an address is good for 10 minutes; a new one: openstack console url show):")
    for name, url in consoles.items():
        console.print(f"  {name}  {url}", markup=False, highlight=False, soft_wrap=True)
    where = "" if options.state == default_state() else f" --state {options.state}"
    console.print(
        f"""
What to try next:
  nova-xapi demo check{where}            prove it: serial console and VNC picture of each guest
  nova-xapi demo shell{where}            a shell with openstack, for example
    openstack server list --long
    openstack console log show demo1
    openstack server create --image {cloud.IMAGE} --flavor {cloud.FLAVOR} --network {cloud.NETWORK} --wait mine
    openstack server reboot --hard --wait demo1
  nova-xapi demo logs{where} nova-compute1 -f
  nova-xapi demo down{where}             stop it (up again keeps the servers; --purge removes all)

Guests have no tenant connectivity yet: their ports are bound, not wired. Log in on the console: user demo,
password demo.""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return EXIT_OK


def print_servers(console: Console, rows: list[dict[str, str]]) -> None:
    columns = ("name", "status", "host", "address", "mac")
    print_table(console, "Servers", columns, [tuple(row[column] for column in columns) for row in rows])


def run_check(options: argparse.Namespace) -> int:
    from nova_xapi.demo.check import check

    state = State.open(options.state)
    with progress() as display:
        results = check(state, display, options.screenshot or state.root / "screenshot", options.timeout)
    failed = [result for result in results if not result.passed]
    if options.json:
        print(json.dumps({"passed": not failed, "checks": [result.as_dict() for result in results]}))
        return EXIT_FAILED if failed else EXIT_OK
    console = Console()
    for result in results:
        mark = "[green]ok[/]    " if result.passed else "[bold red]FAILED[/]"
        console.print(f"{mark} {escape(result.name)}: {escape(result.detail)}", highlight=False, soft_wrap=True)
    console.print(f"{len(results) - len(failed)} of {len(results)} checks passed", highlight=False)
    return EXIT_FAILED if failed else EXIT_OK


def run_status(options: argparse.Namespace) -> int:
    """Exit code 0 when all services run, else 1."""
    from nova_xapi.demo.status import servers_or_reason, service_rows

    state = State.open(options.state)
    services = service_rows(state)
    servers, reason = servers_or_reason(state)
    running = all(row["state"] == "running" for row in services)
    if options.json:
        print(json.dumps({"services": services, "servers": servers, "servers_unknown_because": reason}))
        return EXIT_OK if running else EXIT_FAILED
    console = Console()
    columns = ("service", "what", "state", "pid", "port", "up")
    rows = [tuple(row[column] for column in columns) for row in services]
    print_table(console, f"Services ({state.root})", columns, rows)
    if reason:
        console.print(f"servers: unknown ({reason})", markup=False, highlight=False, soft_wrap=True)
    else:
        print_servers(console, servers)
    return EXIT_OK if running else EXIT_FAILED


def run_logs(options: argparse.Namespace) -> int:
    state = State.open(options.state)
    processes = Processes(state.root)
    if options.service is None:
        for path in sorted(state.log.glob("*.log")):
            print(f"{path.stem:20} {path.stat().st_size:>10} bytes  {path}")
        return EXIT_OK
    # compute1 is a name people know from the server table
    names = [options.service, f"nova-{options.service}"]
    found = [path for path in map(processes.log_of, names) if path.exists()]
    if not found:
        known = ", ".join(sorted(path.stem for path in state.log.glob("*.log")))
        raise DemoError(f"no log of {options.service}", f"there are: {known}")
    follow = ["-F"] if options.follow else []
    os.execvp("tail", ["tail", "-n", str(options.lines), *follow, str(found[0])])  # noqa: S606


def run_shell(options: argparse.Namespace) -> int:
    state = State.open(options.state)
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    env = {name: value for name, value in os.environ.items() if not name.startswith("OS_")} | {
        "OS_CLIENT_CONFIG_FILE": str(state.root / "clouds.yaml"),
        "OS_CLOUD": "demo",
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    if not argv:
        argv = [os.environ.get("SHELL", "/bin/sh"), "-i"]
        print("openstack is the demo's administrator here; leave with exit", file=sys.stderr)
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606
    except OSError as error:
        raise DemoError(f"cannot run {argv[0]}: {error.strerror}") from error


def run_down(options: argparse.Namespace) -> int:
    from nova_xapi.demo.down import down

    state = State.open(options.state)
    with progress() as display:
        stopped = down(state, display, purge=options.purge)
    print(f"stopped {len(stopped)} services" + (f", removed {state.root}" if options.purge else ""))
    return EXIT_OK
