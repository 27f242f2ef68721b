"""All pods → people: what the objects of a cluster say about devices, put together for whoever asks.

inventory.py is pure: objects and `now` in, views out. Every reader of podvitals takes its health from here, so that a silent agent (rule 8)
or a kubelet that disagrees is told in the same way everywhere.
"""
