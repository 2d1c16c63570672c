"""Change sets, rollouts and their reports, in one cloud and over all of them."""
