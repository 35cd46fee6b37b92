"""How exact OFMU's derivatives are, for every backend on every kind of network, beside dense Hessians."""
