"""Shards: the on-disk contract between the data half and the trainers."""
