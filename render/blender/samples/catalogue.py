"""The list of sample assets: file name, and the function that builds it."""

from collections.abc import Callable

from render.blender.samples import animals, machines, people, rejects, sea, soft, toys, vehicles
from render.blender.samples.model import Model

ASSETS: dict[str, Callable[[Model], None]] = {
    "pip": people.child,
    "tiger": animals.tiger,
    "parrot": animals.parrot,
    "clownfish": sea.clownfish,
    "octopus": sea.octopus,
    "flower": soft.flower,
    "jelly": soft.jelly,
    "flag": soft.flag,
    "windmill": machines.windmill,
    "excavator": vehicles.excavator,
    "engine": vehicles.engine,
    "carousel": machines.carousel,
    "ball": toys.ball,
    "top": toys.top,
    "jack": toys.jack,
    "saucer": toys.saucer,
    "frozen_duck": rejects.duck,
    "teleporting_robot": rejects.robot,
    "runaway_rocket": rejects.rocket,
    "brief_firefly": rejects.firefly,
    "bare_bones": rejects.bones,
    "still_snowman": rejects.snowman,
}
