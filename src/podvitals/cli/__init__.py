"""What a person types: one file a command, output.py for what is printed, main.py as the composition root.

A command module is imported only when its command runs, and imports the Kubernetes client only inside the function that calls the
API: `podvitals version` and shell completion answer in a few tens of milliseconds.
"""
