"""`python -m podvitals`: the same as the command `podvitals`."""

from podvitals.cli.main import main

main()
