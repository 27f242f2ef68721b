"""The lab's API server: what podvitals and kubectl need of a Kubernetes API, in memory, on loopback, under a secret path (rule 15).

Rules this stage keeps:

* What it does, it does as kube-apiserver does: resource versions, conflicts, watch, patches, the status subresource, finalizers,
  graceful deletion.
* What it does not do, it refuses in one sentence that names it (exec, port-forward, protobuf bodies, field ownership); it never
  pretends.
* An object is a JSON dict that is never changed once stored. The store, patches, selectors, validation and tables are pure; only
  `server`, `handlers`, `watch` and `logs` know aiohttp, and the clock is handed to them.
* Nobody in the lab reaches round HTTP into the store: scheduler, kubelet, drivers and agent are clients like any other.

The way of a request: server (prefix, errors) → route (which kind, which verb) → handlers → registry (rules of a write) → store → watch.
"""

from podvitals.lab.api.server import ApiServer, ApiSettings, LogSource

__all__ = ["ApiServer", "ApiSettings", "LogSource"]
