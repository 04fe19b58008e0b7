"""Render: headless Blender, supervised, one process per worker."""
