"""stream -> Ledger: everything between a driver's socket and the truth about its devices.

    discovery.py   the plugin directory: which registration sockets are there; choice.py (pure): which are followed
    endpoint.py    the life of one registration: asked, connected, watched, gone
    stream.py      one health stream: counts refusals, keeps it from taking all our time
    switchboard.py what all endpoints say becomes changed devices pure: the cores below, wired
                   memory.py (what a connection said last), told.py (the answers), limits.py (what one driver may cost)
    session.py     who speaks for a (driver, source)              pure
    ledger.py      what is known of each device, and until when   pure, with its parts:
                   record.py (device state, faults), lease.py (batches, deadlines), fact.py (sources merged), rows.py (as rows),
                   outcome.py (its answers)
    checkpoint.py  what survives a restart (SQLite); lock.py says whose it is, keeper.py writes it
    watch.py       NodeWatch, the facade the agent and the lab's kubelet use

Rules kept here: a lease ends by a timer, not by the next read; one endpoint has authority over a (driver, source) at each moment; a
restart never makes a state better than its remaining lease; nothing a driver says costs another driver anything; an update costs what
it changes.
"""
