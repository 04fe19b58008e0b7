"""Curate: which clips of which assets are worth rendering, and why."""
