"""Tasks that methods are ranked on: frozen cards, submissions of pictures, and the rows of the leaderboard."""
