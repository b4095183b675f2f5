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
"""Figures come out as people and programs expect them, and each can be asked for by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import main, modules
from bench.measure import in_turns
from bench.report import Figure, table

ROOT = Path(__file__).parents[2]
#: what the project promises to measure
PROMISED = {
    "spawn_cached_calls", "spawn_cached_driver_ms", "image_import", "power_sync_calls", "get_all_records_ms",
    "rpc_per_second",
    *(
        f"host_{what}"
        for vms in (1000, 5000)
        for what in (
            f"start_{vms}_vms_s", f"memory_{vms}_vms_mib", f"calls_{vms}_vms_per_second", f"get_record_{vms}_vms_ms",
            f"get_all_records_{vms}_vms_ms", f"event_p50_{vms}_vms_ms", f"event_p99_{vms}_vms_ms",
        )
    ),
}  # fmt: skip


def test_every_promised_figure_has_one_module() -> None:
    names = [name for module in modules() for name in module.FIGURES]
    assert set(names) >= PROMISED
    assert len(names) == len(set(names))


def test_a_figure_is_one_json_line_with_what_it_has() -> None:
    assert json.loads(Figure("calls", 9, "calls").json()) == {"name": "calls", "value": 9, "unit": "calls"}
    compared = json.loads(Figure("time", 1.23456, "s", versus="cp", ratio=0.5).json())
    assert compared == {"name": "time", "value": 1.235, "unit": "s", "versus": "cp", "ratio": 0.5}


def test_the_table_shows_a_limit_that_is_broken() -> None:
    text = table([Figure("calls", 16, "calls", limit=15), Figure("calls", 15, "calls", variant="few", limit=15)])
    lines = text.splitlines()
    assert "over the limit of 15" in lines[2]
    assert "over" not in lines[3] and "calls (few)" in lines[3]


def test_contenders_take_turns_and_the_median_counts() -> None:
    order: list[str] = []
    times = {"ours": iter([3.0, 1.0, 2.0]), "theirs": iter([9.0, 9.0, 1.0])}

    def contender(name: str) -> float:
        order.append(name)
        return next(times[name])

    found = in_turns({name: lambda name=name: contender(name) for name in times}, rounds=3)  # type: ignore[misc]
    assert found == {"ours": 2.0, "theirs": 9.0}
    assert order == ["ours", "theirs"] * 3


def test_an_unknown_name_is_refused_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["no_such_figure"])
    assert "spawn_cached_calls" in capsys.readouterr().err


def test_the_command_prints_json_lines_and_then_a_table() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "bench", "spawn_cached_calls"],
        cwd=ROOT, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    figure = json.loads(first)
    assert figure["name"] == "spawn_cached_calls"
    assert 0 < figure["value"] <= 15
    assert any(line.startswith("spawn_cached_calls") for line in rest)
