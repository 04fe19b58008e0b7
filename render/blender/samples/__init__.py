"""Animated sample assets, made from nothing: shapes, textures, rigs and clips are all computed.

Run as ``python -m render.blender.samples OUT_DIR [--seed 0]``. To add an asset: write a function
``(Model) -> None`` in the module of its family and list it in ``catalogue.ASSETS``.
"""
