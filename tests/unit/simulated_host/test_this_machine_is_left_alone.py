# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that runs on a simulated host reaches the machine below it: it acts on the host, or is refused by name."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT
from own_machine import DescribedHost, described_host

from simulated_xen.host.extra_files import BadPath, ExtraFiles

NIC, PF, DISK = "0000:01:00.0", "0000:03:00.0", "0000:02:00.0"
MACHINE: dict[str, Any] = {
    "devices": [
        {"at": "00:00.0", "model": "host-bridge"},
        {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:0a:00:01", "name": "mgmt0", "up": True},
        {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:0a:01:01"},
        {"at": "02:00.0", "model": "nvme", "serial": "NV1"},
        {"at": "03:00.0", "model": "igb", "mac": "52:54:00:0a:03:01", "name": "pf0"},
    ],
    "domains": [{"name": "g1"}, {"name": "h1", "type": "hvm"}],
    "files": {"run/systemd/system/": "", "proc/spl/kstat/zfs/tank/": "", "sys/fs/zfs/": ""},
}
#: Programs that modules ask for and that this machine, too, may be without.
MISSING = {"blkid", "zpool", "update-initramfs", "dracut", "update-grub"}


@pytest.fixture(scope="module")
def host() -> Iterator[DescribedHost]:
    with described_host(MACHINE) as made:
        yield made


def refused(host: DescribedHost) -> list[str]:
    """What was refused on a host so far."""
    file = host.directory / "refused"
    return file.read_text().splitlines() if file.exists() else []


def python(host: DescribedHost, code: str) -> str:
    """What a Python process of the host prints; its last line says whether it was refused."""
    wrapped = (
        "import os, pathlib, shutil, socket, subprocess, sys\n"
        f"try:\n    {code}\nexcept OSError as error:\n    print('refused', error)\nelse:\n    print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", wrapped], env=host.environment, capture_output=True, text=True, check=True
    )
    return done.stdout


PROGRAM = shutil.which("true") or "/bin/true"
ELSEWHERE = "/srv/xen-pci-test"
LEAKS = {
    "a program that is on this machine": "subprocess.run(['git', '--version'])",
    "one by its path": "subprocess.run(['/usr/bin/env', 'true']) and subprocess.run(['/usr/sbin/chroot', '--help'])",
    "another one of that name": "subprocess.run(['/usr/sbin/modprobe', 'loop'])",
    "exec": "os.execv('/bin/mount', ['mount'])",
    "spawn": "os.posix_spawn('/bin/mount', ['mount'], os.environ)",
    "a file for a program": "subprocess.run(['cat', '/etc/hostname'])",
    "a file in an option": f"subprocess.run(['dd', 'of={ELSEWHERE}'])",
    "a shell": "subprocess.run('echo x > /etc/xen-pci-test', shell=True)",
    "system": "os.system('cat /proc/cpuinfo')",
    "another PATH": "subprocess.run(['sh', '-c', 'mount'], env={'PATH': '/bin'})",
    "no PATH": "subprocess.run(['sh', '-c', 'mount'], env={})",
    "a Python that does not look": "subprocess.run([sys.executable, '-Ic', ''])",
    "a Python without the variables": "subprocess.run([sys.executable, '-c', ''], env={'PATH': '/bin'})",
    "a file": f"open({ELSEWHERE!r}, 'w')",
    "a file by its descriptor": f"os.open({ELSEWHERE!r}, os.O_CREAT | os.O_WRONLY)",
    "a directory": f"os.makedirs({ELSEWHERE!r})",
    "a link": f"os.symlink('x', {ELSEWHERE!r})",
    "a file that is moved": f"pathlib.Path('/etc/moved').write_text('') and 0; os.rename('/etc/moved', {ELSEWHERE!r})",
    "a mode": "os.chmod('/usr/lib', 0o755)",
    "a link that leads out": "os.symlink('/usr/lib', '/etc/out'); open('/etc/out/xen-pci-test', 'w')",
    "the home": "pathlib.Path('~/.xen-pci-test').expanduser().write_text('')",
    "netlink": "socket.socket(16, socket.SOCK_RAW)",
}


@pytest.mark.parametrize("code", LEAKS.values(), ids=LEAKS)
def test_what_would_reach_this_machine_is_refused_by_name(host: DescribedHost, code: str) -> None:
    before = len(refused(host))
    assert "refused" in python(host, code).splitlines()[-1]
    assert len(refused(host)) == before + 1
    assert not any(os.path.lexists(path) for path in (ELSEWHERE, "/etc/xen-pci-test", "/usr/lib/xen-pci-test"))


@pytest.mark.parametrize("directory", ["etc", "boot", "run", "var/lib", "opt", "proc", "usr/sbin", "lib/modules"])
def test_files_of_a_host_are_the_simulated_hosts(host: DescribedHost, directory: str) -> None:
    name = f"/{directory}/xen-pci-test"
    code = (
        f"pathlib.Path({name!r}).write_text('it'); os.chmod({name!r}, 0o600); shutil.copy({name!r}, {name + '2'!r});"
        f" print(os.stat(b{name!r}).st_size, b'xen-pci-test2' in os.listdir(os.path.dirname(b{name!r})))"
    )
    assert python(host, code).splitlines() == ["2 True", "done"]
    assert not os.path.lexists(name)
    own = host.directory / ("bin" if directory == "usr/sbin" else directory) / "xen-pci-test"
    assert own.read_text() == "it" and own.stat().st_mode & 0o777 == 0o600


def test_a_process_has_what_is_its_own(host: DescribedHost) -> None:
    shell = "for name in xl ip modprobe git; do command -v $name; done; echo $PATH"
    code = (
        "open('/dev/null', 'w').write(''); import tempfile, syslog; tempfile.TemporaryFile(); syslog.syslog('a line');"
        " print(len(os.listdir('/proc/self/fd')) > 2, os.path.exists(sys.executable), os.path.exists('/usr/bin/git'),"
        f" subprocess.run(['sh', '-c', {shell!r}]).returncode)"
    )
    programs = host.directory / "bin"
    found = [str(programs / name) for name in ("xl", "ip", "modprobe")]
    assert python(host, code).splitlines() == [*found, str(programs), "True True False 0", "done"]
    assert "a line" in (host.directory / "var/log/syslog").read_text()


def test_bindings_to_what_manages_this_machine_are_not_there(host: DescribedHost) -> None:
    words = [sys.executable, "-c", "import apt_pkg"]
    done = subprocess.run(words, env=host.environment, capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError: apt_pkg is left out" in done.stderr


def test_ip_and_modprobe_act_on_the_host(host: DescribedHost) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=host.environment, capture_output=True, text=True, check=False)

    assert run("modprobe", "xen-pciback").returncode == run("modprobe", "igb").returncode == 0
    missing = run("modprobe", "no_such_module")
    assert missing.returncode == 1 and "no_such_module not found" in missing.stderr
    names = {link["ifname"] for link in json.loads(run("ip", "-json", "link", "show").stdout)}
    assert names == {"mgmt0", "eth0", "pf0"}
    for words in (("link", "set", "dev", "mgmt0", "down"), ("address", "show")):
        unknown = run("ip", *words)
        assert unknown.returncode == 1 and "this simulated host" in unknown.stderr


def test_a_link_of_the_machine_leads_no_file_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for path in ("way/file", "way/deep/", "way/deep/file"):
        with pytest.raises(BadPath, match="leads out"):
            ExtraFiles({path: "x"}, {"way": str(outside)}).write(tmp_path / "h", lambda _path, _data: False)
    assert list(outside.iterdir()) == []


def test_modules_ask_for_nothing_that_the_host_does_not_have(host: DescribedHost) -> None:
    """What a module newly runs or writes shows here by itself: it is refused."""
    (host.directory / "refused").unlink(missing_ok=True)
    config = host.directory / "etc/xen/g1.cfg"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('name = "g1"\n')
    catalog = {"nic": NIC, "disk": DISK}
    functions = [{"pf": PF, "count": 2, "vfs": [{"index": 1, "vlan": 7, "mac": "02:00:5e:00:00:01"}]}]
    both = {"g1": {"devices": ["nic"], "config": "/etc/xen/g1.cfg"}, "h1": {"devices": ["disk"]}}
    none = {"g1": {"devices": [], "config": "/etc/xen/g1.cfg"}, "h1": {"devices": []}}
    for again in (False, True):
        for module, arguments in (
            ("host_info", {"gather": ["devices", "domains", "snapshot"]}),
            ("virtual_functions", {"physical_functions": functions}),
            ("assignable_devices", {"devices": ["nic", "disk"], "catalog": catalog}),
            ("domain_devices", {"domains": both, "catalog": catalog, "exclusive": True, "converge": "active"}),
        ):
            done = host.run(module, ssh="10.0.0.9 50000 10.0.0.1 22", **arguments)
            assert not done.get("failed") and (module == "host_info" or done["changed"] is not again), done
    settings = json.loads(python(host, "subprocess.run(['ip', '-json', 'link', 'show', 'dev', 'pf0'])").splitlines()[0])
    assert settings[0]["vfinfo_list"][1]["vlan_list"] == [{"vlan": 7}]
    assert "pci = " in config.read_text()
    host.run("assignable_devices", devices=["nic"], catalog=catalog, persistent=True)  # its next boot is not simulated
    assert not host.run("domain_devices", domains=none, exclusive=True).get("failed")
    assert not host.run("assignable_devices", devices=[NIC, DISK], state="absent").get("failed")
    host.run("repair")
    assert {line.partition(":")[0] for line in refused(host)} <= MISSING
    assert f"{NIC}" in (host.directory / "var/log/syslog").read_text()


def _paths_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for path in node.value.partition(" ")[0].split(":"):
                if path.startswith("/") and path.count("/") > 1 and os.path.isdir(f"/{path.split('/')[1]}"):
                    yield path


def test_every_path_in_the_code_is_one_of_the_simulated_host(host: DescribedHost) -> None:
    found = {path for file in (ROOT / "plugins").rglob("*.py") for path in _paths_in(file)}
    assert "/var/lib/xen" in found
    code = (
        "from simulated_paths import RUN, moved;"
        f" print([path for path in {sorted(found)!r} if not moved(path).startswith(RUN)])"
    )
    outside = ast.literal_eval(python(host, code).splitlines()[0])
    # What procfs says of a process is real, since the process is.
    assert [path for path in outside if not path.startswith("/proc/self/")] == []
