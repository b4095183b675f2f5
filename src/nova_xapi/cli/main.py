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
"""`nova-xapi`: the operator's command line. Each group of commands is a module of its own with `add_parser`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from nova_xapi.cli import demo


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="nova-xapi", description="OpenStack Compute on XCP-ng and XenServer: tools for operators."
    )
    root.add_argument("--version", action="version", version=f"nova-xapi {version('nova-xapi')}")
    groups = root.add_subparsers(metavar="COMMAND", required=True)
    demo.add_parser(groups)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    options = parser().parse_args(arguments)
    return int(options.command(options))


if __name__ == "__main__":
    sys.exit(main())
