"""OFMU's convergence claims, measured: problems with known constants, runs, fitted rates, a page and a figure."""
