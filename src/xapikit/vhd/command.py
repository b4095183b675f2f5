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
"""``vhd-util`` as plug-ins and storage managers call it: options and output of the command that hosts have.

Sizes are given and told in MiB, apart from ``query -s`` and ``scan``, which tell bytes. A failure is a status other
than 0 and a line on standard error.
"""

from __future__ import annotations

import errno
import getopt
import glob
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from xapikit.vhd.chain import open_chain
from xapikit.vhd.errors import VhdError
from xapikit.vhd.files import VhdInfo, coalesce, create, info, resize, set_hidden, set_parent

MIB: Final = 1 << 20
Options = Mapping[str, str]


class _Unusable(Exception):
    """The options make no sense; the text says which are wanted."""


def _needed(options: Options, name: str, usage: str) -> str:
    if name not in options:
        raise _Unusable(usage)
    return options[name]


def _mib(text: str, usage: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise _Unusable(usage)
    return int(text) * MIB


def _create(options: Options) -> None:
    usage = "create <-n name> <-s size (MB)>"
    if "-r" in options:
        raise VhdError(f"{options.get('-n')}: files of a fixed size are not made")
    create(_needed(options, "-n", usage), _mib(_needed(options, "-s", usage), usage))


def _snapshot(options: Options) -> None:
    usage = "snapshot <-n name> <-p parent name> [-m]"
    name, parent = Path(_needed(options, "-n", usage)), Path(_needed(options, "-p", usage))
    size = _mib(options["-S"], usage) if "-S" in options else None
    create(name, size, parent=parent, parent_is_raw="-m" in options)


def _query(options: Options) -> None:
    name = _needed(options, "-n", "query <-n name> [-v] [-s] [-p] [-f] [-d]")
    found = info(name)
    if "-v" in options:
        print(found.virtual_size // MIB)
    if "-s" in options:
        print(found.physical_size)
    if "-p" in options:
        print(found.parent_path or f"{name} has no parent")
    if "-f" in options:
        print(f"hidden: {int(found.hidden)}")
    if "-d" in options:
        print(f"chain depth: {_depth(found)}")


def _depth(found: VhdInfo) -> int:
    if found.parent_path is None:
        return 1
    with open_chain(found.path) as disk:
        return len(disk.levels)


def _set(options: Options) -> None:
    usage = "set <-n name> <-f hidden> <-v value>"
    if _needed(options, "-f", usage) != "hidden" or _needed(options, "-v", usage) not in ("0", "1"):
        raise _Unusable(usage)
    set_hidden(_needed(options, "-n", usage), options["-v"] == "1")


def _modify(options: Options) -> None:
    usage = "modify <-n name> <-p new parent> [-m]"
    name, parent = _needed(options, "-n", usage), _needed(options, "-p", usage)
    set_parent(name, parent, parent_is_raw="-m" in options)


def _coalesce(options: Options) -> None:
    coalesce(_needed(options, "-n", "coalesce <-n name>"))


def _resize(options: Options) -> None:
    usage = "resize <-n name> <-s size (MB)> [-j journal]"
    resize(_needed(options, "-n", usage), _mib(_needed(options, "-s", usage), usage))


def _check(options: Options) -> None:
    name = _needed(options, "-n", "check <-n name> [-p]")
    found = info(name)
    while "-p" in options and found.parent_path is not None:
        found = info(found.parent_path)
    print(f"{name} is valid")


def _repair(options: Options) -> None:
    """A file with a sound footer and header is sound here: there is nothing besides to be repaired."""
    info(_needed(options, "-n", "repair <-n name>"))


def _scan(options: Options) -> None:
    pattern = _needed(options, "-m", "scan [-f] [-c] [-a] <-m pattern>")
    waiting, seen = sorted(glob.glob(pattern)), set[str]()  # noqa: PTH207 - a pattern from the root down
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        try:
            found = info(name)
        except (VhdError, OSError) as error:
            if "-c" not in options:
                raise
            print(f"vhd={name} scan-error={_number(error)} error-message='{error}'")
            continue
        parent = found.parent_path
        size = found.file_size if "-f" in options else found.physical_size
        print(f"vhd={name} capacity={found.virtual_size} size={size} hidden={int(found.hidden)} "
              f"parent={parent or 'none'}")  # fmt: skip
        if "-a" in options and parent is not None and parent.exists():
            waiting.append(str(parent))


def _number(error: Exception) -> int:
    return error.errno or errno.EIO if isinstance(error, OSError) else errno.EINVAL


COMMANDS: Final[Mapping[str, tuple[str, Callable[[Options], None]]]] = {
    "create": ("n:s:rS:", _create),
    "snapshot": ("n:p:mS:", _snapshot),
    "query": ("n:vspfdSb", _query),
    "set": ("n:f:v:", _set),
    "modify": ("n:p:m", _modify),
    "coalesce": ("n:", _coalesce),
    "resize": ("n:s:j:", _resize),
    "check": ("n:pibt", _check),
    "repair": ("n:", _repair),
    "scan": ("m:fcapvl:", _scan),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is a number of errno."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] not in COMMANDS:
        sys.stderr.write(f"usage: vhd-util COMMAND [OPTIONS], with COMMAND one of {' '.join(sorted(COMMANDS))}\n")
        return errno.EINVAL
    allowed, command = COMMANDS[words[0]]
    try:
        given, rest = getopt.getopt(words[1:], allowed)
        if rest:
            raise _Unusable(f"{words[0]} takes no {rest[0]!r}")
        command(dict(given))
    except (_Unusable, getopt.GetoptError) as error:
        sys.stderr.write(f"vhd-util: {words[0]}: {error}\n")
        return errno.EINVAL
    except (VhdError, OSError) as error:
        sys.stderr.write(f"vhd-util: {words[0]}: {error}\n")
        return _number(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
