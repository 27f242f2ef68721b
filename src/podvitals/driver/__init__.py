"""Verdict → gRPC, the SDK: what makes a few detectors a DRA driver that any kubelet accepts.

Rules kept here:
* Nothing is said on behalf of a detector that did not read: a report is renewed by a fresh reading, a stuck detector is reported Unknown.
* Prepare and unprepare can be repeated, by any instance of the driver, before and after restarts; what fails is said in the claim's entry.
* The Kubernetes API may be away: health goes on, ResourceSlices follow when it is back.
"""
