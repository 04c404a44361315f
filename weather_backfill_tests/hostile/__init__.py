"""Damaged and hostile input for every parser: seeds, mutations, and what each parser must still promise."""
