"""How a process is started so that it dies with this one: a launcher of a few lines, which asks the kernel for that and executes the
program.

A `preexec_fn` would need no launcher, but runs Python between fork and exec of a process that has threads. The launcher also puts back
the signal dispositions and the one environment variable that Python changes. The kernel watches the thread that started the process, so
that is the main one."""

import os
import sys
from collections.abc import Mapping, Sequence

_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv[1]): os._exit(137)
for name in ("SIGPIPE", "SIGXFSZ"): signal.signal(getattr(signal, name), signal.SIG_DFL)
if sys.argv[2] == "-": os.environ.pop("LC_CTYPE", None)
try: os.execv(sys.argv[3], sys.argv[4:])
except OSError as error: os.write(2, f"cannot execute {sys.argv[3]}: {error.strerror}\\n".encode()); os._exit(126)
"""
# prctl(PR_SET_PDEATHSIG = 1, SIGKILL). argv: this process's pid; "-" where the environment has no LC_CTYPE (Python sets it, PEP 538);
# the program's path; its argv.


def launch_line(program: str, argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), "=" if "LC_CTYPE" in env else "-", program, *argv]
