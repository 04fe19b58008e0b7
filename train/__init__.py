"""Train: models, objective, trainer and sampling on the shards."""
