"""Starts the program rvc-run of this package with the libtorch of the installed torch.

torch is looked up, not imported, which would take seconds. The program replaces this process: signals, the exit code and its own child
processes are as if it had been started itself.
"""

import importlib.util
import os
import pathlib
import sys

PROGRAM = pathlib.Path(__file__).resolve().parent / "rvc-run"
WANTED = "2.11"


def fail(message):
    sys.exit(f"error: {message}\n  = hint: {sys.executable} -m pip install 'torch=={WANTED}.*'")


def torch_folder():
    spec = importlib.util.find_spec("torch")
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        fail(f"rvc-run needs torch {WANTED}, and {sys.executable} has no torch")
    folder = pathlib.Path(folders[0])
    try:
        lines = (folder / "version.py").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        fail(f"the torch of {sys.executable} cannot be read: {error}")
    version = next((line.split("=")[1].strip(" '\"") for line in lines if line.startswith("__version__")), "unknown")
    if version.split("+")[0].split(".")[:2] != WANTED.split("."):
        fail(f"rvc-run needs torch {WANTED}, and {folder} is version {version}")
    return folder


def main():
    torch = torch_folder()
    # In the same environment the program finds torch without help, even where environment variables are not passed on (batch jobs of a cluster).
    if torch.resolve() != PROGRAM.parent.parent / "torch":
        folders = [str(torch / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    try:
        os.execv(PROGRAM, ["rvc-run", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"error: cannot start {PROGRAM}: {error}")
