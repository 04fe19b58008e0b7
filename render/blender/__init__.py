"""Inside Blender: imported by nobody, started as a process."""
