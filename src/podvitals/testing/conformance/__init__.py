"""Conformance: whether a DRA driver, or the node side that listens to it, does what the contract between the two says.

Two suites of cases. `driver/` calls any driver through its registration socket; `node/` plays a driver to any kubelet or agent and looks at
what the API then says of the pods. A case is data: a name, the sentence of the contract it tries, and how. What a case finds is data too
(case.py), so that a table, JSON and JUnit (report.py) are written from the same results, and a suite can be run in several places and its
results set side by side.
"""

from podvitals.testing.conformance.case import Case, Outcome, Result

__all__ = ["Case", "Outcome", "Result"]
