"""What a simulated agent is made of. A refuted twin is another kit."""

from collections.abc import Callable

from podvitals.node.limits import Limits
from podvitals.node.standstill import Standstill
from podvitals.node.switchboard import Switchboard
from podvitals.pod.desk import Desk


class Kit:
    def board(self, standstill: Standstill) -> Switchboard:
        return Switchboard(Limits(), standstill=standstill)

    def desk(self, node: str, board: Switchboard, jitter: Callable[[], float]) -> Desk:
        return Desk(node, "chaos", board.state, jitter)
