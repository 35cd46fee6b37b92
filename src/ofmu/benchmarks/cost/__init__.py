"""What OFMU's derivatives and loops cost, in plain gradients of the same batch, next to what they must."""
