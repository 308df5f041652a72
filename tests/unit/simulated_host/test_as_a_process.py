# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host as users start it: the command, the four variables, Python and shell writers, xl, faults."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

LAUNCHER = Path(__file__).resolve().parents[3] / "roles/simulated_host/files/simulated-xen"
PATIENCE = 60.0
NIC = "0000:01:00.0"
#: For xl, also where the host starts it: nobody here answers late.
HASTE = {"SIMULATED_XL_WAIT": "0.3"}


def launch(directory: Path, *options: str, stdin: str = "") -> dict[str, str]:
    """Start a host; the variables that lead to it."""
    words = [sys.executable, str(LAUNCHER), "start", "--dir", str(directory), "--json", *options]
    answer = subprocess.run(words, env={**os.environ, **HASTE}, check=True, capture_output=True, text=True, input=stdin)
    variables: dict[str, str] = json.loads(answer.stdout)
    return variables


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


class Started:
    """A running host."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.variables = launch(directory)
        self.environment = {**os.environ, **self.variables, **HASTE}

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=check)

    def python(self, code: str) -> str:
        return self.run(sys.executable, "-c", code).stdout.strip()

    def control(self, *words: str) -> Any:
        answer = self.run("simulated-xen", *words)
        return json.loads(answer.stdout) if answer.stdout.startswith(("{", "[")) else answer.stdout

    def guest(self, name: str) -> dict[str, Any]:
        return next(domain for domain in self.control("domain", "list") if domain["name"] == name)


@pytest.fixture
def started(short_path: Path) -> Iterator[Started]:
    host = Started(short_path / "h")
    try:
        yield host
        assert (host.directory / "log").read_text() == "", "the simulator complains"
    finally:
        subprocess.run([sys.executable, str(LAUNCHER), "stop", "--dir", str(host.directory)], check=True)
    assert not host.directory.exists()


def test_four_variables_are_all_it_takes(started: Started) -> None:
    assert set(started.variables) == {"XENSTORED_PATH", "SYSFS_PATH", "PYTHONPATH", "PATH"}


def test_a_python_beside_xl_sees_the_host_without_any_variable(started: Started) -> None:
    code = "import shutil, sys; from xen.lowlevel import xc; print(xc.__file__, shutil.which('xl'), sys.executable)"
    plain = {"PATH": os.environ["PATH"], "PYTHONPATH": "/elsewhere"}
    words = [str(started.directory / "bin" / "ansible-python"), "-c", code + "; print(sys.path[1:3])"]
    said = subprocess.run(words, env=plain, capture_output=True, text=True, check=True).stdout.split("\n")
    run = started.directory
    assert said[0].split() == [str(run / "python/xen/lowlevel/xc.py"), str(run / "bin/xl"), sys.executable]
    assert said[1] == str([str(run / "python"), "/elsewhere"])


def test_python_writers_get_linux_errors_at_once(started: Started) -> None:
    code = f"""
import errno, io, os, pathlib
root = os.environ["SYSFS_PATH"] + "/bus/pci/"
def attempt(name, function):
    try:
        function()
        print(name, "ok")
    except OSError as error:
        print(name, errno.errorcode[error.errno])
def by_descriptor(path, data):
    descriptor = os.open(root + path, os.O_WRONLY)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
def by_file(path, text, mode="w"):
    with open(root + path, mode) as stream:
        stream.write(text)
attempt("bind", lambda: by_descriptor("drivers/pciback/bind", b"0000:77:00.0"))
attempt("unbind", lambda: by_file("devices/{NIC}/driver/unbind", "{NIC}"))
attempt("driver", lambda: os.readlink(root + "devices/{NIC}/driver"))
attempt("slot", lambda: pathlib.Path(root, "drivers/pciback/new_slot").write_text("{NIC}\\n"))
attempt("rebind", lambda: by_file("drivers/pciback/bind", b"{NIC}", "wb"))
attempt("driver", lambda: os.readlink(root + "devices/{NIC}/driver"))
attempt("vendor", lambda: by_file("devices/{NIC}/vendor", "1"))
attempt("open", lambda: os.close(os.open(root + "devices/{NIC}/vendor", os.O_WRONLY)))
attempt("create", lambda: by_file("devices/{NIC}/nonsense", "1"))
attempt("absent", lambda: by_descriptor("devices/{NIC}/nonsense", b"1"))
attempt("update", lambda: by_file("devices/{NIC}/driver_override", "pciback", "r+"))
print(pathlib.Path(root, "devices/{NIC}/driver_override").read_text().strip())
"""
    assert started.python(code).splitlines() == [
        "bind ENODEV",
        "unbind ok",
        "driver ENOENT",
        "slot ok",
        "rebind ok",
        "driver ok",
        "vendor EACCES",
        "open EACCES",
        "create EACCES",
        "absent ENOENT",
        "update ok",
        "pciback",
    ]


def test_shell_writers_take_effect_and_their_refusals_show_as_no_effect(started: Started) -> None:
    base = f"{started.variables['SYSFS_PATH']}/bus/pci"
    driver = Path(f"{base}/devices/{NIC}/driver")
    started.run("sh", "-c", f"echo {NIC} > {base}/devices/{NIC}/driver/unbind")
    until(lambda: not driver.exists())
    started.run("sh", "-c", f"echo {NIC} > {base}/drivers/pciback/new_slot")
    until(lambda: NIC in Path(f"{base}/drivers/pciback/slots").read_text())
    started.run("sh", "-c", f"echo {NIC} > {base}/drivers/pciback/bind")
    until(driver.exists)
    vfs = Path(f"{base}/devices/0000:05:00.0/sriov_numvfs")
    started.run("sh", "-c", f"echo 99 > {vfs}")
    until(lambda: "refused" in (started.directory / "trace").read_text())
    until(lambda: vfs.read_text() == "0\n")


def test_libxls_files_are_those_of_the_host(started: Started) -> None:
    code = """
import json, os, pathlib
directory = pathlib.Path("/var/lib/xen")
names = sorted(name for name in os.listdir(directory) if name.endswith("libxl-json"))
text = (directory / names[0]).read_text()
assert text.endswith("\\0")
print(len(names), json.loads(text.rstrip("\\0"))["c_info"]["name"], directory.is_dir())
(directory / "x").write_text("1")
(directory / "x").rename(directory / "y")
(directory / "y").unlink()
"""
    assert started.python(code) == "3 g1 True"
    assert not (started.directory / "var/lib/xen/y").exists()


def test_the_binding_has_the_traps_of_the_real_one(started: Started) -> None:
    code = """
from xen.lowlevel import xc as module
xc = module.xc()
print(xc.assign_device(domid=1, pci="0x0, 0x1, 0x0, 0x0"))
print(xc.assign_device(domid=2, pci="0x0, 0x1, 0x0, 0x0"))
print(xc.assign_device(domid=2, pci="0000:01:00.0"))
print(repr(xc.get_device_group(1, 0, 1, 0, 0)))
try:
    xc.domain_iomem_permission(domid=99, first_pfn=1, nr_pfns=1, allow_access=True)
except module.Error as error:
    print(error.args)
try:
    xc.get_device_group(domid=1, seg=0, bus=1, dev=0, func=0)
except TypeError:
    print("no keywords")
print(hasattr(xc, "physdev_unmap_pirq"))
"""
    assert started.python(code).splitlines() == [
        "0",
        "256",
        "0",
        "'01:00.0,'",
        f"({errno.ESRCH}, '{os.strerror(errno.ESRCH)}')",
        "no keywords",
        "False",
    ]


def test_xl_attaches_and_detaches_as_on_the_lab(started: Started) -> None:
    for address in (NIC, "0000:02:00.0"):
        started.run("xl", "pci-assignable-add", address)
    assert started.run("xl", "pci-assignable-list").stdout.split() == [NIC, "0000:02:00.0"]
    started.run("xl", "pci-attach", "g1", NIC)
    started.run("xl", "pci-attach", "g1", "02:00.0")
    assert started.run("xl", "pci-list", "g1").stdout == f"Vdev Device\n00.0 {NIC}\n00.0 0000:02:00.0\n"
    until(lambda: len(started.guest("g1")["devices"]) == 2)
    started.run("xl", "pci-detach", "g1", NIC)
    started.run("xl", "pci-detach", "g1", "02:00.0")
    lines = [line.split()[1:] for line in (started.directory / "trace").read_text().splitlines()]
    ends = [line[2] for line in lines if line[1] == "rm" and line[0].startswith("A")]
    # traces/xl-hotadd-hotremove.txt, detach-last: the order in which the directories go.
    assert ends[-6:] == [
        "/local/domain/1/device/pci/0",
        "/local/domain/1/device/pci",
        "/local/domain/0/backend/pci/1/0",
        "/local/domain/0/backend/pci/1",
        "/local/domain/0/backend/pci",
        "/libxl/pci/0000-02-00-0/domid",
    ]
    started.run("xl", "pci-assignable-remove", "-r", NIC)
    driver = Path(started.variables["SYSFS_PATH"]) / "bus/pci/devices" / NIC / "driver"
    assert driver.resolve().name == "e1000e"


def test_xl_tells_success_for_a_guest_without_pcifront(started: Started) -> None:
    """traces/fail3.txt, F1."""
    for address in (NIC, "0000:02:00.0"):
        started.run("xl", "pci-assignable-add", address)
    assert started.run("xl", "pci-attach", "g3", NIC).returncode == 0
    assert started.run("xl", "pci-attach", "g3", "02:00.0", check=False).returncode == 1
    detach = started.run("xl", "pci-detach", "g3", NIC)
    assert detach.returncode == 0
    assert "not ready" in detach.stderr
    assert started.run("xl", "pci-list", "g3").stdout.endswith(f"{NIC}\n"), "it is still listed"
    assert started.control("devices")[NIC]["owner"] == 0x7FF1, "but its rights are gone"


@pytest.mark.parametrize("how", [["xl", "reboot"], *(["simulated-xen", "domain", one] for one in ("reboot", "reset"))])
def test_a_guest_that_reboots_has_the_devices_that_xl_attached(started: Started, how: list[str]) -> None:
    before = with_a_device(started, "g1")
    started.run(*how, "g1")
    until(lambda: before not in domids(started, "g1") and len(started.guest("g1")["devices"]) == 1)


@pytest.mark.parametrize("how", [["xl", "shutdown"], ["simulated-xen", "domain", "poweroff"]])
@pytest.mark.parametrize("guest", ["g1", "h1"])
def test_a_guest_that_shuts_down_is_destroyed_and_its_device_free(started: Started, guest: str, how: list[str]) -> None:
    started.control("domain", "create", "h1", "type=hvm")
    with_a_device(started, guest)
    started.run(*how, guest)
    until(lambda: domids(started, guest) == [])
    assert started.control("devices")[NIC]["owner"] == 0x7FF1
    assert NIC in started.run("xl", "pci-assignable-list").stdout


def test_a_guest_that_does_not_listen_is_not_shut_down(started: Started) -> None:
    started.run("xl", "pause", "g1")
    refused = started.run("xl", "shutdown", "g1", check=False)
    assert (refused.returncode, "didn't acknowledge" in refused.stderr) == (1, True)
    started.run("xl", "unpause", "g1")
    until(lambda: domids(started, "g1") == [])


def with_a_device(started: Started, guest: str) -> int:
    """Have xl attach a device; the guest's number."""
    started.run("xl", "pci-assignable-add", NIC)
    started.run("xl", "pci-attach", guest, NIC)
    until(lambda: len(started.guest(guest)["devices"]) == 1)
    return int(started.guest(guest)["domid"])


def domids(started: Started, guest: str) -> list[int]:
    return [domain["domid"] for domain in started.control("domain", "list") if domain["name"] == guest]


def test_xl_moves_a_guest_that_has_no_device(started: Started, short_path: Path) -> None:
    target = Started(short_path / "t")
    try:
        target.control("domain", "destroy", "g1")
        started.run("xl", "pci-assignable-add", NIC)
        started.run("xl", "pci-attach", "g1", NIC)
        until(lambda: len(started.guest("g1")["devices"]) == 1)
        refused = started.run("xl", "migrate", "g1", str(target.directory), check=False)
        assert refused.returncode == 1
        assert "logdirty" in refused.stderr
        started.run("xl", "pci-detach", "g1", NIC)
        started.run("xl", "migrate", "g1", str(target.directory))
        assert "g1 " in target.run("xl", "list").stdout
        assert "g1 " not in started.run("xl", "list").stdout
        target.run("xl", "save", "g1", str(short_path / "saved"))
        started.run("xl", "restore", str(short_path / "saved"))
        assert "g1 " in started.run("xl", "list").stdout
    finally:
        target.run("simulated-xen", "stop")


def test_an_hvm_guest_goes_through_qemu_and_never_through_the_handshake(started: Started) -> None:
    """traces/hvm-xenstore-attach1.txt and hvm-detach-paused.txt."""
    domid = started.control("domain", "create", "h1", "type=hvm")["domid"]
    devices = (NIC, "0000:02:00.0")
    for address in devices:
        started.run("xl", "pci-assignable-add", address)
        started.run("xl", "pci-attach", "h1", address)
    assert started.run("xl", "pci-list", "h1").stdout.splitlines()[1:] == [f"03.0 {NIC}", "04.0 0000:02:00.0"]

    def node(name: str) -> str:
        path = f"/local/domain/0/backend/pci/{domid}/0/{name}"
        lines = [line.split() for line in (started.directory / "trace").read_text().splitlines()]
        return next(line[-1] for line in reversed(lines) if path in line)

    assert (node("state"), node("state-0"), node("state-1"), node("vdevfn-1")) == ("7", "3", "1", "20")
    started.run("xl", "pause", "h1")
    assert started.run("xl", "pci-detach", "h1", NIC, check=False).returncode == 1
    started.run("xl", "unpause", "h1")
    again = started.run("xl", "pci-detach", "h1", NIC, check=False)
    assert again.returncode == 1
    assert "not found" in again.stderr
    assert started.run("xl", "pci-detach", "-f", "h1", NIC).returncode == 0


def test_qemu_answers_at_the_path_that_libxl_has_compiled_in(started: Started) -> None:
    """traces/hvm-attach-detach.txt: what QEMU says before and after the guest takes a device."""
    domid = started.control("domain", "create", "h1", "type=hvm")["domid"]
    code = f"""
import json, os, socket
assert os.path.exists("/var/run/xen/qmp-libxl-{domid}")
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect("/var/run/xen/qmp-libxl-{domid}")
    stream = connection.makefile("rw")
    assert "QMP" in json.loads(stream.readline())
    def ask(name, **arguments):
        stream.write(json.dumps({{"execute": name, "arguments": arguments}}) + "\\n")
        stream.flush()
        return json.loads(stream.readline())
    print(ask("query-pci")["error"]["class"])
    ask("qmp_capabilities")
    add = {{"driver": "xen-pci-passthrough", "id": "pci-pt-01_00.0", "hostaddr": "{NIC}"}}
    print(ask("device_add", **add), ask("device_add", **add)["error"]["desc"])
    device = ask("query-pci")["return"][0]["devices"][-1]
    print(device["qdev_id"], device["slot"], {{region["address"] for region in device["regions"]}} == {{2**64 - 1}})
    print(ask("device_del", id="nobody")["error"])
"""
    assert started.python(code).splitlines() == [
        "CommandNotFound",
        "{'return': {}} Duplicate device ID 'pci-pt-01_00.0'",
        "pci-pt-01_00.0 3 True",
        "{'class': 'DeviceNotFound', 'desc': \"Device 'nobody' not found\"}",
    ]


def test_an_hvm_guest_that_does_not_eject_keeps_the_device_until_it_does(started: Started) -> None:
    started.control("domain", "create", "h1", "type=hvm")
    started.run("xl", "pci-assignable-add", NIC)
    started.run("xl", "pci-attach", "h1", NIC)
    until(lambda: started.guest("h1")["devices"]["0000:00:03.0"]["driver"] == "e1000e")
    started.run("simulated-xen", "inject", "refuse-eject", "domain=h1")
    refused = started.run("xl", "pci-detach", "h1", NIC, check=False)
    assert (refused.returncode, "timed out waiting for DM" in refused.stderr) == (1, True)
    assert started.guest("h1")["devices"] != {}
    assert NIC in started.run("xl", "pci-list", "h1").stdout
    started.run("simulated-xen", "inject", "refuse-eject", "domain=h1", "refuse=false")
    until(lambda: started.guest("h1")["devices"] == {})
    assert NIC in started.run("xl", "pci-list", "h1").stdout, "the stale record of lab.md"


def test_a_stub_domain_gets_the_device_first_and_the_guest_owns_it(started: Started) -> None:
    domid = started.control("domain", "create", "h1", "type=hvm", "stubdomain=true")["domid"]
    stub = started.guest("h1")["stub"]
    assert started.guest("h1-dm")["domid"] == stub
    for address in (NIC, "0000:02:00.0"):
        started.run("xl", "pci-assignable-add", address)
        started.run("xl", "pci-attach", "h1", address)
    until(lambda: len(started.guest("h1")["devices"]) == 2)
    assert started.control("devices")[NIC]["owner"] == domid
    seen = started.guest("h1-dm")["devices"].values()
    assert [(one["host"], one["driver"]) for one in seen] == [(NIC, None), ("0000:02:00.0", None)]
    trace = (started.directory / "trace").read_text()
    assert f"backend/pci/{stub}/0/state 7" in trace
    assert f"backend/pci/{domid}/0" not in trace
    # libxl looks for the device below a backend that this guest does not have (do_pci_remove).
    refused = started.run("xl", "pci-detach", "h1", NIC, check=False)
    assert (refused.returncode, "not attached to this domain" in refused.stderr) == (1, True)
    started.run("xl", "destroy", "h1")
    assert {one["name"] for one in started.control("domain", "list")}.isdisjoint({"h1", "h1-dm"})
    assert started.control("devices")[NIC]["owner"] == 0x7FF1


def test_faults_are_listed_and_refused_with_a_sentence(started: Started) -> None:
    listed = started.control("inject")
    assert "reset-fails" in listed
    wrong = started.run("simulated-xen", "inject", "earthquake", check=False)
    assert wrong.returncode == 1
    assert "there is no fault earthquake" in wrong.stderr
    wrong = started.run("simulated-xen", "inject", "late", "domain=g9", "step=frontend:7", "seconds=1", check=False)
    assert "g9 is no domain" in wrong.stderr


def test_a_fault_at_a_step(started: Started) -> None:
    started.run("xl", "pci-assignable-add", NIC)
    started.run("simulated-xen", "inject", "die-at", "domain=0", "step=backend:3", "victim=g1")
    started.run("xl", "pci-attach", "g1", NIC)
    until(lambda: all(domain["name"] != "g1" for domain in started.control("domain", "list")))


def test_a_second_toolstack_waits_for_the_cycle_of_the_first(started: Started) -> None:
    others = ("0000:02:00.0", "0000:03:00.0")
    for address in (NIC, *others):
        started.run("xl", "pci-assignable-add", address)
    started.run("xl", "pci-attach", "g1", NIC)
    until(lambda: len(started.guest("g1")["devices"]) == 1)
    started.run(
        "simulated-xen", "inject", "xl-at", "domain=g1", "step=frontend:7", f"command=pci-attach g1 {others[1]}"
    )
    started.run("xl", "pci-attach", "g1", others[0])
    # libxl__wait_for_backend: an add begins at state 4 only.
    until(lambda: len(started.guest("g1")["devices"]) == 3)


def test_the_store_can_go_and_come_back(started: Started) -> None:
    started.run("simulated-xen", "inject", "store-down")
    assert started.run("xl", "pci-assignable-list", check=False).returncode != 0
    started.run("simulated-xen", "inject", "store-up")
    assert started.run("xl", "pci-assignable-list").returncode == 0


def test_a_second_host_in_the_same_directory_is_refused(started: Started) -> None:
    again = started.run("simulated-xen", "start", check=False)
    assert again.returncode == 1
    assert "A host runs in" in again.stderr


def test_a_directory_with_other_things_is_left_alone(short_path: Path) -> None:
    (short_path / "thesis").write_text("mine")
    words = [sys.executable, str(LAUNCHER), "start", "--dir", str(short_path)]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "no simulated host" in answer.stderr
    assert (short_path / "thesis").exists()


def test_a_host_ends_with_its_companion(short_path: Path) -> None:
    directory = short_path / "h"
    with subprocess.Popen(["sleep", "1000"]) as companion:
        launch(directory, "--while", str(companion.pid))
        process = int((directory / "pid").read_text())
        companion.kill()
    until(lambda: not Path(f"/proc/{process}").exists())
    assert list(short_path.iterdir()) == [], "its directory goes with it"


def test_a_companion_can_be_a_program_above(short_path: Path) -> None:
    program = short_path / "a-program-with-a-long-name"
    start = shlex.join([sys.executable, str(LAUNCHER), "start", "--dir", str(short_path / "h")])
    program.write_text(f"#!/bin/sh\nsh -c '{start} --while {program.name}; true'\ntest -e {short_path}/h/pid\n")
    program.chmod(0o755)
    subprocess.run([program], check=True, stdout=subprocess.DEVNULL)
    until(lambda: not (short_path / "h").exists())


@pytest.mark.parametrize("companion", ["999999999", "no-such-program"])
def test_a_companion_that_is_not_there(short_path: Path, companion: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        launch(short_path / "h", "--while", companion)
    assert companion in refused.value.stderr
    assert "Traceback" not in refused.value.stderr


def test_a_machine_from_standard_input(short_path: Path) -> None:
    machine = {"devices": [{"at": "00:08.0", "model": "nvme", "serial": "X1"}]}
    launch(short_path / "h", "--machine", "-", stdin=json.dumps(machine))
    try:
        seen = subprocess.run([short_path / "h/bin/simulated-xen", "devices"], check=True, capture_output=True)
    finally:
        subprocess.run([sys.executable, str(LAUNCHER), "stop", "--dir", str(short_path / "h")], check=True)
    assert list(json.loads(seen.stdout)) == ["0000:00:08.0"]
