"""The lab's scheduler: claims from templates, devices for claims, a node for pods.

Rules it keeps: the decisions (`claims.py`, `allocator.py`) are pure functions of a snapshot, so the same cluster always gives the same
answer; a device is never given twice, except to admin access; and whatever it cannot do leaves the pod Pending with an event that says
why, by name.
"""
