"""The Unix sockets between a DRA driver and whoever listens to it: registration, prepare and unprepare, health (CONTRACT §1-§3).

The only folder that knows gRPC, HTTP/2 and protobuf. Others see dataclasses (messages.py), raw report bytes and podvitals' own errors:

    messages.py  what is said, as dataclasses; imports no library
    convert.py   dataclasses <-> protobuf bytes; what the other side said wrongly becomes a refusal here and goes no further
    report.py    health reports read in steps, and by their difference from the last one
    services.py  the names of the gRPC methods
    stream.py    gRPC messages on one HTTP/2 stream: framing, limits, flow control
    http2.py     one HTTP/2 connection and its streams
    fairness.py  how much of our time one connection may take
    client.py    PluginClient: calls a driver
    server.py    PluginServer: is a driver (or its registration socket)
    listener.py  a listening Unix socket, its file and its connections
    endpoint.py  what a Unix socket's path can tell

A health report is handed over as it came, so that an unchanged one is compared as bytes before anybody decodes it.
"""
