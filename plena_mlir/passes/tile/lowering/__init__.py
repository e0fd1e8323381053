"""The lowering of each transformer op to plena_tile, one family a file; `convert_tensor_to_tile` drives them."""
