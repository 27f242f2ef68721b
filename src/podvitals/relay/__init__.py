"""The relay: registers with the kubelet in the place of drivers that registered in podvitals' own directory.

To the kubelet it is one endpoint a driver that never goes away: calls pass through as bytes, health comes from a ledger that ends leases
on time. It has no access to the Kubernetes API and no database, only sockets, streams and leases, so that it hardly ever restarts.

* `standing` (pure): which stand-ins a driver has with the kubelet. `herald` (pure): what a watcher of its health is told.
* `calls`: passes DRA calls on, and holds them while the driver is away. `front`: a stand-in's sockets. `run`: composes them.
"""
