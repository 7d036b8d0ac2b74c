"""The leaderboard: rows of files become tables of cards, as a page, a data set and files for the hub."""
