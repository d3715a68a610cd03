"""How the process and its machine are doing, measured at an interval: one subject per file, put together in `sampler`."""
