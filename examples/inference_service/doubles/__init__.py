"""Two services of somebody else's, with a switch for each way in which they can fail."""
