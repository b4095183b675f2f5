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
"""A session with the official Python SDK; run with an interpreter that has it, not by pytest."""

import sys
import time

import XenAPI


def main(url: str, member: str, password: str) -> None:
    settings = {"ignore_ssl": True} if url.startswith("https") else {}
    try:
        XenAPI.Session(member, **settings).login_with_password("root", password, "1.0", "sdk")
    except XenAPI.Failure as failure:
        assert failure.details[0] == "HOST_IS_SLAVE", failure.details
    else:
        raise AssertionError("a member let us in")
    session = XenAPI.Session(url, **settings)
    try:
        session.login_with_password("root", "wrong", "1.0", "sdk")
    except XenAPI.Failure as failure:
        assert failure.details[:2] == ["SESSION_AUTHENTICATION_FAILED", "root"], failure.details
    session.login_with_password("root", password, "1.0", "sdk")
    xenapi = session.xenapi
    assert session.API_version.startswith("2."), session.API_version

    network = xenapi.network.create(
        {"name_label": "sdk <&> é", "name_description": "", "MTU": "1500", "other_config": {"a<b": "c&d"}}
    )
    record = xenapi.network.get_record(network)
    assert (record["name_label"], record["other_config"], record["MTU"]) == ("sdk <&> é", {"a<b": "c&d"}, "1500")
    event_from = getattr(xenapi.event, "from")
    batch = event_from(["network"], "", 0.1)
    assert network in [event["ref"] for event in batch["events"]]
    assert batch["valid_ref_counts"]["network"] == len(batch["events"])
    task = xenapi.Async.network.destroy(network)
    token, ended = "", None
    while ended is None:
        batch = event_from(["task/" + task], token, 5.0)
        token = batch["token"]
        ended = next((e["snapshot"] for e in batch["events"] if e["snapshot"]["status"] != "pending"), None)
    assert (ended["status"], ended["result"]) == ("success", "<value></value>"), ended
    xenapi.task.destroy(task)
    try:
        xenapi.network.get_record(network)
    except XenAPI.Failure as failure:
        assert failure.details == ["HANDLE_INVALID", "network", network]
    created = xenapi.host.get_servertime(xenapi.host.get_all()[0])
    assert abs(time.mktime(time.strptime(created.value, "%Y%m%dT%H:%M:%SZ")) - time.mktime(time.gmtime())) < 60

    classes = {name.split(".")[0] for name in session.system.listMethods() if name.endswith(".get_all_records")}
    answered = 0
    for name in sorted(classes):
        try:
            records = getattr(xenapi, name).get_all_records()
        except XenAPI.Failure as failure:
            assert failure.details[0] == "MESSAGE_REMOVED", (name, failure.details)
            continue
        answered += 1
        assert all(key.startswith("OpaqueRef:") for key in records), name
    assert answered > 50, answered
    xenapi.session.logout()
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
