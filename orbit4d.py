import typer


def main(): ...
