"""The fit of the compact detector: several models at once, their parameters stacked, and averaged into one."""
