"""One look for every page and plot."""
