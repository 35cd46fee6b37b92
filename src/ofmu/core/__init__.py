"""The mathematics: vectors, derivatives, similarity, schedules, the map from ranks to targets. Torch alone."""
