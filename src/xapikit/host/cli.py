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
"""The command ``xapi-host``: serve a pool, say what it implements.

Exit codes: 0 stopped as asked, 1 unexpected failure, 2 wrong usage, 3 an address cannot be listened on,
4 the state directory is in use, damaged or holds another pool, 5 the password file cannot be used.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from xapikit.host.embedded import EmbeddedHost
from xapikit.host.ready import running
from xapikit.host.serving import PoolMismatch
from xapikit.host.settings import GIB, Listen
from xapikit.host.store import JournalDamaged, StateInUse

EXIT_FAILURE, EXIT_USAGE, EXIT_LISTEN, EXIT_STATE, EXIT_PASSWORD = 1, 2, 3, 4, 5

_DESCRIPTION = "An embedded XAPI host: a XenAPI server with real VHD disks and timed or real guests."
_SERVE = """\
Serve a pool of hosts until SIGTERM or Ctrl-C.

The state directory holds everything: database, disks, certificate, password. Start again on the same directory
and the pool is there again, with the guests that went on running meanwhile.
"""
_EXAMPLES = """\
examples:
  xapi-host serve --state ./pool
        one host with timed guests on http and https, loopback, ports of the system's choice
  xapi-host serve --state ./pool --hosts 2 --http 127.0.0.1:8080 --https 127.0.0.1:8443 --domains qemu
        two hosts with real guests: 127.0.0.1 and 127.0.0.2, the same ports
  xapi-host serve --state ./pool --json | head -1
        one line for programs: {"ready": true, "urls": [...], "hosts": [...], "fingerprint": "SHA256:...", ...}

exit codes:
  0 stopped as asked   1 unexpected failure   2 wrong usage   3 cannot listen on an address
  4 state directory in use, damaged or of another pool   5 password file unusable
"""


class PasswordFileError(Exception):
    """The password file cannot be read, or others may read it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "coverage":
        return _coverage(options)
    if options.command == "scenarios":
        return _scenarios(options)
    return _serve(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xapi-host", description=_DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="serve a pool of hosts",
        description=_SERVE,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add_argument("--state", type=Path, required=True, metavar="DIR", help="directory that holds everything")
    serve.add_argument("--hosts", type=_positive, metavar="N", help="hosts of the pool (default: 1, or as stored)")
    serve.add_argument(
        "--name",
        action="append",
        default=[],
        dest="names",
        metavar="NAME",
        help="name of a host at the first start (default: host1, host2...); may be repeated",
    )
    listening = serve.add_argument_group("addresses (port 0: the system chooses; loopback, both, by default)")
    listening.add_argument("--http", type=_listen, metavar="ADDR:PORT", help="serve clear text here")
    listening.add_argument(
        "--https", type=_listen, metavar="ADDR:PORT", help="serve TLS here, with a certificate made at the first start"
    )
    account = serve.add_argument_group("account")
    account.add_argument("--user", default="root", help="name of the superuser (default: root)")
    account.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="its password; made with a random one, readable by its owner alone, when absent (default: DIR/password)",
    )
    guests = serve.add_argument_group("guests")
    guests.add_argument(
        "--domains",
        choices=("timed", "qemu"),
        default="timed",
        help="guests that only pass the time, or real ones under QEMU (default: timed)",
    )
    guests.add_argument("--memory", type=_positive, default=16, metavar="GIB", help="memory of each host (default: 16)")
    guests.add_argument("--cpus", type=_positive, default=8, metavar="N", help="CPUs of each host (default: 8)")
    guests.add_argument(
        "--stop-guests",
        action="store_true",
        help="end the guests when the server stops (default: they go on and are found again)",
    )
    guests.add_argument(
        "--network-backend",
        choices=("openvswitch", "bridge"),
        default="openvswitch",
        help="what is below the networks; tunnels and SDN controllers need Open vSwitch (default: openvswitch)",
    )
    guests.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="further setting of a kind of domain or storage; may be repeated",
    )
    behaviour = serve.add_argument_group("behaviour")
    behaviour.add_argument(
        "--sync",
        choices=("commit", "interval", "never"),
        default="interval",
        help="when changes are forced to the disk; each way survives kill -9, only 'commit' every power cut "
        "(default: interval)",
    )
    behaviour.add_argument(
        "--login-delay",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="how long a wrong password waits for its answer (default: 2)",
    )
    behaviour.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="FILE|NAME",
        help="play a scenario of faults from the start; may be repeated (see: xapi-host scenarios)",
    )
    behaviour.add_argument("--seed", type=int, metavar="N", help="of all scenarios, instead of their own")
    output = serve.add_argument_group("output")
    output.add_argument("--json", action="store_true", help="when ready, print one line of JSON instead of text")
    output.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="warning",
        help="what is logged to stderr (default: warning)",
    )
    coverage = commands.add_parser("coverage", help="say for each call whether it is implemented, derived or refused")
    coverage.add_argument(
        "--format", choices=("totals", "text", "markdown", "rst", "json"), default="text", help="default: text"
    )
    scenarios = commands.add_parser("scenarios", help="list the scenarios of faults that are shipped, or check files")
    scenarios.add_argument("--show", metavar="NAME", help="print the file of one, to begin your own with")
    scenarios.add_argument("files", nargs="*", metavar="FILE", help="files to check")
    return parser


def _serve(options: argparse.Namespace) -> int:
    logging.basicConfig(
        level=options.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    http, https = options.http, options.https
    if http is None and https is None:
        http = https = Listen("127.0.0.1", 0)
    try:
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        password_file = options.password_file or options.state / "password"
        password = read_password(password_file)
        xapi = EmbeddedHost(
            options.state,
            hosts=options.hosts,
            names=options.names,
            domains=options.domains,
            http=http or False,
            https=https or False,
            username=options.user,
            password=password,
            memory_bytes=options.memory * GIB,
            cpus=options.cpus,
            sync=options.sync,
            refusal_seconds=options.login_delay,
            network_backend=options.network_backend,
            options=dict(options.option),
            scenario=options.scenario,
            seed=options.seed,
        )
        stop = _on_signals()
        xapi.start()
    except PasswordFileError as error:
        return _fail(str(error), EXIT_PASSWORD)
    except (StateInUse, JournalDamaged, PoolMismatch) as error:
        return _fail(str(error), EXIT_STATE)
    except ValueError as error:
        return _fail(str(error), EXIT_USAGE)
    except OSError as error:
        return _fail(error.strerror or str(error), EXIT_LISTEN if "cannot listen" in str(error) else EXIT_STATE)
    try:
        _announce(xapi, password_file, as_json=options.json)
        stop.wait()
    finally:
        xapi.stop(stop_guests=options.stop_guests)
    return 0


def read_password(path: Path) -> str:
    """The first line of a password file, which is made with a random password when absent. Raises PasswordFileError."""
    try:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PasswordFileError(f"{path} can be read by others: chmod 600 {path}") from None
            lines = path.read_text(encoding="utf-8").splitlines()
            if not lines or not lines[0]:
                raise PasswordFileError(f"{path} is empty: write a password into it, or remove it") from None
            return lines[0]
        password = secrets.token_urlsafe(15)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(password + "\n")
        return password
    except (OSError, UnicodeDecodeError) as error:
        raise PasswordFileError(f"password file {path}: {error}") from None


def _announce(xapi: EmbeddedHost, password_file: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**running(xapi), "password_file": str(password_file)}), flush=True)
        return
    if xapi.front is not None:
        print(f"Host of the pool in {xapi.front.home}, its own state in {xapi.settings.state}")
    else:
        print(f"Embedded XAPI pool with {len(xapi.hosts)} host(s), state in {xapi.settings.state}")
    for host in xapi.hosts:
        urls = "  ".join(url for url in (host.https_url, host.http_url) if url)
        print(f"  {host.name}  {host.uuid}  {urls}")
    print(f"User        {xapi.username}")
    print(f"Password    in {password_file}" if xapi.front is None else "Password    that of the pool")
    if xapi.fingerprint:
        print(f"Fingerprint {xapi.fingerprint}")
    print("Ready. Ctrl-C or SIGTERM stops the server.", flush=True)


def _on_signals() -> threading.Event:
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, handle)
    return stop


def _coverage(options: argparse.Namespace) -> int:
    from xapikit.host.coverage import render

    print(render(options.format))
    return 0


def _scenarios(options: argparse.Namespace) -> int:
    from xapikit.host.faults import load_scenario, shipped_names
    from xapikit.host.faults.scenario import shipped_text

    try:
        if options.show:
            print(shipped_text(options.show), end="")
            return 0
        for given in [Path(file) for file in options.files] or shipped_names():
            scenario = load_scenario(given)
            print(f"{scenario.name:20} {scenario.description}")
    except ValueError as error:
        return _fail(str(error), EXIT_USAGE)
    return 0


def _fail(text: str, code: int) -> int:
    print(f"xapi-host: {text}", file=sys.stderr)
    return code


def _positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def _listen(text: str) -> Listen:
    try:
        return Listen.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
