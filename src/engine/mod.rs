//! The engine: an in-process library. It decides, writes files, and starts the monitor; no daemon holds its state.
