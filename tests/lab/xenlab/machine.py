# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The QEMU process: its arguments, and its life by process id."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from xenlab import boot_loader, topology
from xenlab.errors import LabError
from xenlab.image import Image

MEMORY = "3G"
DOM0_MEMORY = "1G"
# Without -smap dom0 dies at its first return to user space; AVX and XSAVE make the boot slower.
CPU = "max,-smap,-avx,-avx2,-fma,-f16c,-xsave,-xsaveopt,-xgetbv1,-pku,-mpx,-rdtscp"
XEN_OPTIONS = (
    f"console=com1 com1=115200,8n1 console_timestamps=boot conring_size=1M "
    f"dom0_mem={DOM0_MEMORY},max:{DOM0_MEMORY} loglvl=all guest_loglvl=all iommu=on,verbose"
)
DOM0_OPTIONS = "console=hvc0 root=/dev/vda net.ifnames=0"

SERIAL_LOG = "serial.log"
CONSOLE = "console.sock"
QMP = "qmp.sock"
PID = "pid"


def free_port() -> int:
    """A TCP port of the loopback that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(directory: Path, image: Image, port: int, hvm: bool = False, grub: bool = False) -> None:
    """Start QEMU in the background, its files in `directory`. LabError with QEMU's own words if it does not start.

    `hvm`: HVM guests are to run there. `grub`: what boots is up to the disk.
    """
    command = [
        "qemu-system-x86_64",
        "-name",
        f"xen-lab-{directory.name}",
        "-daemonize",
        "-pidfile",
        str(directory / PID),
        *_machine(directory, hvm),
        *(_boot_by_grub(directory) if grub else _boot(image)),
        *_own_devices(image, port),
        *_devices(image),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"QEMU did not start: {done.stderr.strip()}")


def pid(directory: Path) -> int | None:
    """The process id of the QEMU of this directory, None when it does not run."""
    try:
        number = int((directory / PID).read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    # The number may belong to somebody else by now.
    return number if str(directory / PID).encode() in command.split(b"\0") else None


def stop(directory: Path, patience: float = 10.0) -> None:
    """End the QEMU of this directory; wait until it is gone, `patience` seconds before it is killed."""
    process = pid(directory)
    if process is None:
        return
    try:
        handle = os.pidfd_open(process)  # stays with this process, also when the number is used again
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            # Readable when it has ended. QEMU removes its pid file earlier than that.
            if select.select([handle], [], [], patience)[0]:
                return
    finally:
        os.close(handle)
    raise LabError(f"QEMU, process {process}, does not end")


def _machine(directory: Path, hvm: bool) -> Iterator[str]:
    # One thread for both processors: with one each, QEMU 7.2 crashes when one of them remaps a BAR (a reset does)
    # while the other reads a device (memory_region_dispatch_read of a region that is gone). Boots as fast.
    # But then the firmware of an HVM guest comes to a standstill while it waits for its device model in dom0, which
    # with one thread each takes a minute for the whole boot.
    threads = "multi" if hvm else "single"
    yield from ("-M", "q35", "-accel", f"tcg,thread={threads}", "-cpu", CPU, "-smp", "2", "-m", MEMORY)
    yield from ("-nodefaults", "-display", "none", "-device", "intel-iommu,intremap=on")
    console = f"socket,id=console,path={directory / CONSOLE},server=on,wait=off,logfile={directory / SERIAL_LOG}"
    yield from ("-chardev", console, "-serial", "chardev:console")
    yield from ("-qmp", f"unix:{directory / QMP},server=on,wait=off")


def _boot(image: Image) -> Iterator[str]:
    # Multiboot: the hypervisor is QEMU's "kernel", its modules are the "initrd", commas in between.
    modules = f"{image.kernel} {DOM0_OPTIONS},{image.initrd}"
    yield from ("-kernel", str(image.xen), "-append", XEN_OPTIONS, "-initrd", modules)


def _boot_by_grub(directory: Path) -> Iterator[str]:
    yield from ("-kernel", str(boot_loader.make(directory, XEN_OPTIONS, DOM0_OPTIONS)))


def _own_devices(image: Image, port: int) -> Iterator[str]:
    yield from ("-drive", f"if=none,id=root,format=raw,snapshot=on,file={image.disk}")
    yield from ("-device", f"virtio-blk-pci,drive=root,{_at(topology.ROOT_DISK)}")
    yield from ("-netdev", f"user,id=management,hostfwd=tcp:127.0.0.1:{port}-:22")
    yield from ("-device", f"virtio-net-pci,netdev=management,mac=52:54:00:9c:00:ff,{_at(topology.MANAGEMENT_NIC)}")


def _devices(image: Image) -> Iterator[str]:
    for device in topology.DEVICES:
        if device.port:
            port = device.port
            yield from ("-device", f"pcie-root-port,id={port.id},chassis={port.number},{_at(port.bdf)}")
        match device:
            case topology.Nic():
                yield from _nic(device)
            case topology.Nvme():
                yield from _nvme(device, image)
            case topology.Edu():
                yield from ("-device", f"edu,{_place(device)}")
            case topology.Rng():
                yield from ("-device", f"virtio-rng-pci,id={device.name},aer=on,{_place(device)}")


def _nic(nic: topology.Nic) -> Iterator[str]:
    yield from ("-netdev", f"user,id={nic.name},net={nic.subnet},restrict=on")
    yield from ("-device", f"e1000e,netdev={nic.name},mac={nic.mac},{_place(nic)}")


def _nvme(nvme: topology.Nvme, image: Image) -> Iterator[str]:
    yield from ("-drive", f"if=none,id={nvme.name},format=raw,snapshot=on,file={image.nvme(nvme.serial)}")
    if not nvme.vfs:
        yield from ("-device", f"nvme,serial={nvme.serial},drive={nvme.name},{_place(nvme)}")
        return
    # Virtual functions need a subsystem, and queues and vectors to share out: two queues and one vector for each,
    # and what the physical function keeps.
    yield from ("-device", f"nvme-subsys,id={nvme.name}-subsystem,nqn={nvme.serial}")
    queues, vectors = 2 * nvme.vfs, nvme.vfs
    shares = f"sriov_max_vfs={nvme.vfs},sriov_vq_flexible={queues},sriov_vi_flexible={vectors}"
    shares += f",max_ioqpairs={queues + 2},msix_qsize={vectors + 2}"
    place = f"subsys={nvme.name}-subsystem,{_place(nvme)}"
    yield from ("-device", f"nvme,id={nvme.name}-controller,serial={nvme.serial},{shares},{place}")
    yield from ("-device", f"nvme-ns,drive={nvme.name},bus={nvme.name}-controller")


def _place(device: topology.Device) -> str:
    if device.port:
        return f"bus={device.port.id}"
    shared = any(other.function and other.slot == device.slot and not other.port for other in topology.DEVICES)
    return _at(device.bdf) + (",multifunction=on" if shared and device.function == 0 else "")


def _at(bdf: str) -> str:
    return f"bus=pcie.0,addr={bdf[8:]}"
