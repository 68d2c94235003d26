"""PropMubi on one machine, without Docker: the real servers and all processes, for work, demonstrations and tests."""

import os

# Before anybody imports grpc, which else runs handlers of its own in a child between fork and exec: started beside
# calls under way, one child in five dies of them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
