"""Write the hashes that the cards of a suite are frozen with.

    python scripts/freeze_cards.py SUITE [--again]

A card that was published is never frozen anew: rows were made with it. What it is to say from now on is a card of
another suite. Before a suite is published, --again takes its cards as they are.
"""

import sys

from tasks.card import frozen_as_they_are

if __name__ == "__main__":
    suite, *more = sys.argv[1:]
    print(frozen_as_they_are(suite, again=more == ["--again"]), end="")
