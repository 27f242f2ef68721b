"""WHO holds a device: the fields of Kubernetes objects that podvitals reads, and which container of a pod holds which device. Pure.

Rules of this folder:
* Structs carry only fields somebody reads: an agent keeps every pod of its node in memory. Unknown fields are dropped while decoding.
* Every optional field has a default, so a reader never asks whether a part of an object is there.
* Times stay the strings Kubernetes sent (RFC 3339); `times.py` turns them into Unix seconds where a stage computes with them.
"""
