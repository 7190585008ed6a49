"""Operations with regions, such as reductions, as operations on whole tensors."""
