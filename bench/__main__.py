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
"""``python -m bench [NAME...]``: measure, one JSON line per figure, then a table. Ends with 1 when a figure failed."""

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from types import ModuleType

import bench
from bench.measure import Missing
from bench.report import Figure, emit, say, table


def modules() -> list[ModuleType]:
    names = sorted(found.name for found in pkgutil.iter_modules(bench.__path__) if found.name.startswith("fig_"))
    return [importlib.import_module(f"bench.{name}") for name in names]


def main(arguments: list[str] | None = None) -> int:
    every = modules()
    known = [name for module in every for name in module.FIGURES]
    parser = argparse.ArgumentParser(prog="bench", description=bench.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these figures: {', '.join(known)}")
    chosen = parser.parse_args(arguments).names
    if unknown := set(chosen) - set(known):
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    figures: list[Figure] = []
    failed: list[str] = []
    for module in every:
        wanted = [name for name in module.FIGURES if not chosen or name in chosen]
        if not wanted:
            continue
        say(f"measuring {', '.join(wanted)} ...")
        start = time.perf_counter()
        try:
            for figure in module.run(wanted):
                emit(figure)
                figures.append(figure)
                if not figure.within:
                    failed.append(f"{figure.name} is {figure.value:g}, at most {figure.limit:g} is allowed")
        except Missing as error:
            failed.append(f"{', '.join(wanted)}: {error}")
        except Exception:
            # one figure that fails must not hide the others; the end status tells
            traceback.print_exc()
            failed.append(f"{', '.join(wanted)}: failed, see above")
        say(f"  {time.perf_counter() - start:.1f} s")
    print()
    print(table(figures))
    for line in failed:
        say(f"not as it should be: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
