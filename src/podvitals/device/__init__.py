"""WHAT exists: the name of a device, its health, and a verdict about it. Pure."""
