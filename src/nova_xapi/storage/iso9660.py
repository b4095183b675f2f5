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
"""A small ISO 9660 file system in memory, with Rock Ridge and Joliet names, from paths and contents.

Written by pycdlib, so that no program has to be installed, started, or given files with secrets in them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

import pycdlib

_MAX_STEM = 20


def build(files: Iterable[tuple[str, bytes]], volume: str, publisher: str = "") -> bytes:
    """The bytes of a file system with these files: (path relative to its root, contents).

    ``volume`` is the label that guests look for, as it is. A path that comes twice keeps its last contents. Raises
    ValueError for a path that is absolute, empty, or leads outside.
    """
    contents = {_checked(path): data for path, data in files}
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=volume, joliet=3, rock_ridge="1.09", pub_ident_str=publisher[:128])
    try:
        names = _Names()
        for path in sorted(contents):
            folder = ""
            parts = path.split("/")
            for part in parts[:-1]:
                parent, folder = folder, f"{folder}/{part}"
                if names.is_new(folder):
                    iso.add_directory(names.of(parent, part, ""), rr_name=part, joliet_path=folder)
            data = contents[path]
            name = names.of(folder, parts[-1], ";1")
            iso.add_fp(io.BytesIO(data), len(data), name, rr_name=parts[-1], joliet_path=f"/{path}")
        out = io.BytesIO()
        iso.write_fp(out)
        return out.getvalue()
    finally:
        iso.close()


def _checked(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"not a path below the root: {path!r}")
    return path


class _Names:
    """Plain ISO 9660 names, which only readers without Rock Ridge and Joliet see: capitals, digits, unique."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {"": ""}
        self._taken: set[str] = set()

    def is_new(self, folder: str) -> bool:
        return folder not in self._folders

    def of(self, folder: str, name: str, version: str) -> str:
        """The plain path of a new entry of a folder; a directory without, a file with a ``version``."""
        stem, dot, ending = name.rpartition(".") if version else (name, "", "")
        plain = _plain(stem if dot else name)[:_MAX_STEM]
        suffix = f".{_plain(ending)[:3]}" if version and dot else "." if version else ""
        path = f"{self._folders[folder]}/{plain}{suffix}"
        count = 0
        while path in self._taken:
            count += 1
            path = f"{self._folders[folder]}/{plain}_{count}{suffix}"
        self._taken.add(path)
        if not version:
            self._folders[f"{folder}/{name}"] = path
        return path + version


def _plain(name: str) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", name.upper())
