"""The leaderboard: submissions are made from runs, checked, repeated, ranked and shown."""
