#!/usr/bin/env python3
"""Makes a Python that can `import torch` out of the libtorch that rvc-run uses, for tests and benchmarks that compare with PyTorch.

    RVC_TEST_PYTHON=$(python3 tests/support/python_with_torch.py "$(cargo xtask libtorch)" target/test-python)

The 0.55 GB set of `cargo xtask fetch --cpu` holds the whole torch package, but `import torch` also loads its CUDA part, which
wants 2.5 GB of libraries that no CPU work calls. Empty stand-ins with the same names satisfy the loader; a call into one would
trap. So the tests run against real PyTorch without a second download of it. Linux on x86-64 only; needs readelf and cc.
It also gets numpy, faiss, and the newest MLflow and TensorBoard: 1.1 GB and two to three minutes in all.
Prints the path of the Python on standard output, everything else on standard error.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys
import venv

# The packages that torch imports, and those that the tests need.
PACKAGES = ["typing_extensions", "filelock", "sympy", "networkx", "jinja2", "fsspec", "numpy", "faiss-cpu", "mlflow", "tensorboard"]
# Libraries whose symbols have no version: a prefix identifies the symbols.
UNVERSIONED = {
    "libcusparseLt.so.0": "cusparseLt",
    "libnccl.so.2": "nccl",
    "libcurand.so.10": "curand",
    "libcufile.so.0": "cuFile",
}


def stand_ins(lib: pathlib.Path, out: pathlib.Path) -> None:
    """Writes an empty library to `out` for each NVIDIA library that those in `lib` need and that is not installed."""
    out.mkdir(parents=True, exist_ok=True)
    installed = {p.name for p in lib.parent.parent.glob("nvidia/**/*.so*")} | {p.name for p in lib.iterdir()}
    needed, version_of, symbols = set(), {}, collections.defaultdict(set)
    for library in lib.glob("*.so"):
        text = subprocess.run(["readelf", "-dVrW", library], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"\(NEEDED\).*\[(lib(?:cu|nccl|nv)[^\]]*)\]", text))
        version_of |= dict(re.findall(r"File: (\S+).*\n.*Name: (\S+)\s+Flags", text))
        for name, version in re.findall(r"R_X86_64_\w+\s+\S+\s+(\w+)(?:@(\S+))? \+ 0\n", text):
            symbols[version].add(name)
    for name in sorted(needed - installed - {"libcuda.so.1"}):  # the driver must stay absent: torch asks whether it is there
        version, prefix = version_of.get(name, ""), UNVERSIONED.get(name)
        wanted = symbols[version] if version else {s for s in symbols[""] if prefix and s.startswith(prefix)}
        source, script = out / "stand_in.c", out / "stand_in.map"
        source.write_text("".join(f"void {s}(void) {{ __builtin_trap(); }}\n" for s in sorted(wanted)) + "int rvc_run_stand_in;\n")
        command = ["cc", "-shared", "-fPIC", "-w", "-o", out / name, source, f"-Wl,-soname,{name}"]
        if version:
            script.write_text(f"{version} {{ global: *; }};\n")
            command.append(f"-Wl,--version-script={script}")
        subprocess.run(command, check=True)


def works(python: pathlib.Path) -> bool:
    code = "import faiss, mlflow, numpy, tensorboard, torch; torch.ones(2, 2).sum().item()"
    return python.exists() and subprocess.run([python, "-c", code], stdout=sys.stderr).returncode == 0


def main() -> None:
    torch, folder = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    python = folder / "python"
    if python.exists() and str(torch.parent) in python.read_text() and works(python):
        print(python)
        return
    venv.create(folder / "venv", with_pip=True, clear=True)
    inner = folder / "venv" / "bin" / "python"
    subprocess.run([inner, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES], check=True, stdout=sys.stderr)
    stand_ins(torch / "lib", folder / "lib")
    python.write_text(
        "#!/bin/sh\n"
        f'LD_LIBRARY_PATH="{folder}/lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" PYTHONPATH="{torch.parent}" exec "{inner}" "$@"\n'
    )
    python.chmod(0o755)
    if not works(python):
        os.remove(python)
        sys.exit(f"{inner} cannot import torch from {torch.parent}, or one of {', '.join(PACKAGES)}")
    print(python)


if __name__ == "__main__":
    main()
