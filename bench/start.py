"""The console script: a signal ends it with a line from its first moment, also while `bench.main` is imported."""

from bench.endings import listen


def main() -> None:
    """Run the command line."""
    listen()
    from bench.main import main as begin

    begin()
