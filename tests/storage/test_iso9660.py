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
"""Config drives are ISO 9660 file systems that any reader understands, made in memory."""

import io
import shutil
import subprocess
from pathlib import Path

import pycdlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nova_xapi.storage import configdrive, iso9660

FILES = {
    "openstack/latest/meta_data.json": b'{"uuid": "x"}',
    "openstack/latest/user_data": b"#!/bin/sh\n" * 500,
    "openstack/2012-08-10/meta_data.json": b"{}",
    "openstack/content/0000": bytes(range(256)) * 40,
    "ec2/2009-04-04/meta-data.json": b"[]",
    "ec2/2009-04-04/meta_data.json": b"[1]",
    "empty": b"",
}


def read_back(iso: bytes, names: str) -> dict[str, bytes]:
    """Files by path; ``names``: "rr" or "joliet"."""
    image = pycdlib.PyCdlib()
    image.open_fp(io.BytesIO(iso))
    found = {}
    for folder, _, files in image.walk(**{f"{names}_path": "/"}):
        for name in files:
            path = f"{folder.rstrip('/')}/{name}"
            out = io.BytesIO()
            image.get_file_from_iso_fp(out, **{f"{names}_path": path})
            found[path.lstrip("/")] = out.getvalue()
    image.close()
    return found


@pytest.mark.parametrize("names", ["rr", "joliet"])
def test_files_are_read_back_by_linux_and_windows_names(names: str) -> None:
    assert read_back(configdrive.build(FILES.items()), names) == FILES


def test_the_label_is_the_one_that_guests_look_for() -> None:
    iso = configdrive.build([("a", "text")])
    descriptor = iso[16 * 2048 : 17 * 2048]
    assert descriptor[1:6] == b"CD001" and descriptor[40:72].rstrip() == b"config-2"
    assert len(iso) % 2048 == 0 and len(iso) < 1 << 20


@pytest.mark.skipif(not shutil.which("blkid"), reason="blkid is not installed")
def test_blkid_finds_the_label(tmp_path: Path) -> None:
    path = tmp_path / "config.iso"
    path.write_bytes(configdrive.build(FILES.items()))
    answer = subprocess.run(
        ["blkid", "-p", "-o", "export", path], check=True, capture_output=True, text=True, timeout=30
    )
    assert "LABEL=config-2" in answer.stdout.splitlines() and "TYPE=iso9660" in answer.stdout.splitlines()


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a//b", "", "a/./b"])
def test_paths_that_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path below the root"):
        iso9660.build([(path, b"")], "x")


_NAME = st.text("abcXYZ019._- é", min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..") and name == name.strip()
)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.lists(_NAME, min_size=1, max_size=3).map("/".join), st.binary(max_size=3000), max_size=12))
def test_any_names_keep_apart(files: dict[str, bytes]) -> None:
    folders = {path.rsplit("/", count)[0] for path in files for count in range(1, path.count("/") + 1)}
    files = {path: data for path, data in files.items() if path not in folders}
    assert read_back(iso9660.build(files.items(), "x"), "rr") == files
