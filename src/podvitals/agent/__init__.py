"""Composes node, pod and what people ask of them into the process that runs on every node."""
