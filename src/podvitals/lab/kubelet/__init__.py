"""The lab's kubelet: one node whose pods are processes of this machine.

Rules it keeps: it talks to the API only as a client over HTTP and to drivers only over their sockets, as a real kubelet does; what a pod
does next is decided by `machine.py` and `backoff.py`, what its status says by `status.py`, both pure; it alone writes
`allocatedResourcesStatus`, from podvitals' own ledger, at once and also for init containers; and whatever it starts ends with it.
"""
