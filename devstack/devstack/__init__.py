"""PropMubi on one machine, without Docker: the real servers and all five processes, for work, demonstrations and tests."""
