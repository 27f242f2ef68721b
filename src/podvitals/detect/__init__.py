"""Hardware → Reading → Verdict: what an author implements (detector.py), the frame around it, and one file per family of devices.

Rules kept here:
* A probe that fails is not a device that fails: an exception, a call that hangs, an answer that is none is Unknown, with its reason.
* `checked_at` is when the hardware was last read. Only a fresh reading renews a lease; a failed one never does.
* Inventory is not presence: a device that was listed and is missing now stays, as a fault.
* A hung call stops neither its neighbours nor the end of the process, and is never made a second time while it hangs.
"""
