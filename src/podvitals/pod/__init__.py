"""Ledger → pod: what a pod's status says of its devices, and how that reaches the API server.

`entry` is the annotation's codec, `status` turns device states into field, condition and annotation, `cause` sets container exits against
faults, `book` keeps who holds what (and who held it when a pod ended), `turns` says whose turn it is to be written, `outbox` with how
much, `notice` what is announced: all pure. `publish` and `events` carry it out. Rules kept: what is sent is built when it is sent (4),
faults outlive recovery (5), ended pods keep their health (6), one patch and its pace (7), identical states are identical bytes (9), an
update costs what changed (11).
"""
