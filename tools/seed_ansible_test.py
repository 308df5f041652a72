# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give ansible-test what it would else make or download for itself at its first run on a machine, and trip over.

The pip bootstrap script: it comes from a host of its own, and where only a package index can be reached (a mirror, a
closed network) every run that needs an environment fails. It looks into its cache first, so a small script is put
there which does the same from pip's own wheel. Run with the Python of the environment that holds ansible-core; its pip
fetches the wheel.

The SSH key: two runs that start side by side both make it, and one of them fails.

Steps run side by side, so one seeds at a time.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

# Not a public interface, but the only place that knows. tests/requirements*.txt bound the version of ansible-core.
from ansible_test._internal.python_requirements import get_venv_packages
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

# The paths are ansible-test's choice (its _util/target/setup/requirements.py, bootstrap(), and core_ci.py, SshKey).
CACHE = Path("~/.ansible/test/cache").expanduser()
KEY = Path("~/.ansible/test/id_rsa").expanduser()

SCRIPT = """\
# Written by tools/seed_ansible_test.py of the collection xen.pci; safe to delete.
# Stands in for get-pip {version}: installs what is asked for with the pip inside the wheel that lies beside it.
import os
import sys

here = os.path.dirname(os.path.abspath(os.environ["GET_PIP"]))
sys.path.insert(0, os.path.join(here, "{wheel}"))

from pip._internal.cli.main import main

# These two options are get-pip's own.
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--find-links", here] + wanted))
"""


def seed_key() -> None:
    """Make the key as ansible-test would, unless it has one; without ssh-keygen, which a machine may lack."""
    public = KEY.with_name(f"{KEY.name}.pub")
    if KEY.exists() and public.exists():
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    KEY.touch(mode=0o600)
    KEY.write_bytes(secret)


def seed_pip() -> None:
    """Write the script and fetch the wheel, unless ansible-test has a script already."""
    python = SimpleNamespace(version=f"{sys.version_info.major}.{sys.version_info.minor}")
    version = get_venv_packages(python)["pip"]
    script = CACHE / f"get_pip_{version.replace('.', '_')}.py"
    if script.exists():
        return

    wheel = f"pip-{version}-py3-none-any.whl"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", CACHE, f"pip=={version}"],
        check=True,
    )
    if not (CACHE / wheel).exists():
        sys.exit(f"pip was downloaded to {CACHE}, but not as {wheel}: the name is needed for the bootstrap script")
    # In one move, so that a run of ansible-test never reads half of it.
    draft = script.with_suffix(f".{os.getpid()}")
    draft.write_text(SCRIPT.format(version=version, wheel=wheel))
    draft.replace(script)


if __name__ == "__main__":
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "xen-pci.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seed_key()
        seed_pip()
