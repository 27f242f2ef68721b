"""Where the commands `podvitals`, `kubectl-vitals` and `python -m podvitals` begin.

Importing the command line takes a moment; a Ctrl-C in that moment shall not print a traceback either."""

import sys
from typing import NoReturn


def podvitals() -> NoReturn:
    """`podvitals`."""
    try:
        from podvitals.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)


def kubectl_vitals() -> NoReturn:
    """`kubectl vitals`: kubectl finds the executable kubectl-vitals on PATH and hands it the rest of the line."""
    try:
        from podvitals.cli.main import kubectl_vitals as main

        main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    podvitals()
