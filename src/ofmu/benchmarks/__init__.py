"""Tasks with methods, metrics, references and seeds: what turns one unlearning run into a table."""
