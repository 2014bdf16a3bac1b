#!/usr/bin/env python3
"""Makes a Python wheel of a built rvc-run: the program, and start.py that starts it with the libtorch of the installed torch.

    python3 xtask/wheel/build.py target/debug/rvc-run target/wheels

The wheel holds no libtorch: it requires torch, with or without CUDA. Linux only; needs readelf and strip (binutils, which every C++ compiler
on Linux brings). Prints the path of the wheel.
"""

import base64
import hashlib
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import zipfile

PACKAGE = "rvc_run"
CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
# What build.rs writes behind the folder of the libtorch that the program was built with.
BESIDE = b"$ORIGIN/../torch/lib"
# Libraries of torch, and those that the manylinux tags promise.
ALLOWED = {"libtorch_cpu.so", "libc10.so", "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
# The newest GLIBCXX_3.4.N of the first common distribution with glibc 2.N: AlmaLinux 8, Debian 11, RHEL 9, Ubuntu 22.04 and 24.04.
LIBSTDCXX = {25: 28, 28: 31, 29: 34, 30: 35, 33: 39}


def manylinux(readelf: str) -> str:
    """The tag of the oldest systems that have all symbol versions which the program needs."""
    newest = {"GLIBC_2": 0, "GLIBCXX_3.4": 0}
    for family, number in re.findall(r"Name: (GLIBC_2|GLIBCXX_3\.4)\.(\d+)", readelf):
        newest[family] = max(newest[family], int(number))
    of_cxx = [glibc for known, glibc in LIBSTDCXX.items() if known >= newest["GLIBCXX_3.4"]]
    if not newest["GLIBC_2"] or not of_cxx:
        sys.exit(f"unknown compatibility: the program needs {newest}, but the newest known versions are {LIBSTDCXX}")
    return f"manylinux_2_{max(newest['GLIBC_2'], of_cxx[0])}_{platform.machine()}"


def without_build_folder(program: bytes, readelf: str) -> bytes:
    """The program with only torch beside its package in the RUNPATH."""
    found = re.search(r"\(RUNPATH\).*\[(.*)\]", readelf)
    old = found.group(1).encode() if found else b""
    if not old.endswith(b":" + BESIDE) or program.count(old + b"\0") != 1:
        sys.exit(f"the program's RUNPATH is {old!r}, but should end with {BESIDE!r}, as build.rs writes it")
    return program.replace(old + b"\0", BESIDE.ljust(len(old) + 1, b"\0"))


def read_program(path: pathlib.Path) -> tuple[bytes, str]:
    """The program as the wheel holds it, and its platform tag."""
    readelf = subprocess.run(["readelf", "-dVW", path], capture_output=True, text=True, check=True).stdout
    foreign = set(re.findall(r"\(NEEDED\).*\[(.*)\]", readelf)) - ALLOWED
    if foreign:
        sys.exit(f"the program needs {', '.join(sorted(foreign))}, which neither torch nor every Linux has")
    with tempfile.TemporaryDirectory() as folder:
        stripped = pathlib.Path(folder) / "rvc-run"
        subprocess.run(["strip", "--strip-debug", "-o", stripped, path], check=True)
        return without_build_folder(stripped.read_bytes(), readelf), manylinux(readelf)


def main() -> None:
    program, out = (pathlib.Path(argument) for argument in sys.argv[1:3])
    manifest = (CHECKOUT / "Cargo.toml").read_text(encoding="utf-8")
    field = lambda name: re.search(rf'^{name} = "(.*)"$', manifest, re.MULTILINE).group(1)
    torch = re.search(r'^WANTED = "(.*)"$', (CHECKOUT / "xtask/wheel/start.py").read_text(encoding="utf-8"), re.MULTILINE).group(1)
    binary, platform_tag = read_program(program)
    tag, info = f"py3-none-{platform_tag}", f"{PACKAGE}-{field('version')}.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        "Name: rvc-run",
        f"Version: {field('version')}",
        f"Summary: {field('description')}",
        f"License: {field('license')}",
        "Requires-Python: >=3.10",
        f"Requires-Dist: torch=={torch}.*",
    ]
    wheel = ["Wheel-Version: 1.0", "Generator: rvc-run xtask", "Root-Is-Purelib: false", f"Tag: {tag}"]
    text = lambda lines: "".join(f"{line}\n" for line in lines).encode()
    files = {
        f"{PACKAGE}/__init__.py": (CHECKOUT / "xtask/wheel/start.py").read_bytes(),
        f"{PACKAGE}/__main__.py": text([f"from {PACKAGE} import main", "", "main()"]),
        f"{PACKAGE}/rvc-run": binary,
        f"{info}/LICENSE": (CHECKOUT / "LICENSE").read_bytes(),
        f"{info}/METADATA": text(metadata),
        f"{info}/WHEEL": text(wheel),
        f"{info}/entry_points.txt": text(["[console_scripts]", f"rvc-run = {PACKAGE}:main"]),
    }
    digest = lambda content: base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    record = [f"{path},sha256={digest(content)},{len(content)}" for path, content in files.items()]
    files[f"{info}/RECORD"] = text([*record, f"{info}/RECORD,,"])
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{PACKAGE}-{field('version')}-{tag}.whl"
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)  # of 1980: the same program gives the same wheel
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if name.endswith("/rvc-run") else 0o100644) << 16
            archive.writestr(entry, content)
    part.replace(path)
    print(path)


if __name__ == "__main__":
    main()
