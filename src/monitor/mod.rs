//! podling-monitor: the one small process that stays while a container runs.
