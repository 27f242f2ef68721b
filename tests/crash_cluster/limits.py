"""What docs/relay.md promises, in seconds, and what this machine and the kubelet are given beside it."""

from podvitals.relay.herald import LEASE as RELAY_LEASE

LEASE = 3.0
"""Of the reports of both drivers, which are made each second."""
HANGS = RELAY_LEASE
"""A hung relay's Healthy stays for so long, with an agent beside it that makes the kubelet look."""
SETTLES = 12.0
"""From a part's return until what it told wrong is right, where nobody has seen it right earlier."""
ALLOWANCE = 3.0
"""The kubelet shows one change a second and pod; and a busy machine."""
BLIP = 1.0
"""What is late and taken back at once was on its way."""
NEEDLESS = 4.0
"""Unknown, with everything in order: the kubelet forgets a driver's devices when a stream of it ends, and is told again at once."""
SHOWN = 3.0
"""A fault that stands for so long, with everything in order, is seen."""
CONVERGES = 30.0
"""From the end of a round's last fault until everybody sees the truth."""
STARTS = 25.0
"""From a pod's beginning, or the end of what kept it, until it runs: a scheduler looks at an unschedulable pod again after up to 10 s."""
ENDS = 45.0
"""From its deletion, or the end of what kept it, until a pod is gone: a kubelet tries a failed unprepare again after 10 to 15 s."""
UNDER_WAY = 2.0
"""From the relay's end until the kubelet has said that a call which was under way failed."""
RETRIED = 35.0
"""A prepare that failed: the agent makes the kubelet try it again after 1, 2, 4, 8, 16 and 30 s; alone it would take 60 to 90 s."""
PUBLISHED = 60.0
"""From the end of what kept it until a driver's slices are back: upstream's helper takes 30 s."""
