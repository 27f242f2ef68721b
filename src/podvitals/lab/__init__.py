"""The embedded control plane: an API server, a scheduler and a kubelet that runs pods as processes, all on one laptop.

Its parts meet only where a cluster's do: at the API over HTTP, and with drivers on Unix sockets. Nothing that runs on a node imports this.
"""
