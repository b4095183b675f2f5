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
"""HTTP handlers beside the calls: action, method, path, arguments, lowest role."""

from xapikit.model.schema import HttpHandlerSpec

HTTP_HANDLERS: tuple[HttpHandlerSpec, ...] = (
    HttpHandlerSpec("get_services", "GET", "/services", (), "read-only"),
    HttpHandlerSpec("post_services", "POST", "/services", (), "pool-admin"),
    HttpHandlerSpec("put_services", "PUT", "/services", (), "pool-admin"),
    HttpHandlerSpec("post_remote_db_access", "POST", "/remote_db_access", (), "pool-admin"),
    HttpHandlerSpec("post_remote_db_access_v2", "POST", "/remote_db_access_v2", (), "pool-admin"),
    HttpHandlerSpec("get_services_xenops", "GET", "/services/xenops", (), "vm-power-admin"),
    HttpHandlerSpec("post_services_xenops", "POST", "/services/xenops", (), "vm-power-admin"),
    HttpHandlerSpec("put_services_xenops", "PUT", "/services/xenops", (), "vm-power-admin"),
    HttpHandlerSpec("get_services_sm", "GET", "/services/SM", (), "vm-power-admin"),
    HttpHandlerSpec("post_services_sm", "POST", "/services/SM", (), "vm-power-admin"),
    HttpHandlerSpec("put_services_sm", "PUT", "/services/SM", (), "vm-power-admin"),
    HttpHandlerSpec("put_import", "PUT", "/import", ("restore:bool", "force:bool", "sr_id:string"), "vm-admin"),
    HttpHandlerSpec(
        "put_import_metadata", "PUT", "/import_metadata", ("restore:bool", "force:bool", "dry_run:bool"), "vm-admin"
    ),
    HttpHandlerSpec(
        "put_import_raw_vdi", "PUT", "/import_raw_vdi", ("vdi:string", "format:string", "chunked:bool"), "vm-admin"
    ),
    HttpHandlerSpec(
        "get_export",
        "GET",
        "/export",
        ("uuid:string", "use_compression:string", "preserve_power_state:bool"),
        "vm-admin",
    ),
    HttpHandlerSpec(
        "get_export_metadata",
        "GET",
        "/export_metadata",
        (
            "uuid:string",
            "all:bool",
            "include_dom0:bool",
            "include_vhd_parents:bool",
            "export_snapshots:bool",
            "excluded_device_types:string",
        ),
        "vm-admin",
    ),
    HttpHandlerSpec("get_export_raw_vdi", "GET", "/export_raw_vdi", ("vdi:string", "format:string"), "vm-admin"),
    HttpHandlerSpec("connect_console", "CONNECT", "/console", (), "vm-operator"),
    HttpHandlerSpec("connect_console_ws", "GET", "/console", (), "vm-operator"),
    HttpHandlerSpec("get_root", "GET", "/", (), "read-only"),
    HttpHandlerSpec("post_cli", "POST", "/cli", (), "read-only"),
    HttpHandlerSpec("get_host_backup", "GET", "/host_backup", (), "pool-admin"),
    HttpHandlerSpec("put_host_restore", "PUT", "/host_restore", (), "pool-admin"),
    HttpHandlerSpec("get_host_logs_download", "GET", "/host_logs_download", (), "pool-operator"),
    HttpHandlerSpec("put_pool_patch_upload", "PUT", "/pool_patch_upload", ("sr_id:string",), "pool-operator"),
    HttpHandlerSpec("get_vncsnapshot", "GET", "/vncsnapshot", ("uuid:string",), "vm-operator"),
    HttpHandlerSpec("get_pool_xml_db_sync", "GET", "/pool/xmldbdump", (), "pool-admin"),
    HttpHandlerSpec("put_pool_xml_db_sync", "PUT", "/pool/xmldbdump", (), "pool-admin"),
    HttpHandlerSpec("get_config_sync", "GET", "/sync_config_files", (), "pool-admin"),
    HttpHandlerSpec("get_system_status", "GET", "/system-status", ("entries:string", "output:string"), "pool-operator"),
    HttpHandlerSpec("vm_rrd", "GET", "/vm_rrd", ("uuid:string", "json:bool"), "read-only"),
    HttpHandlerSpec("get_vm_rrds", "GET", "/vm_rrds", ("uuid:string", "json:bool"), "read-only"),
    HttpHandlerSpec("host_rrd", "GET", "/host_rrd", ("json:bool",), "read-only"),
    HttpHandlerSpec("get_host_rrds", "GET", "/host_rrds", ("json:bool",), "read-only"),
    HttpHandlerSpec("sr_rrd", "GET", "/sr_rrd", ("uuid:string",), "read-only"),
    HttpHandlerSpec(
        "rrd_updates",
        "GET",
        "/rrd_updates",
        ("start:int", "cf:string", "interval:int", "host:bool", "uuid:string", "json:bool"),
        "read-only",
    ),
    HttpHandlerSpec("rrd", "PUT", "/rrd", (), "pool-admin"),
    HttpHandlerSpec("get_blob", "GET", "/blob", (), "read-only"),
    HttpHandlerSpec("put_blob", "PUT", "/blob", ("ref:string",), "vm-power-admin"),
    HttpHandlerSpec("put_messages", "PUT", "/messages", (), "vm-power-admin"),
    HttpHandlerSpec("connect_remotecmd", "CONNECT", "/remotecmd", (), "pool-admin"),
    HttpHandlerSpec("get_wlb_report", "GET", "/wlb_report", ("report:string", "*"), "read-only"),
    HttpHandlerSpec("get_wlb_diagnostics", "GET", "/wlb_diagnostics", (), "read-only"),
    HttpHandlerSpec("get_audit_log", "GET", "/audit_log", ("since:string",), "read-only"),
    HttpHandlerSpec("post_root", "POST", "/", (), "read-only"),
    HttpHandlerSpec("post_RPC2", "POST", "/RPC2", (), "read-only"),
    HttpHandlerSpec("post_json", "POST", "/json", (), "read-only"),
    HttpHandlerSpec("post_root_options", "OPTIONS", "/", (), "read-only"),
    HttpHandlerSpec("post_json_options", "OPTIONS", "/json", (), "read-only"),
    HttpHandlerSpec("post_jsonrpc", "POST", "/jsonrpc", (), "read-only"),
    HttpHandlerSpec("post_jsonrpc_options", "OPTIONS", "/jsonrpc", (), "read-only"),
    HttpHandlerSpec("get_pool_update_download", "GET", "/update/", (), "read-only"),
    HttpHandlerSpec("get_repository", "GET", "/repository", (), "local-root-only"),
    HttpHandlerSpec("get_enabled_repository", "GET", "/repository/enabled", (), "pool-operator"),
    HttpHandlerSpec("get_host_updates", "GET", "/host_updates", (), "pool-operator"),
    HttpHandlerSpec("get_updates", "GET", "/updates", (), "pool-operator"),
    HttpHandlerSpec("put_bundle", "PUT", "/bundle", (), "pool-operator"),
)

HTTP_NO_RBAC = frozenset(
    [
        "post_root",
        "post_RPC2",
        "post_cli",
        "post_json",
        "get_root",
        "get_blob",
        "post_root_options",
        "post_json_options",
        "post_jsonrpc",
        "post_jsonrpc_options",
        "get_pool_update_download",
    ]
)
