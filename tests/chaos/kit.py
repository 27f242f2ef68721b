"""What a simulated agent is made of. A refuted twin is another kit."""

from collections.abc import Callable

from podvitals.node.limits import Limits
from podvitals.node.switchboard import Switchboard
from podvitals.pod.desk import Desk


class Kit:
    def board(self) -> Switchboard:
        return Switchboard(Limits())

    def desk(self, node: str, board: Switchboard, jitter: Callable[[], float]) -> Desk:
        return Desk(node, "chaos", board.state, jitter)
