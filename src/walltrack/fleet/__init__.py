"""Share circuits and rates between processes, through Redis or Valkey.

`redis_state` sends the commands, `scripts` is what the server runs, `replies` reads its answers.
What a store has to do is defined by `walltrack.core.shared_state`; it needs the extra
`walltrack[redis]`, or another client of Redis.
"""

from walltrack.core.events import SharedStateLost, SharedStateRecovered
from walltrack.core.shared_state import SharedState
from walltrack.fleet.redis_state import RedisState

__all__ = ["RedisState", "SharedState", "SharedStateLost", "SharedStateRecovered"]
